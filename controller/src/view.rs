//! The parts of Deployments and pods that decisions depend on. The other fields are not parsed: with one Deployment and
//! one pod per worker, these objects are most of what the controller reads.

use std::collections::BTreeMap;

use dask_operator_api::meta;
use k8s_openapi::{
    api::{
        apps::v1::Deployment,
        core::v1::{ContainerState, Pod},
    },
    apimachinery::pkg::apis::meta::v1::{ManagedFieldsEntry, OwnerReference, Time},
};
use kube::{Resource, api::ObjectMeta};
use serde::{Deserialize, Serialize};

/// A Deployment.
#[derive(Clone, Debug, Default, Serialize, Deserialize, Resource)]
#[resource(inherit = Deployment)]
pub struct DeploymentView {
    /// Its metadata, without `managedFields`.
    #[serde(deserialize_with = "MetadataView::deserialize")]
    pub metadata: ObjectMeta,
    /// Its status.
    #[serde(default)]
    pub status: DeploymentStatusView,
}

/// A Deployment's status.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct DeploymentStatusView {
    /// The generation that the Deployment controller has observed.
    pub observed_generation: Option<i64>,
    /// Ready pods.
    pub ready_replicas: Option<i64>,
    /// Conditions. `ReplicaFailure` reports why pods cannot be created.
    pub conditions: Vec<ConditionView>,
}

/// A condition of a Deployment or Pod.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ConditionView {
    /// Its type.
    #[serde(rename = "type")]
    pub type_: String,
    /// `True`, `False` or `Unknown`.
    pub status: String,
    /// A reason in `CamelCase`.
    pub reason: Option<String>,
    /// A message for users.
    pub message: Option<String>,
}

/// A Pod.
#[derive(Clone, Debug, Default, Serialize, Deserialize, Resource)]
#[resource(inherit = Pod)]
pub struct PodView {
    /// Its metadata, without `managedFields`.
    #[serde(deserialize_with = "MetadataView::deserialize")]
    pub metadata: ObjectMeta,
    /// The node that it runs on.
    #[serde(default)]
    pub spec: PodSpecView,
    /// Its status.
    #[serde(default)]
    pub status: PodStatusView,
}

/// A Pod's spec.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct PodSpecView {
    /// Set once the pod is scheduled.
    pub node_name: Option<String>,
    /// Keep the pod from being scheduled until somebody removes them, such as a queue that admits it.
    pub scheduling_gates: Vec<SchedulingGateView>,
}

/// A scheduling gate of a Pod.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct SchedulingGateView {
    /// Says who removes it, such as `kueue.x-k8s.io/admission`.
    pub name: String,
}

/// A Pod's status.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct PodStatusView {
    /// `Pending`, `Running`, `Succeeded`, `Failed` or `Unknown`.
    pub phase: Option<String>,
    /// Its IP address.
    #[serde(rename = "podIP")]
    pub pod_ip: Option<String>,
    /// The IP address of its node, which is also its own if the pod uses the host network.
    #[serde(rename = "hostIP")]
    pub host_ip: Option<String>,
    /// The reason of its phase, such as `Evicted`.
    pub reason: Option<String>,
    /// The message for users that belongs to `reason`.
    pub message: Option<String>,
    /// When the kubelet acknowledged the pod.
    pub start_time: Option<Time>,
    /// Conditions such as `PodScheduled`, `ContainersReady` and `Ready`.
    pub conditions: Vec<ConditionView>,
    /// The statuses of its containers.
    pub container_statuses: Vec<ContainerView>,
    /// The statuses of its init containers.
    pub init_container_statuses: Vec<ContainerView>,
}

/// A container of a pod.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ContainerView {
    /// Its name.
    pub name: String,
    /// How often it was restarted.
    pub restart_count: i64,
    /// Its current state: waiting, running or terminated.
    pub state: Option<ContainerState>,
    /// The state before its last restart.
    pub last_state: Option<ContainerState>,
}

