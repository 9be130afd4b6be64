//! The values that a cluster's status is computed from.

use dask_operator_api::DaskClusterStatus;

use super::{apply::Outcome, build::Desired, observe::Observed};

/// The values that a status is computed from.
pub(super) struct StatusInput<'a> {
    /// The status that was written last, which the cache may not contain yet.
    pub(super) current: &'a DaskClusterStatus,
    pub(super) observed: &'a Observed,
    pub(super) built: &'a Desired,
    pub(super) outcome: &'a Outcome,
    /// Whether a plugin keeps the cluster from becoming `Running`.
    pub(super) held: bool,
}
