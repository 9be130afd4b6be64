//! Resources for tests.
#![expect(clippy::unwrap_used, clippy::missing_panics_doc, reason = "the texts are part of this file")]

use kube::core::{ApiResource, GroupVersionKind};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::{DaskCluster, DaskWorkerGroup};

/// Returns the smallest cluster that dask-kubernetes' client would create, with uid `cluster-uid` in namespace `ns`.
pub fn mk_cluster(name: &str) -> DaskCluster {
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

/// Returns a group of the cluster of [`mk_cluster`], with uid `group-uid`.
pub fn mk_group(name: &str, cluster: &str) -> DaskWorkerGroup {
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

/// Returns a kind as API discovery describes it. The plural is guessed.
pub fn mk_resource(api_version: &str, kind: &str) -> ApiResource {
    let (group, version) = api_version.split_once('/').unwrap_or(("", api_version));
    ApiResource::from_gvk(&GroupVersionKind::gvk(group, version, kind))
}

/// Several spellings of a pod's spec.
#[derive(Debug, Deserialize)]
pub struct Spelling {
    /// What they differ in.
    pub of: String,
    /// The specs.
    pub pods: Vec<Value>,
}

/// A catalogue of spellings.
#[derive(Debug, Deserialize)]
pub struct Spellings {
    /// Specs that the API server stores as the same.
    pub equal: Vec<Spelling>,
    /// Specs that make equal pods although the API server stores them as they are written.
    pub alike: Vec<Spelling>,
    /// Specs of which each makes other pods.
    pub different: Vec<Spelling>,
}

impl Spelling {
    /// Returns the catalogue.
    pub fn all() -> Spellings {
        serde_json::from_str(include_str!("testing/spellings.json")).unwrap()
    }
}