/// The fields of the metadata that the controller reads. `managedFields` is skipped: it is as large as the rest of a
/// Deployment or pod, and parsing it would create a map for each field and level.
#[derive(Deserialize)]
#[serde(remote = "ObjectMeta", rename_all = "camelCase")]
struct MetadataView {
    name: Option<String>,
    namespace: Option<String>,
    uid: Option<String>,
    resource_version: Option<String>,
    generation: Option<i64>,
    creation_timestamp: Option<Time>,
    deletion_timestamp: Option<Time>,
    labels: Option<BTreeMap<String, String>>,
    annotations: Option<BTreeMap<String, String>>,
    owner_references: Option<Vec<OwnerReference>>,
    finalizers: Option<Vec<String>>,
    #[serde(skip)]
    deletion_grace_period_seconds: Option<i64>,
    #[serde(skip)]
    generate_name: Option<String>,
    #[serde(skip)]
    managed_fields: Option<Vec<ManagedFieldsEntry>>,
    #[serde(skip)]
    self_link: Option<String>,
}

impl DeploymentView {
    /// Returns the condition of this type if it is present and `True`.
    pub fn holds(&self, type_: &str) -> Option<&ConditionView> {
        self.status.conditions.iter().find(|condition| condition.type_ == type_ && condition.status == "True")
    }
}

impl ContainerView {
    /// Returns whether it is running now.
    pub fn is_running(&self) -> bool {
        self.state.as_ref().is_some_and(|state| state.running.is_some())
    }
}

impl PodView {
    /// Returns whether none of its containers will run again. Such a pod may remain for a long time.
    pub fn has_ended(&self) -> bool {
        matches!(self.status.phase.as_deref(), Some("Succeeded" | "Failed"))
    }

    /// Returns whether a container is running now.
    pub fn is_running(&self) -> bool {
        self.status.container_statuses.iter().any(ContainerView::is_running)
    }

    /// Returns whether all containers are ready and the pod is not being deleted.
    pub fn is_ready(&self) -> bool {
        self.metadata.deletion_timestamp.is_none() && self.holds("Ready") && self.holds("ContainersReady")
    }

    /// Returns the condition of this type.
    pub fn condition(&self, type_: &str) -> Option<&ConditionView> {
        self.status.conditions.iter().find(|condition| condition.type_ == type_)
    }

    /// Returns the name of the Deployment that the pod belongs to.
    pub fn deployment(&self) -> Option<&str> {
        meta::deployment_of(self)
    }

    fn holds(&self, type_: &str) -> bool {
        self.condition(type_).is_some_and(|condition| condition.status == "True")
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_deployment_of_a_pod_is_known_by_its_replica_set() {
        let pod: PodView = serde_json::from_value(json!({"metadata": {
            "name": "demo-default-worker-0123456789-5d8f7c-abcde",
            "labels": {"pod-template-hash": "5d8f7c"},
            "ownerReferences": [{"apiVersion": "apps/v1", "kind": "ReplicaSet", "uid": "u",
                "name": "demo-default-worker-0123456789-5d8f7c", "controller": true}],
        }}))
        .unwrap();
        assert_eq!(pod.deployment(), Some("demo-default-worker-0123456789"));
        assert_eq!(PodView::default().deployment(), None);
    }

    /// Covers each field of the metadata that decisions read: a field that is missing in the view would be missing
    /// everywhere.
    #[test]
    fn metadata_is_read_without_managed_fields() {
        let metadata = json!({
            "name": "demo", "namespace": "ns", "uid": "u", "resourceVersion": "7", "generation": 2,
            "creationTimestamp": "2026-01-01T00:00:00Z", "deletionTimestamp": "2026-01-02T00:00:00Z",
            "labels": {"a": "1"}, "annotations": {"b": "2"}, "finalizers": ["foregroundDeletion"],
            "ownerReferences": [{"apiVersion": "v1", "kind": "K", "name": "n", "uid": "o", "controller": true}],
        });
        let mut sent = metadata.clone();
        sent["managedFields"] = json!([{"manager": "kubelet", "fieldsV1": {"f:status": {}}}]);
        let pod: PodView = serde_json::from_value(json!({"metadata": sent})).unwrap();
        assert_eq!(json!(pod.metadata), metadata);
        let deployment: DeploymentView = serde_json::from_value(json!({"metadata": sent})).unwrap();
        assert_eq!(json!(deployment.metadata), metadata);
    }

    #[test]
    fn a_pod_on_its_way_out_is_not_ready() {
        let mut pod: PodView = serde_json::from_value(json!({"metadata": {}, "status": {"conditions": [
            {"type": "Ready", "status": "True"}, {"type": "ContainersReady", "status": "True"},
        ]}}))
        .unwrap();
        assert!(pod.is_ready());
        pod.metadata.deletion_timestamp = Some(Time(jiff::Timestamp::UNIX_EPOCH));
        assert!(!pod.is_ready());
    }
}
