//! Reads an autoscaler's cluster and group from the caches, and asks the scheduler.

use std::sync::Arc;

use dask_operator_api::{DaskAutoscaler, DaskCluster, DaskWorkerGroup};
use jiff::Timestamp;
use kube::ResourceExt as _;
use operator_runtime::moment::Moment;

use super::{
    count::{Group, count_all, to_i64},
    decide::ScalingInput,
    survey::Survey,
    validate::{self, Validated},
};
use crate::context::{Caches, Context, cluster_key};
use crate::scheduler;

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

pub(super) fn observe(autoscaler: &DaskAutoscaler, context: &Context, now: Moment) -> Observed {
    let (namespace, name) = (autoscaler.namespace().unwrap_or_default(), &autoscaler.spec.cluster);
    let (caches, group, key) = (&context.caches, validate::group_name(autoscaler), cluster_key(&namespace, name));
    let cluster = caches.clusters.get(&namespace, name);
    let scheduler_pods = caches.scheduler_pods(&namespace, name);
    let take = || validate::survey(cluster.as_deref(), &caches.autoscalers.indexed(&key));
    Observed {
        survey: context.autoscaling.surveys.get(&key, &group, now.steady, take),
        group: caches.groups.get(&namespace, &group),
        scheduler_ready: scheduler::is_ready(&scheduler_pods),
        scheduler_starting: scheduler::is_starting(&scheduler_pods, now.wall),
        cluster,
    }
}

/// Asks the scheduler, and combines its answer with the caches.
pub(super) async fn ask(
    context: &Context,
    valid: &Validated,
    now: Timestamp,
) -> Result<ScalingInput, dask_scheduler_client::Error> {
    let client = scheduler::client_of(context, &valid.cluster).await?;
    let (workers, target) = futures::try_join!(client.workers(), client.desired_workers())?;
    let key = cluster_key(&valid.namespace, &valid.cluster.name_any());
    let others = context.caches.groups.indexed(&key);
    let others = others.iter().filter(|group| group.uid() != valid.group.uid());
    let groups: Vec<Group> =
        std::iter::once(&valid.group).chain(others).map(|group| seen(&context.caches, group)).collect();
    let mut counts = count_all(&groups, &workers, now).into_iter();
    let own = counts.next().unwrap_or_default();
    let starting = counts.map(|other| other.expected() - other.processes).fold(0, i64::saturating_add);
    Ok(ScalingInput {
        current: valid.group.spec.worker.replicas.max(0),
        connected: own.connected,
        starting: own.starting,
        per_worker: own.per_worker,
        // Workers that belong to no group are counted as well: users may have started some by hand.
        elsewhere: (to_i64(workers.len()) - own.processes).saturating_add(starting),
        target: i64::try_from(target).unwrap_or(i64::MAX),
    })
}

fn seen(caches: &Caches, group: &DaskWorkerGroup) -> Group {
    Group {
        replicas: group.spec.worker.replicas.max(0),
        deployments: caches.workers.indexed(&group.uid().unwrap_or_default()),
        pods: caches.worker_pods(&group.namespace().unwrap_or_default(), &group.name_any()),
    }
}
