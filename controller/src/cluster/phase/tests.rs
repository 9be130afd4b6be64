//! Tests of what keeps a cluster from becoming `Running`, and of its recovery. The tests of the status have the rest.

use std::{sync::Arc, time::Duration};

use dask_operator_api::DaskCluster;
use serde_json::{Value, json};

use super::*;
use crate::cluster::{
    apply::Blocked,
    status::tests::{OURS, component, mk_cluster_in, observed, outcome, status_of},
};

/// Returns an answer of the API server to the creation of a component.
fn refused(code: u16, message: &str) -> Outcome {
    let status = kube::core::Status { code, message: message.to_owned(), ..Default::default() };
    let error = k8s::Error::new("create", "Deployment ns/demo-scheduler", kube::Error::Api(Box::new(status)));
    Outcome { error: Some(error), ..outcome() }
}

fn blocked(reason: &'static str) -> Outcome {
    Outcome { blocked: vec![Blocked { reason, message: String::new() }], ..outcome() }
}

/// Returns components whose Deployment reports that its pod is refused.
fn without_pod(conditions: &Value) -> Observed {
    let status = json!({"status": {"observedGeneration": 1, "conditions": conditions}});
    Observed { scheduler: Some(component(OURS, &status)), scheduler_pods: Vec::new(), ..observed() }
}

fn pod_refused() -> Observed {
    without_pod(&json!([{"type": "ReplicaFailure", "status": "True", "reason": "FailedCreate", "message": "quota"}]))
}

fn selecting(selector: Value) -> DaskCluster {
    let mut cluster = mk_cluster_in(Some(ClusterPhase::Created));
    cluster.spec.scheduler.service.set("selector", selector);
    cluster
}

/// The Python client would wait without a limit for a pod that does not come.
#[test]
fn a_cluster_whose_scheduler_cannot_start_is_in_error_until_the_cause_is_gone() {
    let nothing = Observed::default;
    let table = [
        ("an invalid pod", nothing(), refused(422, "Invalid value")),
        ("an unknown field", nothing(), refused(400, "strict decoding error")),
        ("a denied Deployment", nothing(), refused(403, "admission webhook denied the request")),
        ("a name that is taken", nothing(), blocked("NameTaken")),
        ("a pod that is refused", pod_refused(), outcome()),
    ];
    for (what, observed_then, outcome_then) in table {
        for before in [None, Some(ClusterPhase::Created), Some(ClusterPhase::Pending), Some(ClusterPhase::Error)] {
            let status = status_of(&mk_cluster_in(before), &observed_then, &outcome_then);
            assert_eq!(status.phase, Some(ClusterPhase::Error), "{what} {before:?}");
        }
        let in_error = mk_cluster_in(Some(ClusterPhase::Error));
        let waiting = status_of(&in_error, &without_pod(&json!([])), &outcome());
        assert_eq!(waiting.phase, Some(ClusterPhase::Created), "{what}: the pod is awaited");
        assert_eq!(status_of(&in_error, &observed(), &outcome()).phase, Some(ClusterPhase::Running), "{what}");
    }
}

#[test]
fn what_may_end_by_itself_is_no_error() {
    let limit = Duration::from_secs(15);
    let timeout = k8s::Error::Timeout { verb: "create", object: "Service ns/demo-scheduler".to_owned(), limit };
    let table = [
        ("an API server that is down", refused(503, "")),
        ("a webhook that does not respond", refused(500, "failed calling webhook")),
        ("too many requests", refused(429, "")),
        ("a token that has expired", refused(401, "Unauthorized")),
        ("no response", Outcome { error: Some(timeout), ..outcome() }),
        ("an older cluster of this name", blocked("WaitingForDeletion")),
    ];
    for (what, outcome) in table {
        let status = status_of(&mk_cluster_in(None), &Observed::default(), &outcome);
        assert_eq!(status.phase, Some(ClusterPhase::Created), "{what}");
    }
}

/// The Python client would wait without a limit for a pod that the Service selects.
#[test]
fn a_cluster_whose_service_does_not_select_the_scheduler_does_not_run() {
    let right = json!({"dask.org/cluster-name": "demo", "dask.org/component": "scheduler"});
    assert_eq!(status_of(&selecting(right), &observed(), &outcome()).phase, Some(ClusterPhase::Running));
    let wrong = json!({"dask.org/cluster-name": "other", "dask.org/component": "scheduler"});
    let status = status_of(&selecting(wrong), &observed(), &outcome());
    assert_eq!(status.phase, Some(ClusterPhase::Pending));
    let ready = status.conditions.iter().find(|condition| condition.type_ == "SchedulerReady").unwrap();
    assert_eq!((ready.status.as_str(), ready.reason.as_str()), ("False", "ServiceSelectsNothing"));
}

/// The reason why a pod is refused is known a moment later than the Deployment exists.
#[test]
fn a_cluster_does_not_run_before_a_pod_of_its_scheduler_exists() {
    let created = mk_cluster_in(Some(ClusterPhase::Created));
    assert_eq!(status_of(&created, &without_pod(&json!([])), &outcome()).phase, Some(ClusterPhase::Created));
    let mut ending = observed();
    Arc::make_mut(&mut ending.scheduler_pods[0]).metadata.deletion_timestamp =
        Some(serde_json::from_value(json!("2026-01-01T00:00:00Z")).unwrap());
    assert_eq!(status_of(&created, &ending, &outcome()).phase, Some(ClusterPhase::Created), "that of an older cluster");
}

/// Clients are connected to it, and what they read would not be true.
#[test]
fn a_cluster_that_ran_is_not_in_error() {
    let running = mk_cluster_in(Some(ClusterPhase::Running));
    for (observed, outcome) in
        [(pod_refused(), outcome()), (observed(), refused(403, "denied")), (observed(), blocked("NameTaken"))]
    {
        assert_eq!(status_of(&running, &observed, &outcome).phase, Some(ClusterPhase::Running));
    }
}
