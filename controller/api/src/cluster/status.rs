//! The status of DaskCluster.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The phase of a cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum ClusterPhase {
    /// The cluster is accepted, and its components are being created.
    Created,
    /// The components exist, but the scheduler's load balancer has no address yet, its Service does not select the
    /// scheduler, or a plugin whose `failurePolicy` is `Fail` is not synced.
    Pending,
    /// The components and a pod of the scheduler exist, and its Service can be used. Does not say that the pod runs.
    Running,
    /// Somebody has to act before the scheduler can start. A cluster that was `Running` stays so.
    Error,
}

/// What the controller saw last.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct DaskClusterStatus {
    /// `Created`, `Pending`, `Running` or `Error`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>")]
    pub phase: Option<ClusterPhase>,
    /// The generation of the spec that this status belongs to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// Workers of the default group that exist.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub replicas: Option<i64>,
    /// Workers of the default group whose pods are ready.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ready_replicas: Option<i64>,
    /// Workers of the default group that are registered with the scheduler.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub connected_replicas: Option<i64>,
    /// Workers of all groups of the cluster.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub workers: Option<WorkerCounts>,
    /// The first failure of the cluster, its worker groups or its plugins. Empty if there is none.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub message: String,
    /// Label selector of the default group's workers, for autoscalers that read the scale subresource.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub selector: Option<String>,
    /// Why the phase is what it is.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["type".into()]))]
    pub conditions: Vec<Condition>,
    /// What plugins added to this cluster.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["name".into()]))]
    pub plugins: Vec<PluginState>,
}

/// Workers of all groups of a cluster.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct WorkerCounts {
    /// Workers that the groups ask for.
    #[serde(default)]
    pub desired: i64,
    /// Workers whose pods are ready.
    #[serde(default)]
    pub ready: i64,
    /// Workers that are registered with the scheduler, when it was last asked.
    #[serde(default)]
    pub connected: i64,
}

/// What one plugin added to a Dask resource.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct PluginState {
    /// The plugin resource's name.
    pub name: String,
    /// Whether everything that the plugin asked for stands.
    pub synced: bool,
    /// How many children stand.
    #[serde(default)]
    pub children: i64,
    /// Why not synced.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub message: String,
}
