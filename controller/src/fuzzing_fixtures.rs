//! What the fuzz targets of several modules share: a fixed time, defaults, and known objects.

use dask_operator_api::WorkerAllocation;
use jiff::Timestamp;
use operator_runtime::moment::Moment;
use serde::de::DeserializeOwned;

use crate::defaults::Defaults;

/// Returns the time of all decisions. It is fixed, so that an input always leads to the same decisions.
pub(crate) fn now() -> Timestamp {
    Timestamp::UNIX_EPOCH + jiff::SignedDuration::from_secs(1_800_000_000)
}

/// Returns the same time by both clocks.
pub(crate) fn moment() -> Moment {
    Moment { wall: now(), steady: jiff::SignedDuration::from_secs(1_000_000) }
}

/// Returns the defaults of a controller.
pub(crate) fn defaults() -> Defaults {
    Defaults { cluster_domain: "cluster.local".to_owned(), allocation: WorkerAllocation::default(), scheduler_ip: None }
}

/// Parses an object that is part of the program.
#[expect(clippy::unwrap_used, reason = "its text is constant")]
pub(crate) fn known<T: DeserializeOwned>(value: serde_json::Value) -> T {
    serde_json::from_value(value).unwrap()
}
