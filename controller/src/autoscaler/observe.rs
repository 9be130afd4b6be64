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
    view::PodView,
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
        scheduler_ready: scheduler_ready(&caches.scheduler_pods(&namespace, cluster)),
    }
}

/// Whether there is one scheduler, and it is ready. With two, it is open whom the Service would ask. Pods
/// that have ended, such as evicted ones, may lie about for long.
pub(crate) fn scheduler_ready(pods: &[Arc<PodView>]) -> bool {
    let ended = |pod: &PodView| matches!(pod.status.phase.as_deref(), Some("Failed" | "Succeeded"));
    let mut running = pods.iter().filter(|pod| !ended(pod));
    running.next().is_some_and(|pod| pod.is_ready()) && running.next().is_none()
}

/// A constant word for conditions. A scheduler that is gone and one that hangs look alike in turn, and each
/// change of a condition is a write.
pub(crate) fn reason_of(error: &scheduler::Error) -> &'static str {
    match error {
        scheduler::Error::Connect { .. } | scheduler::Error::Timeout { .. } => "SchedulerUnreachable",
        other => other.category(),
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

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn pod(phase: &str, ready: &str) -> Arc<PodView> {
        let conditions = json!([{"type": "Ready", "status": ready}, {"type": "ContainersReady", "status": ready}]);
        let status = json!({"phase": phase, "conditions": conditions});
        Arc::new(serde_json::from_value(json!({"metadata": {}, "status": status})).unwrap())
    }

    /// An evicted pod stays until somebody deletes it.
    #[test]
    fn the_scheduler_is_ready_if_exactly_one_pod_has_not_ended_and_is_ready() {
        let (ready, starting, evicted) = (pod("Running", "True"), pod("Running", "False"), pod("Failed", "False"));
        assert!(!scheduler_ready(&[]));
        assert!(scheduler_ready(&[Arc::clone(&ready)]));
        assert!(!scheduler_ready(&[Arc::clone(&starting)]));
        assert!(!scheduler_ready(&[Arc::clone(&ready), starting]));
        assert!(!scheduler_ready(&[Arc::clone(&ready), Arc::clone(&ready)]));
        assert!(scheduler_ready(&[evicted, ready]));
    }
}
