//! Objects for tests.

use kube::core::{ApiResource, GroupVersionKind};
use serde_json::{Value, json};

use crate::{
    context::Defaults,
    crd::{DaskCluster, DaskWorkerGroup, WorkerAllocation},
};

/// An object from YAML.
pub(crate) fn from_yaml<K: serde::de::DeserializeOwned>(yaml: &str) -> K {
    serde_saphyr::from_str(yaml).unwrap()
}

/// Flags of a controller in a Kubernetes cluster of this DNS domain.
pub(crate) fn mk_defaults(cluster_domain: &str) -> Defaults {
    Defaults { cluster_domain: cluster_domain.to_owned(), allocation: WorkerAllocation::default(), scheduler_ip: None }
}

/// The smallest cluster that dask-kubernetes' client would make, with uid `cluster-uid` in namespace `ns`.
pub(crate) fn mk_cluster(name: &str) -> DaskCluster {
    serde_json::from_value(json!({
        "apiVersion": "kubernetes.dask.org/v1",
        "kind": "DaskCluster",
        "metadata": {"name": name, "namespace": "ns", "uid": "cluster-uid", "generation": 1},
        "spec": {
            "scheduler": {"spec": pod("scheduler"), "service": {
                "type": "ClusterIP",
                "selector": {"dask.org/cluster-name": name, "dask.org/component": "scheduler"},
                "ports": [{"name": "tcp-comm", "port": 8786, "protocol": "TCP", "targetPort": "tcp-comm"}],
            }},
            "worker": {"replicas": 2, "spec": pod("worker")},
        },
    }))
    .unwrap()
}

/// A group of the cluster of [`mk_cluster`], with uid `group-uid`.
pub(crate) fn mk_group(name: &str, cluster: &str) -> DaskWorkerGroup {
    serde_json::from_value(json!({
        "apiVersion": "kubernetes.dask.org/v1",
        "kind": "DaskWorkerGroup",
        "metadata": {"name": name, "namespace": "ns", "uid": "group-uid", "generation": 1},
        "spec": {"cluster": cluster, "worker": {"replicas": 2, "spec": pod("worker")}},
    }))
    .unwrap()
}

fn pod(container: &str) -> Value {
    json!({"containers": [{"name": container, "image": "dask"}]})
}

/// A kind as API discovery describes it; the plural is guessed.
pub(crate) fn mk_resource(api_version: &str, kind: &str) -> ApiResource {
    let (group, version) = api_version.split_once('/').unwrap_or(("", api_version));
    ApiResource::from_gvk(&GroupVersionKind::gvk(group, version, kind))
}

/// The `Status` that refuses a creation in a namespace that is being deleted.
pub(crate) fn namespace_terminating() -> Value {
    json!({
        "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure", "code": 403, "reason": "Forbidden",
        "message": "deployments.apps \"a\" is forbidden: unable to create new content in namespace ns because it is being \
            terminated",
        "details": {"name": "a", "group": "apps", "kind": "deployments", "causes": [
            {"reason": "NamespaceTerminating", "message": "namespace ns is being terminated", "field": "metadata.namespace"},
        ]},
    })
}
