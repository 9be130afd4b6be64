//! Reads an autoscaler's cluster and group from the caches.

use std::sync::Arc;

use dask_operator_api::{DaskAutoscaler, DaskCluster, DaskWorkerGroup};
use kube::ResourceExt as _;
use operator_runtime::moment::Moment;

use super::survey::{self, Survey, Surveys};
use crate::{
    caches::{Caches, cluster_key},
    scheduler,
};

/// The cluster, the group and the competing autoscalers of an autoscaler.
#[derive(Debug, Default)]
pub(super) struct Observed {
    pub(super) cluster: Option<Arc<DaskCluster>>,
    pub(super) group: Option<Arc<DaskWorkerGroup>>,
    /// The oldest autoscalers of the same cluster. This one takes part in the comparison.
    pub(super) survey: Arc<Survey>,
    pub(super) scheduler_ready: bool,
    /// Whether the scheduler has only just started, and need not answer yet.
    pub(super) scheduler_starting: bool,
}

pub(super) fn observe(autoscaler: &DaskAutoscaler, caches: &Caches, surveys: &Surveys, now: Moment) -> Observed {
    let (namespace, name) = (autoscaler.namespace().unwrap_or_default(), &autoscaler.spec.cluster);
    let (group, key) = (survey::group_name(autoscaler), cluster_key(&namespace, name));
    let cluster = caches.clusters.get(&namespace, name);
    let scheduler_pods = caches.scheduler_pods(&namespace, name);
    let take = || survey::survey(cluster.as_deref(), &caches.autoscalers.indexed(&key));
    Observed {
        survey: surveys.get(&key, &group, now.steady, take),
        group: caches.groups.get(&namespace, &group),
        scheduler_ready: scheduler::is_ready(&scheduler_pods),
        scheduler_starting: scheduler::is_starting(&scheduler_pods, now.wall),
        cluster,
    }
}
