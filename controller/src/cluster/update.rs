//! Computes how a change of a cluster's spec affects components that exist. Pure.
//!
//! A component's annotations record what it was built from. This distinguishes a change of the cluster from a change
//! of the component itself, which is left alone: a group that was scaled keeps its size until the cluster asks for
//! another one.

use std::sync::Arc;

use dask_operator_api::{DaskWorkerGroup, SchedulerUpdatePolicy, meta};
use k8s_openapi::api::core::v1::Service;
use kube::ResourceExt as _;
use operator_runtime::k8s::is_controlled_by;
use serde_json::{Map, Value, json};

use super::{build, component::Component, observe::Observed, validate::ValidatedCluster};
use crate::{
    pod_labels,
    propagation::Propagation,
    view::{DeploymentView, PodView},
};

/// A write to a component that exists.
#[derive(Clone, Debug)]
pub(super) enum Update {
    /// Labels and annotations of the scheduler's Deployment.
    SchedulerMetadata(Arc<DeploymentView>, Map<String, Value>),
    /// The deletion of the Deployment, which is created again when its pod is gone.
    RecreateScheduler(Arc<DeploymentView>),
    /// Labels and annotations of the Service.
    ServiceMetadata(Arc<Service>, Map<String, Value>),
    /// The Service's spec, as JSON Patch operations (RFC 6902).
    ServiceSpec(Arc<Service>, Vec<Value>),
    /// Labels and annotations of the default group.
    GroupMetadata(Arc<DaskWorkerGroup>, Map<String, Value>),
    /// The default group's spec, as JSON Patch operations (RFC 6902).
    GroupSpec(Arc<DaskWorkerGroup>, Vec<Value>),
    /// Labels of a pod of the scheduler.
    PodLabels(Arc<PodView>, Value),
}

/// Returns the update of the scheduler. Replacing its pod loses all results, so the spec has to ask for it.
pub(super) fn of_scheduler(
    cluster: &ValidatedCluster,
    live: &Arc<DeploymentView>,
    wanted: &Component,
) -> Option<Update> {
    let policy = cluster.scheduler.update_policy.unwrap_or_default();
    if wanted.is_outdated(&live.metadata) && policy == SchedulerUpdatePolicy::Recreate {
        return Some(Update::RecreateScheduler(Arc::clone(live)));
    }
    let patch = wanted.propagated(&live.metadata).patch(&live.metadata)?;
    Some(Update::SchedulerMetadata(Arc::clone(live), patch))
}

pub(super) fn of_service(cluster: &ValidatedCluster, live: &Arc<Service>, wanted: &Component) -> Option<Update> {
    if !wanted.is_outdated(&live.metadata) {
        let patch = wanted.propagated(&live.metadata).patch(&live.metadata)?;
        return Some(Update::ServiceMetadata(Arc::clone(live), patch));
    }
    let fields = cluster.scheduler.service.object();
    let set = fields.iter().map(|(field, value)| json!({"op": "add", "path": pointer("/spec", field), "value": value}));
    // Fields that users set earlier and have removed since. All other fields are Kubernetes' own.
    let before = live.annotations().get(meta::SERVICE_FIELDS).map(String::as_str).unwrap_or_default();
    let exists = |field: &&str| {
        let spec = serde_json::to_value(&live.spec).unwrap_or_default();
        spec.get(*field).is_some()
    };
    let lost = before.split(',').filter(|field| !field.is_empty() && !fields.contains_key(*field)).filter(exists);
    let removed = lost.map(|field| json!({"op": "remove", "path": pointer("/spec", field)}));
    let operations = removed.chain(set).chain(metadata(live.as_ref(), &wanted.renewed(&live.metadata))).collect();
    Some(Update::ServiceSpec(Arc::clone(live), operations))
}

