//! Reads from the caches what the idle time-out of a cluster depends on.

use std::sync::Arc;

use dask_operator_api::{DaskCluster, DaskWorkerGroup};
use jiff::Timestamp;
use kube::ResourceExt as _;

use crate::{
    caches::{Caches, cluster_key},
    scheduler,
};

/// The surroundings of a cluster with an idle time-out.
#[derive(Debug, Default)]
pub(super) struct Observed {
    /// When the pod of the scheduler was created, if the scheduler is ready.
    pub(super) ready_since: Option<Timestamp>,
    /// The groups of the cluster.
    pub(super) groups: Vec<Arc<DaskWorkerGroup>>,
}

pub(super) fn observe(cluster: &DaskCluster, caches: &Caches) -> Observed {
    let (namespace, name) = (cluster.namespace().unwrap_or_default(), cluster.name_any());
    let pods = caches.scheduler_pods(&namespace, &name);
    let made = pods.iter().filter(|pod| pod.is_ready()).find_map(|pod| pod.metadata.creation_timestamp.clone());
    let made = made.map_or(Timestamp::UNIX_EPOCH, |made| made.0);
    Observed {
        ready_since: scheduler::is_ready(&pods).then_some(made),
        groups: caches.groups.indexed(&cluster_key(&namespace, &name)),
    }
}
