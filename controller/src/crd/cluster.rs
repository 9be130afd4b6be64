use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{PodSpec, ServiceSpec, TemplateMetadata};

/// A Dask cluster: one scheduler, its Service, and a default group of workers.
#[derive(CustomResource, Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[kube(
    group = "kubernetes.dask.org",
    version = "v1",
    kind = "DaskCluster",
    plural = "daskclusters",
    singular = "daskcluster",
    shortname = "daskcluster",
    shortname = "dsk",
    namespaced,
    status = "DaskClusterStatus",
    scale(
        spec_replicas_path = ".spec.worker.replicas",
        status_replicas_path = ".status.replicas",
        label_selector_path = ".status.selector"
    ),
    printcolumn(name = "Workers", type_ = "integer", json_path = ".spec.worker.replicas"),
    printcolumn(name = "Status", type_ = "string", json_path = ".status.phase"),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp")
)]
#[serde(rename_all = "camelCase")]
pub struct DaskClusterSpec {
    /// Delete the cluster after so many idle seconds; 0 means never.
    #[serde(default)]
    pub idle_timeout: i64,
    /// The scheduler.
    pub scheduler: SchedulerSpec,
    /// The workers of the default group.
    pub worker: WorkerSpec,
}

/// The scheduler's pod and Service.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct SchedulerSpec {
    /// Labels and annotations of the scheduler's Deployment, pod and Service.
    #[serde(default)]
    pub metadata: TemplateMetadata,
    /// The scheduler's pod.
    pub spec: PodSpec,
    /// The scheduler's Service.
    pub service: ServiceSpec,
}

/// Workers of one group.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct WorkerSpec {
    /// How many workers; negative numbers count as 0.
    #[serde(default = "one")]
    pub replicas: i64,
    /// Labels and annotations of the workers' Deployments and pods.
    #[serde(default)]
    pub metadata: TemplateMetadata,
    /// A worker's pod.
    pub spec: PodSpec,
}

fn one() -> i64 {
    1
}

/// Where a cluster is on its way.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum ClusterPhase {
    /// Accepted; its components are being made.
    Created,
    /// The components exist, but the scheduler's load balancer has no address yet.
    Pending,
    /// The components exist and the scheduler's Service can be used. Says nothing about pods.
    Running,
    /// The cluster's name is invalid.
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
