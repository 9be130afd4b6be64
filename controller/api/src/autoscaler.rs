//! The resource DaskAutoscaler.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::PluginState;

/// Scales a cluster's default group by what its scheduler asks for.
#[derive(CustomResource, Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[kube(
    group = "kubernetes.dask.org",
    version = "v1",
    kind = "DaskAutoscaler",
    plural = "daskautoscalers",
    singular = "daskautoscaler",
    shortname = "das",
    namespaced,
    validation = Rule::new("self.spec.minimum <= self.spec.maximum")
        .message("minimum must not be greater than maximum"),
    status = "DaskAutoscalerStatus",
    printcolumn(name = "Cluster", type_ = "string", json_path = ".spec.cluster"),
    printcolumn(name = "Minimum", type_ = "integer", json_path = ".spec.minimum"),
    printcolumn(name = "Maximum", type_ = "integer", json_path = ".spec.maximum"),
    printcolumn(
        name = "Target",
        type_ = "integer",
        json_path = ".status.targetWorkers",
        description = "Workers that the scheduler asked for, for the whole cluster."
    ),
    printcolumn(
        name = "Desired",
        type_ = "integer",
        json_path = ".status.desiredReplicas",
        description = "Workers that the scaled group is to have, within the bounds."
    ),
    printcolumn(name = "Connected", type_ = "integer", json_path = ".status.connectedReplicas"),
    printcolumn(
        name = "Reason",
        type_ = "string",
        json_path = r#".status.conditions[?(@.type=="Ready")].reason"#,
        description = "Why the autoscaler works or not."
    ),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp"),
    printcolumn(
        name = "Message",
        type_ = "string",
        json_path = r#".status.conditions[?(@.type=="Ready")].message"#,
        priority = 1
    )
)]
pub struct DaskAutoscalerSpec {
    /// Name of the DaskCluster, in the same namespace.
    pub cluster: String,
    /// The fewest workers.
    #[schemars(range(min = 0, max = 2_147_483_647))]
    pub minimum: i64,
    /// The most workers.
    #[schemars(range(min = 0, max = 2_147_483_647))]
    pub maximum: i64,
    /// Name of the DaskWorkerGroup to scale. Defaults to the cluster's default group.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub worker_group: Option<String>,
    /// How long the scheduler must ask for a change before it is made. Defaults to what dask-kubernetes does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub behavior: Option<AutoscalerBehavior>,
}

/// Stabilisation in either direction, in the words of the HorizontalPodAutoscaler.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct AutoscalerBehavior {
    /// When the group grows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scale_up: Option<ScalingRules>,
    /// When the group shrinks.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scale_down: Option<ScalingRules>,
}

/// Rules for one direction.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ScalingRules {
    /// The seconds in which the scheduler's requests are compared: the number closest to the current one counts. Defaults to
    /// 0.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 3600))]
    pub stabilization_window_seconds: Option<i64>,
}

/// What the controller saw last.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct DaskAutoscalerStatus {
    /// The generation of the spec that this status belongs to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// Workers that the scaled group is to have, by the latest decision.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub desired_replicas: Option<i64>,
    /// Workers that the scheduler asked for then, for the whole cluster.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub target_workers: Option<i64>,
    /// Workers of the group that were registered with the scheduler then.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub connected_replicas: Option<i64>,
    /// Workers of the group that had been asked for and were not registered then.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pending_replicas: Option<i64>,
    /// When the group was last scaled.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_scale_time: Option<Time>,
    /// Why the latest decision was made, in one sentence.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub decision: String,
    /// Whether the autoscaler works, and why not.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["type".into()]))]
    pub conditions: Vec<Condition>,
    /// What plugins added to this autoscaler.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["name".into()]))]
    pub plugins: Vec<PluginState>,
}