/// Returns the update of the default group. It receives the number of workers only when that number changes in the
/// cluster, and all other fields only when one of them changes.
pub(super) fn of_group(cluster: &ValidatedCluster, live: &Arc<DaskWorkerGroup>, wanted: &Component) -> Option<Update> {
    let rescaled = wanted.differs_in(&live.metadata, meta::CLUSTER_REPLICAS);
    let changed = wanted.is_outdated(&live.metadata);
    if !rescaled && !changed {
        let patch = wanted.propagated(&live.metadata).patch(&live.metadata)?;
        return Some(Update::GroupMetadata(Arc::clone(live), patch));
    }
    let spec = if changed {
        let replicas = if rescaled { cluster.worker.replicas } else { live.spec.worker.replicas };
        let mut worker = json!(cluster.worker);
        worker["replicas"] = json!(replicas);
        json!({"op": "replace", "path": "/spec/worker", "value": worker})
    } else {
        json!({"op": "replace", "path": "/spec/worker/replicas", "value": cluster.worker.replicas})
    };
    // A client may be scaling the group at this moment: the number that is written back must not be an old one.
    let unchanged = json!({"op": "test", "path": "/metadata/resourceVersion", "value": live.resource_version()});
    let operations =
        [unchanged, spec].into_iter().chain(metadata(live.as_ref(), &wanted.renewed(&live.metadata))).collect();
    Some(Update::GroupSpec(Arc::clone(live), operations))
}

/// Returns the updates that give the scheduler's pods the labels that they are selected by.
///
/// A pod that loses a label of its ReplicaSet's selector is released and replaced, so that two schedulers run. When it
/// gets the label back, the ReplicaSet adopts it and deletes one of both. Labels that only the Service selects by are
/// added, but never changed: Deployments of dask-kubernetes select by them, too.
pub(super) fn of_pods(cluster: &ValidatedCluster, observed: &Observed) -> Vec<Update> {
    let scheduler = observed.scheduler.as_ref();
    if scheduler.is_none_or(|scheduler| !is_controlled_by(scheduler.as_ref(), &cluster.uid)) {
        return Vec::new();
    }
    let (name, selector) = (meta::scheduler_name(&cluster.name), build::scheduler_selector(cluster));
    let service = cluster.scheduler.service.field("selector");
    let mut wanted = build::scheduler_pod_labels(cluster);
    wanted.retain(|key, _| service.get(key).is_some());
    let pods = observed.scheduler_pods.iter().chain(&observed.astray_pods);
    let of_scheduler = pods.filter(|pod| meta::deployment_of_released(pod.as_ref()) == Some(&name));
    let update = |pod: &Arc<PodView>| {
        let missing = pod_labels::lost(pod, &selector, &wanted)?;
        Some(Update::PodLabels(Arc::clone(pod), missing))
    };
    of_scheduler.filter_map(update).collect()
}

/// Returns the operations that patch labels and annotations after the spec has changed. Warnings about the old spec are
/// removed.
fn metadata(live: &impl kube::Resource, wanted: &Propagation) -> Vec<Value> {
    let mut operations = Vec::new();
    if live.annotations().contains_key(meta::WARNINGS) {
        operations.push(json!({"op": "remove", "path": pointer("/metadata/annotations", meta::WARNINGS)}));
    }
    let Some(metadata) = wanted.patch(live.meta()) else { return operations };
    for (field, there) in [("labels", live.meta().labels.is_some()), ("annotations", live.meta().annotations.is_some())]
    {
        let parent = format!("/metadata/{field}");
        let Some(changes) = metadata.get(field).and_then(Value::as_object) else { continue };
        if !there {
            operations.push(json!({"op": "add", "path": parent, "value": {}}));
        }
        for (key, value) in changes {
            let path = pointer(&parent, key);
            operations.push(match value {
                Value::Null => json!({"op": "remove", "path": path}),
                value => json!({"op": "add", "path": path, "value": value}),
            });
        }
    }
    operations
}

/// Returns `parent` and `key` as a JSON pointer (RFC 6901).
fn pointer(parent: &str, key: &str) -> String {
    format!("{parent}/{}", key.replace('~', "~0").replace('/', "~1"))
}

#[cfg(test)]
mod tests;
