//! The resource DaskCluster, and the parts of its spec that other resources have, too.

mod status;

use std::borrow::Cow;

use kube::{CustomResource, KubeSchema};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};

pub use self::status::{ClusterPhase, DaskClusterStatus, PluginState, WorkerCounts};
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
    printcolumn(name = "Status", type_ = "string", json_path = ".status.phase"),
    printcolumn(
        name = "Reason",
        type_ = "string",
        json_path = r#".status.conditions[?(@.type=="Ready")].reason"#,
        description = "Why the cluster is ready for clients or not."
    ),
    printcolumn(
        name = "Desired",
        type_ = "integer",
        json_path = ".status.workers.desired",
        description = "Workers that all groups of the cluster ask for."
    ),
    printcolumn(name = "Ready", type_ = "integer", json_path = ".status.workers.ready"),
    printcolumn(name = "Connected", type_ = "integer", json_path = ".status.workers.connected"),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp"),
    printcolumn(
        name = "Message",
        type_ = "string",
        json_path = ".status.message",
        priority = 1,
        description = "The first failure of the cluster, its workers or its plugins."
    )
)]
#[serde(rename_all = "camelCase")]
pub struct DaskClusterSpec {
    /// After how many idle seconds `idleAction` is taken. Defaults to 0, which means never.
    #[serde(default)]
    #[schemars(range(max = 2_147_483_647))]
    pub idle_timeout: i64,
    /// What to do with an idle cluster. Defaults to `Delete`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub idle_action: Option<IdleAction>,
    /// The scheduler.
    pub scheduler: SchedulerSpec,
    /// The workers of the default group.
    pub worker: WorkerSpec,
}

/// What happens to a cluster that was idle for its `idleTimeout`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum IdleAction {
    /// The DaskCluster is deleted.
    #[default]
    Delete,
    /// All its worker groups are scaled to 0; the scheduler stays.
    ScaleToZero,
}

/// The scheduler's pod and Service.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct SchedulerSpec {
    /// Labels and annotations of the scheduler's Deployment, pod and Service.
    #[serde(default)]
    pub metadata: TemplateMetadata,
    /// The scheduler's pod.
    pub spec: PodSpec,
    /// The scheduler's Service.
    pub service: ServiceSpec,
    /// When a change of the scheduler's pod takes effect. Defaults to `OnDelete`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub update_policy: Option<SchedulerUpdatePolicy>,
    /// Set if the scheduler listens with TLS.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tls: Option<SchedulerTls>,
}

/// When a change of the scheduler's pod takes effect. A new scheduler knows nothing of the old one's results.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum SchedulerUpdatePolicy {
    /// When somebody deletes the scheduler's Deployment; until then a condition reports the difference.
    #[default]
    OnDelete,
    /// At once: the scheduler is stopped, and all results are lost.
    Recreate,
}

/// How to talk to a scheduler that listens with TLS.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct SchedulerTls {
    /// A Secret of the type `kubernetes.io/tls` with the keys `ca.crt`, `tls.crt` and `tls.key`, by which the
    /// controller shows itself to the scheduler.
    pub secret_name: String,
}

/// Workers of one group.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct WorkerSpec {
    /// The number of workers. Defaults to 1. Negative numbers count as 0. Some hundreds are created at a time.
    #[serde(default = "one")]
    #[schemars(range(max = 2_147_483_647))]
    pub replicas: i64,
    /// Labels and annotations of the workers' Deployments and pods.
    #[serde(default)]
    pub metadata: TemplateMetadata,
    /// A worker's pod.
    pub spec: PodSpec,
    /// How a change of `spec` or `metadata` reaches workers that exist.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub update_strategy: Option<WorkerUpdateStrategy>,
    /// How fast workers are created. Defaults to the controller's flags.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub allocation: Option<WorkerAllocation>,
    /// After how many seconds a worker is removed that the scheduler refuses to let go. What it holds is lost. Without a
    /// deadline, such a worker is kept for as long as the scheduler refuses.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 2_147_483_647))]
    pub retire_deadline_seconds: Option<i64>,
}

fn one() -> i64 {
    1
}

/// How a change of the workers' template reaches workers that exist.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct WorkerUpdateStrategy {
    /// Which workers a change reaches. Defaults to `RollingUpdate`.
    #[serde(default, rename = "type", skip_serializing_if = "Option::is_none")]
    pub type_: Option<WorkerUpdateType>,
    /// How many workers may be missing at a time: a number, or a percentage such as "25%" that is rounded up. Defaults to 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_unavailable: Option<CountOrPercentage>,
}

/// A number of workers, or a part of all of them. Kubernetes' own `IntOrString` holds 32 bits, and an object with a
/// larger number would not parse.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum CountOrPercentage {
    /// A number of workers.
    Count(i64),
    /// A percentage such as `25%`.
    Percentage(String),
}

impl JsonSchema for CountOrPercentage {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "CountOrPercentage".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "x-kubernetes-int-or-string": true,
            "x-kubernetes-validations": [{
                "rule": "type(self) == string || (self >= 0 && self <= 2147483647)",
                "message": "must be a percentage, or a number from 0 to 2147483647"
            }]
        })
    }
}

/// Which workers a change of the template reaches.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum WorkerUpdateType {
    /// All workers: they are retired and replaced, a few at a time.
    #[default]
    RollingUpdate,
    /// Workers that are created later.
    OnDelete,
}

/// How fast the workers of one group are created.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct WorkerAllocation {
    /// How many workers are created in one step. Defaults to the controller's `--worker-batch-size`, or to all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 2_147_483_647))]
    pub batch_size: Option<i64>,
    /// Seconds between steps. Defaults to the controller's `--worker-batch-delay`, or to 0.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 2_147_483_647))]
    pub delay_seconds: Option<i64>,
}
