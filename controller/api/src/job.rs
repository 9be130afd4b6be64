//! The resource DaskJob.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{AutoscalerBehavior, DaskClusterSpec, RunnerPodSpec, TemplateMetadata, WorkerSpec};

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
    validation = Rule::new(
        "!has(self.spec.cluster.workerGroups) \
         || self.spec.cluster.workerGroups.all(group, size(self.metadata.name) + 1 + size(group.name) <= 63)"
    ).message("the names of the job and of a worker group must have at most 62 characters together"),
    validation = Rule::new(
        "!has(self.spec.ttlSecondsAfterFinished) || !has(self.spec.deletionRules) \
         || self.spec.deletionRules.all(rule, rule.policy != 'DeleteSelf')"
    ).message("ttlSecondsAfterFinished and a deletion rule DeleteSelf exclude each other"),
    validation = Rule::new(
        "!has(self.spec.ttlSecondsAfterFinished) || !has(self.spec.deletionRules) \
         || self.spec.deletionRules.all(rule, rule.policy in ['DeleteSelf', 'DeleteNone'] \
         || rule.condition.ttlSeconds <= self.spec.ttlSecondsAfterFinished)"
    ).message("a deletion rule must not come after ttlSecondsAfterFinished, when everything is deleted"),
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
    /// While true, the job has neither cluster nor runner: a queue decides when it may start. Defaults to false.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub suspend: Option<bool>,
    /// How many runners may fail before the job does. Defaults to 0.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 2_147_483_647))]
    pub backoff_limit: Option<i64>,
    /// After how many seconds of running the job fails. Defaults to no limit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 2_147_483_647))]
    pub active_deadline_seconds: Option<i64>,
    /// How many seconds the runner may take to start after the job was created, or resumed. After that, the job fails.
    /// Defaults to no limit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 2_147_483_647))]
    pub start_deadline_seconds: Option<i64>,
    /// How many seconds after its end the DaskJob is deleted. Defaults to never.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 2_147_483_647))]
    pub ttl_seconds_after_finished: Option<i64>,
    /// What is deleted after the job ended, and when. Without a rule for an outcome, the cluster is deleted at once
    /// and the runner's pod is kept.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 8))]
    #[x_kube(
        validation = Rule::new(
            "self.all(a, self.exists_one(b, b.policy == a.policy && b.condition.jobStatus == a.condition.jobStatus))"
        ).message("there must be one rule at most for each policy and jobStatus"),
        validation = Rule::new(
            "self.all(a, a.policy != 'DeleteNone' \
             || self.exists_one(b, b.condition.jobStatus == a.condition.jobStatus))"
        ).message("DeleteNone must be the only rule for its jobStatus"),
        validation = Rule::new(
            "self.all(a, self.all(b, a.condition.jobStatus != b.condition.jobStatus \
             || !(a.policy == 'DeleteWorkers' && b.policy in ['DeleteCluster', 'DeleteSelf'] \
             || a.policy == 'DeleteCluster' && b.policy == 'DeleteSelf') \
             || a.condition.ttlSeconds <= b.condition.ttlSeconds))"
        ).message("workers must not be deleted after the cluster, and the cluster not after the DaskJob")
    )]
    pub deletion_rules: Vec<DeletionRule>,
}

/// One rule of what is deleted after a job ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct DeletionRule {
    /// What is deleted.
    pub policy: JobDeletionPolicy,
    /// When it is deleted.
    pub condition: DeletionCondition,
}

/// What is deleted after a job ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum JobDeletionPolicy {
    /// All workers and autoscalers of the cluster; its scheduler stays.
    DeleteWorkers,
    /// The DaskCluster.
    DeleteCluster,
    /// The DaskJob, with its cluster and its runner's pod.
    DeleteSelf,
    /// Nothing.
    DeleteNone,
}

/// When a deletion rule takes effect.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct DeletionCondition {
    /// The outcome of the job that the rule is for.
    pub job_status: JobOutcome,
    /// Seconds after the job's end. Defaults to 0.
    #[serde(default)]
    #[schemars(range(min = 0, max = 2_147_483_647))]
    pub ttl_seconds: i64,
}

/// How a job ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum JobOutcome {
    /// All containers of the runner that the job lists succeeded.
    Successful,
    /// The job failed.
    Failed,
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

/// The DaskCluster that a job creates.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new(
    "!has(self.autoscaler) || !has(self.autoscaler.workerGroup) || (has(self.workerGroups) \
     && self.workerGroups.exists(group, group.name == self.autoscaler.workerGroup))"
).message("autoscaler.workerGroup must be the name of one of workerGroups"))]
pub struct EmbeddedCluster {
    /// Labels and annotations of the DaskCluster.
    #[serde(default)]
    pub metadata: TemplateMetadata,
    /// The DaskCluster's spec.
    pub spec: DaskClusterSpec,
    /// Worker groups besides the default one.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["name".into()]))]
    pub worker_groups: Vec<EmbeddedWorkerGroup>,
    /// The DaskAutoscaler that is created for the cluster. Defaults to none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub autoscaler: Option<EmbeddedAutoscaler>,
}

/// A DaskWorkerGroup of a job's cluster.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[x_kube(validation = Rule::new("self.name != 'default'")
    .message("default is the name of the group of spec.worker"))]
pub struct EmbeddedWorkerGroup {
    /// The last part of the DaskWorkerGroup's name, after the cluster's name and a hyphen.
    #[schemars(length(min = 1, max = 61), regex(pattern = "^[a-z0-9]([-a-z0-9]*[a-z0-9])?$"))]
    pub name: String,
    /// The workers.
    pub worker: WorkerSpec,
}

/// The DaskAutoscaler of a job's cluster.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("self.minimum <= self.maximum")
    .message("minimum must not be greater than maximum"))]
pub struct EmbeddedAutoscaler {
    /// The fewest workers.
    #[schemars(range(min = 0, max = 2_147_483_647))]
    pub minimum: i64,
    /// The most workers.
    #[schemars(range(min = 0, max = 2_147_483_647))]
    pub maximum: i64,
    /// The name in `workerGroups` of the group to scale. Defaults to the default group.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 61))]
    pub worker_group: Option<String>,
    /// How long the scheduler must ask for a change before it is made.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub behavior: Option<AutoscalerBehavior>,
}

/// The progress of a job. It has the first five keys and no others, unless the job uses a feature that dask-kubernetes does
/// not have: clients compare the keys as a set.
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
    /// When the job was last resumed; only with `startDeadlineSeconds`, which counts from it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resume_time: Option<Time>,
}
