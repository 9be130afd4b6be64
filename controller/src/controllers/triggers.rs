//! Decides which objects are reconciled again after a change.

use dask_operator_api::{
    DaskAutoscaler, DaskCluster, DaskJob, DaskWorkerGroup,
    meta::{self, component},
};
use kube::{Resource, ResourceExt as _};
use operator_runtime::watch::{Cache, Change, Queue};

use super::Senders;
use crate::{
    caches::{Caches, cluster_key},
    pod_labels::{self, Home},
    view::PodView,
};

/// Enqueues the object itself. It gets high priority if its spec has not been observed yet, because children may have
/// to be created.
fn push<K>(queue: &Queue<K>, change: &Change<K>, observed_generation: Option<i64>)
where
    K: Resource<DynamicType = ()> + 'static,
{
    let (namespace, name) = (change.object().namespace().unwrap_or_default(), change.object().name_any());
    match change {
        Change::Applied(object)
            if object.meta().deletion_timestamp.is_none() && object.meta().generation != observed_generation =>
        {
            queue.push_first(&namespace, &name);
        }
        _ => queue.push(&namespace, &name),
    }
}

pub(super) fn on_cluster(caches: &Caches, queues: &Senders) -> impl Fn(&Change<DaskCluster>) + Send + 'static {
    let (group_cache, autoscaler_cache, queues) = (caches.groups.clone(), caches.autoscalers.clone(), queues.clone());
    move |change| {
        let (namespace, name) = (change.object().namespace().unwrap_or_default(), change.object().name_any());
        let status = change.object().status.as_ref();
        push(&queues.clusters, change, status.and_then(|status| status.observed_generation));
        queues.idle.push(&namespace, &name);
        if let Some(job) = meta::dask_controller(change.object().as_ref(), "DaskJob") {
            queues.jobs.push(&namespace, &job.name);
        }
        let key = cluster_key(&namespace, &name);
        for group in group_cache.indexed(&key) {
            queues.groups.push(&namespace, &group.name_any());
        }
        for autoscaler in autoscaler_cache.indexed(&key) {
            queues.autoscalers.push(&namespace, &autoscaler.name_any());
        }
    }
}

pub(super) fn on_group(caches: &Caches, queues: &Senders) -> impl Fn(&Change<DaskWorkerGroup>) + Send + 'static {
    let (job_cache, queues) = (caches.jobs.clone(), queues.clone());
    move |change| {
        let group = change.object();
        let namespace = group.namespace().unwrap_or_default();
        push(&queues.groups, change, group.status.as_ref().and_then(|status| status.observed_generation));
        queues.clusters.push(&namespace, &group.spec.cluster);
        push_job(&job_cache, &queues.jobs, change, &group.spec.cluster);
    }
}

/// Enqueues the job of a cluster when something that belongs to the cluster changed. While the job runs, it may have to
/// create the object again. After its end, it may have to remove workers.
fn push_job<K: Resource>(jobs: &Cache<DaskJob>, queue: &Queue<DaskJob>, change: &Change<K>, cluster: &str) {
    let namespace = change.object().namespace().unwrap_or_default();
    // A job's cluster has the job's name.
    let Some(job) = jobs.get(&namespace, cluster) else { return };
    let has_ended = job.status.as_ref().is_some_and(|status| status.end_time.is_some());
    if has_ended || matches!(change, Change::Deleted(_)) {
        queue.push(&namespace, cluster);
    }
}

pub(super) fn on_job(queues: &Senders) -> impl Fn(&Change<DaskJob>) + Send + 'static {
    let queues = queues.clone();
    move |change| queues.jobs.push(&change.object().namespace().unwrap_or_default(), &change.object().name_any())
}

/// Enqueues the autoscaler. If an autoscaler that scaled a group is deleted, another one of the same cluster may
/// replace it.
pub(super) fn on_autoscaler(caches: &Caches, queues: &Senders) -> impl Fn(&Change<DaskAutoscaler>) + Send + 'static {
    let (cache, job_cache, queues) = (caches.autoscalers.clone(), caches.jobs.clone(), queues.clone());
    move |change| {
        let object = change.object();
        let namespace = object.namespace().unwrap_or_default();
        queues.autoscalers.push(&namespace, &object.name_any());
        push_job(&job_cache, &queues.jobs, change, &object.spec.cluster);
        // The others wait and are reconciled periodically. Enqueueing all of them on each change of one would be too
        // expensive.
        let scaled = object.status.as_ref().is_some_and(|status| status.desired_replicas.is_some());
        let is_going = matches!(change, Change::Deleted(_)) || object.metadata.deletion_timestamp.is_some();
        if !scaled || !is_going {
            return;
        }
        for other in cache.indexed(&cluster_key(&namespace, &object.spec.cluster)) {
            queues.autoscalers.push(&namespace, &other.name_any());
        }
    }
}

/// Enqueues the cluster that an object belongs to. Objects without an owner count by label, because they may conflict
/// with the cluster's components.
pub(super) fn owning_cluster<K: Resource>(queues: &Senders) -> impl Fn(&Change<K>) + Send + 'static {
    let clusters = queues.clusters.clone();
    move |change| {
        let object = change.object();
        let owner = meta::dask_controller(object.as_ref(), "DaskCluster").map(|owner| &owner.name);
        let Some(name) = owner.or_else(|| object.labels().get(meta::CLUSTER_NAME)) else { return };
        let namespace = object.namespace().unwrap_or_default();
        match change {
            Change::Applied(_) => clusters.push(&namespace, name),
            // The object may have to be created again.
            Change::Deleted(_) => clusters.push_first(&namespace, name),
        }
    }
}

pub(super) fn owning_group<K: Resource>(queues: &Senders) -> impl Fn(&Change<K>) + Send + 'static {
    let groups = queues.groups.clone();
    move |change| {
        let object = change.object();
        if let Some(owner) = meta::dask_controller(object.as_ref(), "DaskWorkerGroup") {
            groups.push(&object.namespace().unwrap_or_default(), &owner.name);
        }
    }
}

/// Enqueues the resource that a pod belongs to: the one that its labels name, and the one that it was created for,
/// which may have to restore the labels.
pub(super) fn on_pod(queues: &Senders) -> impl Fn(&Change<PodView>) + Send + 'static {
    let queues = queues.clone();
    move |change| {
        let pod = change.object();
        let namespace = pod.namespace().unwrap_or_default();
        let (labelled, home) = (pod_labels::labelled_home(pod), pod_labels::home(pod));
        for Home { component, name } in labelled.into_iter().chain(home.filter(|home| labelled != Some(*home))) {
            match component {
                component::WORKER => queues.groups.push(&namespace, name),
                component::SCHEDULER => queues.clusters.push(&namespace, name),
                _ => queues.jobs.push(&namespace, name),
            }
        }
    }
}
