//! Asks a cluster's scheduler whether it is idle.

use dask_operator_api::DaskCluster;
use dask_scheduler_client::Idleness;
use jiff::Timestamp;
use kube::ResourceExt as _;

use crate::{context::Context, scheduler};

/// The result of asking a cluster's scheduler.
#[derive(Debug)]
pub(super) enum Probed {
    NotReady,
    Failed(dask_scheduler_client::Error),
    Answered {
        idleness: Idleness,
        /// When the scheduler's pod was created.
        not_before: Timestamp,
    },
}

pub(super) async fn probe(context: &Context, cluster: &DaskCluster) -> Probed {
    let pods = context.caches.scheduler_pods(&cluster.namespace().unwrap_or_default(), &cluster.name_any());
    if !scheduler::is_ready(&pods) {
        return Probed::NotReady;
    }
    let made = pods.iter().filter(|pod| pod.is_ready()).find_map(|pod| pod.metadata.creation_timestamp.clone());
    match idleness(context, cluster).await {
        Ok(idleness) => Probed::Answered { idleness, not_before: made.map_or(Timestamp::UNIX_EPOCH, |made| made.0) },
        Err(error) => Probed::Failed(error),
    }
}

/// Asks the scheduler for its idleness. A scheduler that has worked since it was last asked answers `Counted` the
/// first time, and since when it is idle only the next time. Only an old scheduler answers `Counted` twice.
async fn idleness(context: &Context, cluster: &DaskCluster) -> Result<Idleness, dask_scheduler_client::Error> {
    let client = scheduler::client_of(context, cluster).await?;
    match client.idleness().await? {
        Idleness::Counted => client.idleness().await,
        probe => Ok(probe),
    }
}
