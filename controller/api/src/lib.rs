//! The custom resources: types, defaults and validation rules, nothing else.
//!
//! Group `kubernetes.dask.org`. The four Dask kinds are a superset of those that dask-kubernetes
//! installs: the same names, defaults and required fields. Pod and service specs have the schemas of
//! Kubernetes, and are kept as they were written, so that fields of newer Kubernetes versions survive.

#![expect(
    unreachable_pub,
    clippy::duplicated_attributes,
    reason = "KubeSchema emits each type a second time inside a function, and printcolumns look alike"
)]

mod autoscaler;
mod cluster;
mod job;
pub mod kubernetes;
mod lenient;
pub mod meta;
mod plugin;
mod settings;
mod template;
#[cfg(any(test, feature = "testing"))]
pub mod testing;
mod worker_group;

pub use autoscaler::{AutoscalerBehavior, DaskAutoscaler, DaskAutoscalerSpec, DaskAutoscalerStatus, ScalingRules};
pub use cluster::{
    ClusterPhase, CountOrPercentage, DaskCluster, DaskClusterSpec, DaskClusterStatus, IdleAction, PluginState,
    SchedulerSpec, SchedulerTls, SchedulerUpdatePolicy, WorkerAllocation, WorkerSpec, WorkerUpdateStrategy,
    WorkerUpdateType,
};
pub use job::{
    DaskJob, DaskJobSpec, DaskJobStatus, DeletionCondition, DeletionRule, EmbeddedAutoscaler, EmbeddedCluster,
    EmbeddedWorkerGroup, JobDeletionPolicy, JobOutcome, JobSpec,
};
pub use plugin::{
    CertificateRef, ChildRule, DEADLINE_SECONDS, DaskOperatorPlugin, DaskOperatorPluginSpec, DaskOperatorPluginStatus,
    DeletionPolicy, DiscoveredPlugin, DriftPolicy, Endpoint, FailurePolicy, FinalizePolicy, HmacRef, KeyRef,
    KeyRefKind, MatchCondition, MatchRules, PORTS, PluginAuth, PluginFailure, PluginTls, RESYNC_SECONDS,
    ServiceEndpoint, SubjectCounts, SubjectKind, SubjectRule, TIMEOUT_SECONDS, TlsMode, WriterRef,
};
pub use settings::Settings;
pub use template::{JsonObject, PodSpec, RunnerPodSpec, ServiceSpec, TemplateMetadata};
pub use worker_group::{DaskWorkerGroup, DaskWorkerGroupSpec, DaskWorkerGroupStatus};

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::CustomResourceExt as _;

/// API group of all kinds.
pub const GROUP: &str = "kubernetes.dask.org";

/// The definitions that `dask-operator crd` prints and the chart ships.
pub fn all() -> Vec<CustomResourceDefinition> {
    vec![DaskCluster::crd(), DaskWorkerGroup::crd(), DaskJob::crd(), DaskAutoscaler::crd(), DaskOperatorPlugin::crd()]
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `kubectl apply` stores a definition in an annotation. All annotations of an object have at most 262,144 bytes. The
    /// rest is for the fields of later versions.
    #[test]
    fn every_definition_can_be_applied_by_a_client() {
        for definition in all() {
            let size = serde_json::to_string(&definition).unwrap().len();
            assert!(size < 240_000, "{}: {size}", definition.spec.names.kind);
        }
    }
}
