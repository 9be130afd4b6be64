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
pub mod conditions;
mod job;
pub mod job_status;
mod json_object;
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
    SchedulerSpec, SchedulerTls, SchedulerUpdatePolicy, WorkerAllocation, WorkerCounts, WorkerSpec,
    WorkerUpdateStrategy, WorkerUpdateType,
};
pub use job::{
    DaskJob, DaskJobSpec, DaskJobStatus, DeletionCondition, DeletionRule, EmbeddedAutoscaler, EmbeddedCluster,
    EmbeddedWorkerGroup, JobDeletionPolicy, JobOutcome, JobSpec,
};
pub use json_object::JsonObject;
pub use plugin::{
    CertificateRef, ChildRule, DEADLINE_SECONDS, DaskOperatorPlugin, DaskOperatorPluginSpec, DaskOperatorPluginStatus,
    DeletionPolicy, DiscoveredPlugin, DriftPolicy, Endpoint, FailurePolicy, FinalizePolicy, HmacRef, KeyRef,
    KeyRefKind, MatchCondition, MatchRules, PORTS, PluginAuth, PluginFailure, PluginTls, RESYNC_SECONDS,
    ServiceEndpoint, SubjectCounts, SubjectKind, SubjectRule, TIMEOUT_SECONDS, TlsMode, WriterRef,
};
pub use settings::Settings;
pub use template::{PodSpec, RunnerPodSpec, ServiceSpec, TemplateMetadata};
pub use worker_group::{DaskWorkerGroup, DaskWorkerGroupSpec, DaskWorkerGroupStatus};

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::{CustomResourceDefinition, JSON};
use kube::CustomResourceExt as _;
use serde_json::json;

/// API group of all kinds.
pub const GROUP: &str = "kubernetes.dask.org";

/// The generation that a status has observed while no controller has written one.
const NONE_OBSERVED: i64 = -1;

/// Returns the definitions that `dask-operator crd` prints and the chart contains.
pub fn all() -> Vec<CustomResourceDefinition> {
    vec![
        with_initial_status(DaskCluster::crd()),
        with_initial_status(DaskWorkerGroup::crd()),
        // Its status has the fields that clients compare as a set.
        DaskJob::crd(),
        with_initial_status(DaskAutoscaler::crd()),
        with_initial_status(DaskOperatorPlugin::crd()),
    ]
}

/// Adds a default to the status, by which an object that no controller has seen yet says so. Without an observed
/// generation, kstatus, and with it Helm and Flux, take a new object for one that is ready.
fn with_initial_status(mut definition: CustomResourceDefinition) -> CustomResourceDefinition {
    let schemas =
        definition.spec.versions.iter_mut().filter_map(|version| version.schema.as_mut()?.open_api_v3_schema.as_mut());
    for status in schemas.filter_map(|schema| schema.properties.as_mut()?.get_mut("status")) {
        status.default = Some(JSON(json!({"observedGeneration": NONE_OBSERVED})));
        if let Some(observed) = status.properties.as_mut().and_then(|fields| fields.get_mut("observedGeneration")) {
            observed.default = Some(JSON(json!(NONE_OBSERVED)));
        }
    }
    definition
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_kind_with_conditions_says_from_the_start_that_no_generation_was_observed() {
        for definition in all() {
            let definition = json!(definition);
            let kind = definition["spec"]["names"]["kind"].as_str().unwrap();
            let status = &definition["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["status"];
            let expected = if kind == "DaskJob" { json!(null) } else { json!({"observedGeneration": -1}) };
            assert_eq!(status["default"], expected, "{kind}");
            assert_eq!(status["properties"].get("conditions").is_some(), kind != "DaskJob", "{kind}");
        }
    }

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
