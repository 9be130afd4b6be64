//! Asks a cluster's scheduler whether it is idle.

use dask_operator_api::DaskCluster;
use dask_scheduler_client::{Error, Idleness};

use crate::scheduler::SchedulerClients;

/// Asks the scheduler for its idleness. A scheduler that has worked since it was last asked answers `Counted` the
/// first time, and since when it is idle only the next time. Only an old scheduler answers `Counted` twice.
pub(super) async fn idleness(schedulers: &SchedulerClients, cluster: &DaskCluster) -> Result<Idleness, Error> {
    let client = schedulers.of(cluster).await?;
    match client.idleness().await? {
        Idleness::Counted => client.idleness().await,
        probe => Ok(probe),
    }
}
