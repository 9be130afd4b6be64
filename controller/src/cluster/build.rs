use serde_json::{Value, json};

use super::validate::ValidatedCluster;
use crate::{
    meta::{self, ISTIO_INJECT, Map, component, map_of, merged},
    pod::{self, RestartPolicy},
};

/// The manifests of a cluster's components.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Desired {
    pub(super) scheduler: Value,
    pub(super) service: Value,
    pub(super) group: Value,
}

pub(super) fn build(cluster: &ValidatedCluster) -> Desired {
    Desired {
        scheduler: build_scheduler(cluster),
        service: build_service(cluster),
        group: build_default_group(cluster),
    }
}

fn build_scheduler(cluster: &ValidatedCluster) -> Value {
    let base = map_of([(meta::CLUSTER_NAME, &cluster.name), (meta::COMPONENT, component::SCHEDULER)]);
    let no_mesh = map_of([(ISTIO_INJECT, "false")]);
    let own = &cluster.scheduler.metadata;
    let labels = merged([&no_mesh, &cluster.labels, &own.labels, &base]);
    let annotations = merged([&cluster.annotations, &own.annotations]);
    let pod = pod::built(&cluster.scheduler.spec.0, &[], RestartPolicy::Always);
    json!({
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": metadata(cluster, &meta::scheduler_name(&cluster.name), &labels, &annotations),
        "spec": {
            "replicas": 1,
            // Two schedulers of one cluster must never run side by side.
            "strategy": {"type": "Recreate"},
            "selector": {"matchLabels": base},
            "template": {"metadata": {"labels": labels, "annotations": annotations}, "spec": pod},
        },
    })
}

fn build_service(cluster: &ValidatedCluster) -> Value {
    let base = map_of([(meta::CLUSTER_NAME, &cluster.name), (meta::COMPONENT, component::SCHEDULER)]);
    let own = &cluster.scheduler.metadata;
    let labels = merged([&cluster.labels, &own.labels, &base]);
    let annotations = merged([&cluster.annotations, &own.annotations]);
    json!({
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": metadata(cluster, &meta::scheduler_name(&cluster.name), &labels, &annotations),
        "spec": cluster.scheduler.service,
    })
}

fn build_default_group(cluster: &ValidatedCluster) -> Value {
    let base = map_of([(meta::CLUSTER_NAME, &cluster.name), (meta::COMPONENT, component::WORKER_GROUP)]);
    let own = &cluster.worker.metadata;
    let labels = merged([&cluster.labels, &own.labels, &base]);
    let annotations = merged([&cluster.annotations, &own.annotations]);
    json!({
        "apiVersion": "kubernetes.dask.org/v1",
        "kind": "DaskWorkerGroup",
        "metadata": metadata(cluster, &meta::default_group_name(&cluster.name), &labels, &annotations),
        "spec": {"cluster": cluster.name, "worker": cluster.worker},
    })
}

fn metadata(cluster: &ValidatedCluster, name: &str, labels: &Map, annotations: &Map) -> Value {
    json!({
        "name": name,
        "namespace": cluster.namespace,
        "labels": labels,
        "annotations": annotations,
        "ownerReferences": [cluster.owner],
    })
}

#[cfg(test)]
mod tests;
