//! A point in time on two clocks: the wall clock, which people and other machines use, and a monotonic clock.

use std::{sync::LazyLock, time::Instant};

use jiff::{SignedDuration, Timestamp};

/// A point in time. The time between two moments must be computed from `steady` alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Moment {
    /// The wall-clock time, for comparison with times that other machines have written. It may be set forward or back.
    pub wall: Timestamp,
    /// The monotonic time since some moment in the life of this process.
    pub steady: SignedDuration,
}

impl Moment {
    /// Returns the current moment.
    pub fn now() -> Self {
        static START: LazyLock<Instant> = LazyLock::new(Instant::now);
        let steady = SignedDuration::try_from(START.elapsed()).unwrap_or(SignedDuration::MAX);
        Self { wall: Timestamp::now(), steady }
    }
}
