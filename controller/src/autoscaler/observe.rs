use std::sync::Arc;

use jiff::Timestamp;
use kube::ResourceExt as _;

use super::{
    count::{Group, count, to_i64},
    decide::Situation,
    validate::{self, Validated},
};
use crate::{
    context::{Caches, Context, cluster_key},
    crd::{DaskAutoscaler, DaskCluster, DaskWorkerGroup},
    scheduler,
};

/// What stands around an autoscaler.
#[derive(Debug, Default)]
pub(super) struct Observed {
    pub(super) cluster: Option<Arc<DaskCluster>>,
    pub(super) group: Option<Arc<DaskWorkerGroup>>,
    /// Of the same cluster, this one included.
    pub(super) autoscalers: Vec<Arc<DaskAutoscaler>>,
    pub(super) scheduler_ready: bool,
}

pub(super) fn observe(autoscaler: &DaskAutoscaler, caches: &Caches) -> Observed {
    let (namespace, cluster) = (autoscaler.namespace().unwrap_or_default(), &autoscaler.spec.cluster);
    Observed {
        cluster: caches.clusters.get(&namespace, cluster),
        group: caches.groups.get(&namespace, &validate::group_name(autoscaler)),
        autoscalers: caches.autoscalers.indexed(&cluster_key(&namespace, cluster)),
        scheduler_ready: scheduler::is_ready(&caches.scheduler_pods(&namespace, cluster)),
    }
}

/// What the scheduler says, put together with the caches.
pub(super) async fn ask(context: &Context, valid: &Validated, now: Timestamp) -> Result<Situation, scheduler::Error> {
    let client = scheduler::client_of(context, &valid.cluster).await?;
    let (workers, target) = futures::try_join!(client.workers(), client.desired_workers())?;
    let key = cluster_key(&valid.namespace, &valid.cluster.name_any());
    let own = count(&seen(&context.caches, &valid.group), &workers, now);
    let others = context.caches.groups.indexed(&key);
    let others = others.iter().filter(|group| group.uid() != valid.group.uid());
    let starting: i64 = others
        .map(|group| count(&seen(&context.caches, group), &workers, now))
        .map(|other| other.expected() - other.processes)
        .sum();
    Ok(Situation {
        current: valid.group.spec.worker.replicas.max(0),
        connected: own.connected,
        starting: own.starting,
        per_worker: own.per_worker,
        // Those of nobody's group too: somebody may have started workers by hand.
        elsewhere: to_i64(workers.len()) - own.processes + starting,
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
