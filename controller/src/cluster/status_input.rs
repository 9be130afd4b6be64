//! The values that a cluster's status is computed from, and the types of its conditions.

use dask_operator_api::DaskClusterStatus;
pub(super) use dask_operator_api::conditions::{SCHEDULER_READY, SCHEDULER_UP_TO_DATE};

use super::{apply::Outcome, build::Desired, observe::Observed};

/// The condition that scheduler Deployment, Service and default group exist.
pub(super) const COMPONENTS_CREATED: &str = "ComponentsCreated";
/// The condition that the default group's workers run and are connected.
pub(super) const WORKERS_AVAILABLE: &str = "WorkersAvailable";

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
