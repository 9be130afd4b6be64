//! Caches of the Dask resources that own subjects. The watches of the reconcilers fill them.

use dask_operator_api::{DaskAutoscaler, DaskCluster, DaskJob, DaskWorkerGroup};
use operator_runtime::watch::Cache;

/// Caches of Dask resources. Cloning shares the content.
#[derive(Clone)]
pub struct OwnerCaches {
    /// All DaskClusters.
    pub clusters: Cache<DaskCluster>,
    /// All DaskWorkerGroups.
    pub groups: Cache<DaskWorkerGroup>,
    /// All DaskJobs.
    pub jobs: Cache<DaskJob>,
    /// All DaskAutoscalers.
    pub autoscalers: Cache<DaskAutoscaler>,
}
