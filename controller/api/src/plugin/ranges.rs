//! The ranges of numbers in plugin resources.

use std::{ops::RangeInclusive, time::Duration};

/// What `timeoutSeconds` may be.
pub const TIMEOUT_SECONDS: RangeInclusive<i64> = 1..=30;
/// What `resyncSeconds` may be: at most a year.
pub const RESYNC_SECONDS: RangeInclusive<i64> = 10..=31_536_000;
/// What `finalize.deadlineSeconds` may be: at most a year.
pub const DEADLINE_SECONDS: RangeInclusive<i64> = 1..=31_536_000;
/// What `endpoint.service.port` may be.
pub const PORTS: RangeInclusive<i64> = 1..=65_535;

/// Returns `value` within `range`: what is outside of it is refused by the validation, and must do no harm before.
pub(super) fn seconds(value: i64, range: &RangeInclusive<i64>) -> Duration {
    Duration::from_secs(value.clamp(*range.start(), *range.end()).unsigned_abs())
}
