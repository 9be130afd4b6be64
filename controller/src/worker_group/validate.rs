use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use kube::ResourceExt as _;
use serde_json::Value;

use super::observe::Observed;
use crate::{
    crd::{DaskCluster, DaskWorkerGroup, WorkerSpec},
    meta::{self, Map},
};

/// A label's value has at most 63 characters, and the group's name is one.
const MAX_NAME: usize = 63;
/// The scheduler's port where its Service does not name one.
const DEFAULT_PORT: u64 = 8786;

/// A group that workers can be built for.
#[derive(Clone, Debug)]
pub(super) struct ValidatedGroup {
    pub(super) name: String,
    pub(super) namespace: String,
    pub(super) cluster: String,
    pub(super) owner: OwnerReference,
    /// Set if the group does not belong to its cluster yet.
    pub(super) adopt_by: Option<OwnerReference>,
    /// Labels that workers inherit, from the cluster and from the group.
    pub(super) labels: Map,
    /// Annotations that workers inherit.
    pub(super) annotations: Map,
    pub(super) worker: WorkerSpec,
    pub(super) replicas: usize,
    /// What workers connect to.
    pub(super) scheduler_address: String,
}

/// Why nothing can be built until something changes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Invalid {
    pub(super) reason: &'static str,
    pub(super) message: String,
}

pub(super) fn validate(
    group: &DaskWorkerGroup,
    observed: &Observed,
    cluster_domain: &str,
) -> Result<ValidatedGroup, Invalid> {
    let (name, namespace) = (group.name_any(), group.namespace().unwrap_or_default());
    if name.len() > MAX_NAME {
        let message = format!("the name has {} characters, and a worker group's may have {MAX_NAME}", name.len());
        return Err(Invalid { reason: "InvalidName", message });
    }
    let cluster = observed.cluster.as_deref().filter(|cluster| cluster.metadata.deletion_timestamp.is_none());
    let Some((cluster, cluster_ref)) = cluster.and_then(|cluster| Some((cluster, meta::owner_ref(cluster)?))) else {
        let message = format!("there is no DaskCluster {} in this namespace", group.spec.cluster);
        return Err(Invalid { reason: "ClusterNotFound", message });
    };
    let Some(owner) = meta::owner_ref(group) else {
        return Err(Invalid { reason: "NotStored", message: "the object has no uid".to_owned() });
    };
    if let Some(other) = meta::dask_controller(group, "DaskCluster").filter(|other| other.uid != cluster_ref.uid) {
        let message = format!("the group belongs to an older DaskCluster {} and will go with it", other.name);
        return Err(Invalid { reason: "WaitingForDeletion", message });
    }
    let controlled = group.owner_references().iter().any(|owner| owner.controller == Some(true));
    Ok(ValidatedGroup {
        labels: meta::merged([&meta::inherited(cluster.labels()), &meta::inherited(group.labels())]),
        annotations: meta::inherited(group.annotations()),
        worker: group.spec.worker.clone(),
        replicas: usize::try_from(group.spec.worker.replicas).unwrap_or(0),
        scheduler_address: scheduler_address(cluster, &namespace, cluster_domain),
        adopt_by: (!controlled).then_some(cluster_ref),
        cluster: group.spec.cluster.clone(),
        owner,
        name,
        namespace,
    })
}

/// The port is the one that the Service calls `tcp-comm`, or its own name, as Dask's client looks it up.
pub(super) fn scheduler_address(cluster: &DaskCluster, namespace: &str, cluster_domain: &str) -> String {
    let service = meta::scheduler_name(&cluster.name_any());
    let ports = cluster.spec.scheduler.service.0.get("ports").and_then(Value::as_array);
    let is_comm = |port: &&Value| port["name"] == "tcp-comm" || port["name"] == service.as_str();
    let port = ports.and_then(|ports| ports.iter().find(is_comm)?["port"].as_u64()).unwrap_or(DEFAULT_PORT);
    format!("tcp://{service}.{namespace}.svc.{cluster_domain}:{port}")
}
