use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{DaskClusterSpec, RunnerPodSpec, TemplateMetadata};

/// A pod that runs to completion next to a Dask cluster of its own.
#[derive(CustomResource, Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[kube(
    group = "kubernetes.dask.org",
    version = "v1",
    kind = "DaskJob",
    plural = "daskjobs",
    singular = "daskjob",
    shortname = "djb",
    namespaced,
    status = "DaskJobStatus",
    printcolumn(name = "Status", type_ = "string", json_path = ".status.jobStatus"),
    printcolumn(name = "Number Of Workers", type_ = "integer", json_path = ".spec.cluster.spec.worker.replicas"),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp")
)]
pub struct DaskJobSpec {
    /// The runner.
    pub job: JobSpec,
    /// The cluster that the runner uses.
    pub cluster: EmbeddedCluster,
    /// While true, the job has neither cluster nor runner: a queue decides when it may start.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub suspend: Option<bool>,
    /// How many runners may fail before the job does; 0 unless given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 2_147_483_647))]
    pub backoff_limit: Option<i64>,
    /// The job fails after running for so many seconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 2_147_483_647))]
    pub active_deadline_seconds: Option<i64>,
    /// The DaskJob is deleted so many seconds after it ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 2_147_483_647))]
    pub ttl_seconds_after_finished: Option<i64>,
}

/// The runner's pod.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct JobSpec {
    /// Labels and annotations of the runner.
    #[serde(default)]
    pub metadata: TemplateMetadata,
    /// The runner's pod.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub spec: Option<RunnerPodSpec>,
}

/// The DaskCluster that a job makes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct EmbeddedCluster {
    /// Labels and annotations of the DaskCluster.
    #[serde(default)]
    pub metadata: TemplateMetadata,
    /// The DaskCluster's spec.
    pub spec: DaskClusterSpec,
}

/// How far the job is. The first five keys and no others, unless the job uses a feature that
/// dask-kubernetes does not have: clients compare them as a set.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct DaskJobStatus {
    /// The DaskCluster's name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cluster_name: Option<String>,
    /// The runner's name.
    #[serde(default)]
    pub job_runner_pod_name: Option<String>,
    /// `JobCreated`, `ClusterCreated`, `Running`, `Successful` or `Failed`; `Suspended` with `suspend`.
    #[schemars(required)]
    pub job_status: Option<String>,
    /// When the runner started.
    #[serde(default)]
    pub start_time: Option<Time>,
    /// When the runner ended.
    #[serde(default)]
    pub end_time: Option<Time>,
    /// Runners that failed and were replaced; only with `backoffLimit`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failed_runners: Option<i64>,
}
