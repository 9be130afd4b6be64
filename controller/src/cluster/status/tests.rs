//! Tests of a cluster's phase and conditions.

use std::{sync::Arc, time::Duration};

use dask_operator_api::PluginState;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use serde_json::{Value, json};

use super::*;
use crate::{
    cluster::{apply::Blocked, build, validate::validate},
    test_fixtures::mk_cluster,
    view::PodView,
};

pub(in crate::cluster) const OURS: &str = "cluster-uid";

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(second).unwrap()
}

/// Returns a component as the caches contain it, controlled by the cluster with uid `owner`.
pub(in crate::cluster) fn component<K: serde::de::DeserializeOwned>(owner: &str, rest: &Value) -> Arc<K> {
    let mut object = json!({
        "metadata": {"name": "demo-scheduler", "namespace": "ns", "ownerReferences": [{
            "apiVersion": "kubernetes.dask.org/v1", "kind": "DaskCluster", "name": "demo", "uid": owner, "controller": true,
        }]},
    });
    object.as_object_mut().unwrap().extend(rest.as_object().unwrap().clone());
    Arc::new(serde_json::from_value(object).unwrap())
}

/// Returns a pod of the scheduler.
pub(in crate::cluster) fn scheduler_pod(status: &Value) -> Arc<PodView> {
    Arc::new(serde_json::from_value(json!({"metadata": {"name": "demo-scheduler-x"}, "status": status})).unwrap())
}

/// Returns all components of a cluster and a pod of its scheduler, with `service` as spec and status of the Service.
pub(in crate::cluster) fn observed_with(service: &Value) -> Observed {
    let group = json!({"spec": {"cluster": "demo", "worker": {"spec": {"containers": []}}}, "status": {"replicas": 2}});
    Observed {
        scheduler: Some(component(OURS, &json!({"status": {"observedGeneration": 1}}))),
        service: Some(component(OURS, service)),
        group: Some(component(OURS, &group)),
        scheduler_pods: vec![scheduler_pod(&json!({"phase": "Pending"}))],
        astray_pods: Vec::new(),
        groups: Vec::new(),
        unseen: std::collections::BTreeSet::new(),
        is_phase_unseen: false,
    }
}

pub(in crate::cluster) fn observed() -> Observed {
    observed_with(&json!({"spec": {"type": "ClusterIP"}}))
}

pub(in crate::cluster) fn outcome() -> Outcome {
    Outcome { blocked: Vec::new(), made: false, stands: false, recreating: false, error: None }
}

pub(in crate::cluster) fn mk_cluster_in(phase: Option<ClusterPhase>) -> DaskCluster {
    DaskCluster { status: Some(DaskClusterStatus { phase, ..DaskClusterStatus::default() }), ..mk_cluster("demo") }
}

pub(in crate::cluster) fn status_of(
    cluster: &DaskCluster,
    observed: &Observed,
    outcome: &Outcome,
) -> DaskClusterStatus {
    status_at(cluster, observed, outcome, 100)
}

fn status_at(cluster: &DaskCluster, observed: &Observed, outcome: &Outcome, second: i64) -> DaskClusterStatus {
    let current = cluster.status.clone().unwrap_or_default();
    let valid = validate(cluster).unwrap();
    let seen = StatusInput { current: &current, observed, built: &build::build(&valid), outcome, held: false };
    of_observed(cluster, &valid, &seen, at(second))
}

fn phase_after(before: Option<ClusterPhase>, observed: &Observed) -> ClusterPhase {
    status_of(&mk_cluster_in(before), observed, &outcome()).phase.unwrap()
}

/// Returns status, reason and message of the condition of type `type_`.
fn said(status: &DaskClusterStatus, type_: &str) -> (String, String, String) {
    let condition = status.conditions.iter().find(|condition| condition.type_ == type_).unwrap();
    (condition.status.clone(), condition.reason.clone(), condition.message.clone())
}

fn saying(status: &str, reason: &str, message: &str) -> (String, String, String) {
    (status.to_owned(), reason.to_owned(), message.to_owned())
}

#[test]
fn the_status_of_a_cluster_that_runs() {
    let status = status_of(&mk_cluster_in(Some(ClusterPhase::Created)), &observed(), &outcome());
    let condition = |type_: &str, status: &str, reason: &str, message: &str| {
        json!({
            "type": type_,
            "status": status,
            "reason": reason,
            "message": message,
            "lastTransitionTime": "1970-01-01T00:01:40Z",
            "observedGeneration": 1,
        })
    };
    let no_report = "the default worker group has not reported on its workers since the spec changed";
    let expected = json!({
        "phase": "Running",
        "observedGeneration": 1,
        "message": "the scheduler is starting",
        "replicas": 2,
        "workers": {"desired": 2, "ready": 0, "connected": 0},
        "selector": "dask.org/workergroup-name=demo-default,dask.org/component=worker",
        "conditions": [
            condition("Accepted", "True", "Valid", "the spec is valid"),
            condition("ComponentsCreated", "True", "Created", "scheduler, Service and default worker group exist"),
            condition("SchedulerReady", "False", "Starting", "the scheduler is starting"),
            condition("SchedulerUpToDate", "True", "UpToDate", "the scheduler is as the spec says"),
            condition("WorkersAvailable", "Unknown", "NotObserved", no_report),
            condition("Ready", "False", "Starting", "the scheduler is starting"),
            condition("Stalled", "False", "NotStalled", "the controller continues by itself"),
        ],
    });
    assert_eq!(serde_json::to_value(status).unwrap(), expected);
}

/// Without this the message would be the same for ever, whatever the probe of the scheduler asks.
#[test]
fn a_scheduler_that_runs_and_is_not_ready_is_said_to_be_behind_no_service() {
    let container = json!({"name": "scheduler", "state": {"running": {}}});
    let status = json!({"conditions": [{"type": "Ready", "status": "False"}], "containerStatuses": [container]});
    let seen = Observed { scheduler_pods: vec![scheduler_pod(&status)], ..observed() };
    let status = status_of(&mk_cluster_in(Some(ClusterPhase::Created)), &seen, &outcome());
    let message = "pod demo-scheduler-x runs and is not ready, so the Service leads to no pod; if it stays so, see its readinessProbe";
    assert_eq!(said(&status, SCHEDULER_READY), saying("False", "Starting", message));
}

/// Clients delete a cluster that is not `Running` after 60 seconds, and image pulls take longer. So the pod of the
/// scheduler in this table does not run yet.
#[test]
fn a_cluster_runs_as_soon_as_its_components_exist_and_its_service_has_an_address() {
    let load_balancer = |status: Value| json!({"spec": {"type": "LoadBalancer"}, "status": status});
    let table = [
        (json!({"spec": {"type": "ClusterIP"}}), ClusterPhase::Running),
        (json!({"spec": {"type": "NodePort"}, "status": {"loadBalancer": {}}}), ClusterPhase::Running),
        (json!({"spec": {}}), ClusterPhase::Running),
        (json!({}), ClusterPhase::Running),
        (load_balancer(json!({})), ClusterPhase::Pending),
        (load_balancer(json!({"loadBalancer": {}})), ClusterPhase::Pending),
        (load_balancer(json!({"loadBalancer": {"ingress": []}})), ClusterPhase::Pending),
        (load_balancer(json!({"loadBalancer": {"ingress": [{"ip": "192.0.2.1"}]}})), ClusterPhase::Running),
        (load_balancer(json!({"loadBalancer": {"ingress": [{"hostname": "lb.example.org"}]}})), ClusterPhase::Running),
    ];
    for (service, phase) in table {
        for before in [None, Some(ClusterPhase::Created), Some(ClusterPhase::Pending), Some(ClusterPhase::Running)] {
            assert_eq!(phase_after(before, &observed_with(&service)), phase, "{before:?} {service}");
        }
    }
}

type Loss = fn(&mut Observed);

/// Changes after which a component no longer counts as created.
fn losses() -> [(&'static str, Loss); 7] {
    [
        ("no scheduler", |observed| observed.scheduler = None),
        ("no Service", |observed| observed.service = None),
        ("no group", |observed| observed.group = None),
        ("a scheduler that Kubernetes has not seen", |observed| {
            observed.scheduler = Some(component(OURS, &json!({"status": {}})));
        }),
        ("another cluster's scheduler", |observed| {
            observed.scheduler = Some(component("older-uid", &json!({"status": {"observedGeneration": 1}})));
        }),
        ("another cluster's Service", |observed| observed.service = Some(component("older-uid", &json!({})))),
        ("another cluster's group", |observed| {
            let group = json!({"spec": {"cluster": "demo", "worker": {"spec": {"containers": []}}}});
            observed.group = Some(component("older-uid", &group));
        }),
    ]
}

#[test]
fn a_cluster_whose_components_do_not_stand_yet_is_created_and_not_running() {
    for (what, lose) in losses() {
        let mut observed = observed();
        lose(&mut observed);
        for before in [None, Some(ClusterPhase::Created), Some(ClusterPhase::Error)] {
            let status = status_of(&mk_cluster_in(before), &observed, &outcome());
            assert_eq!(status.phase, Some(ClusterPhase::Created), "{what}");
            let creating = saying("False", "Creating", "the components are being created");
            assert_eq!(said(&status, COMPONENTS_CREATED), creating, "{what}");
        }
    }
}

/// The component is created again within a moment. A client that reads the phase in between would take the cluster for
/// one that is still being created.
#[test]
fn a_cluster_that_loses_a_component_keeps_its_phase_and_says_so_in_a_condition() {
    for (what, lose) in losses() {
        let mut observed = observed();
        lose(&mut observed);
        for before in [ClusterPhase::Running, ClusterPhase::Pending] {
            let status = status_of(&mk_cluster_in(Some(before)), &observed, &outcome());
            assert_eq!(status.phase, Some(before), "{what}");
            assert_eq!(said(&status, COMPONENTS_CREATED).0, "False", "{what}");
        }
    }
}

#[test]
fn an_invalid_cluster_is_in_error_and_says_why() {
    let mut cluster = mk_cluster("Not_Valid");
    cluster.metadata.generation = Some(4);
    let invalid = Rejection { reason: "InvalidName", message: "the name is bad".to_owned() };
    let status = of_invalid(&cluster, &invalid, at(100));
    assert_eq!((status.phase, status.observed_generation), (Some(ClusterPhase::Error), Some(4)));
    assert_eq!(said(&status, ACCEPTED), saying("False", "InvalidName", "the name is bad"));
    assert_eq!(said(&status, READY), saying("False", "InvalidName", "the name is bad"));
    assert_eq!(said(&status, WORKERS_AVAILABLE), saying("Unknown", "NotTried", "the resource is not accepted"));
}

#[test]
fn a_cluster_is_created_before_anything_is_made() {
    let cluster = mk_cluster("demo");
    let status = of_created(&cluster, &validate(&cluster).unwrap(), at(100));
    assert_eq!(status.phase, Some(ClusterPhase::Created));
    assert_eq!(said(&status, ACCEPTED), saying("True", "Valid", "the spec is valid"));
    let creating = saying("False", "Creating", "the components are being created");
    assert_eq!(said(&status, COMPONENTS_CREATED), creating);
}

/// Otherwise each new cluster would cost a write that carries no information.
#[test]
fn a_cluster_just_created_whose_components_are_not_seen_yet_is_not_written_again() {
    let cluster = mk_cluster("demo");
    let valid = validate(&cluster).unwrap();
    let created = of_created(&cluster, &valid, at(100));
    let (observed, outcome) = (Observed::default(), outcome());
    let built = build::build(&valid);
    let seen = StatusInput { current: &created, observed: &observed, built: &built, outcome: &outcome, held: false };
    assert!(same(&created, &of_observed(&cluster, &valid, &seen, at(101))));
}

#[test]
fn what_hinders_the_components_is_in_the_condition_errors_first() {
    let cluster = mk_cluster_in(Some(ClusterPhase::Created));
    let block = |reason, message: &str| Blocked { reason, message: message.to_owned() };
    let blocked = vec![block("NameTaken", "Service demo-scheduler exists"), block("WaitingForDeletion", "later")];
    let status = status_of(
        &cluster,
        &Observed::default(),
        &Outcome { blocked: blocked.clone(), made: false, stands: false, recreating: false, error: None },
    );
    let expected = saying("False", "NameTaken", "Service demo-scheduler exists");
    assert_eq!(said(&status, COMPONENTS_CREATED), expected);

    let refusal = kube::core::Status { code: 403, message: "quota exceeded".to_owned(), ..Default::default() };
    let object = "Service ns/demo-scheduler".to_owned();
    let source = Box::new(kube::Error::Api(Box::new(refusal)));
    let error = Some(k8s::Error::Call { verb: "apply", object: object.clone(), source });
    let status = status_of(
        &cluster,
        &Observed::default(),
        &Outcome { blocked, made: false, stands: false, recreating: false, error },
    );
    let expected = saying("False", "Forbidden", "failed to apply Service ns/demo-scheduler: quota exceeded");
    assert_eq!(said(&status, COMPONENTS_CREATED), expected);

    let error = Some(k8s::Error::Timeout { verb: "apply", object, limit: Duration::from_secs(15) });
    let status = status_of(
        &cluster,
        &observed(),
        &Outcome { blocked: Vec::new(), made: false, stands: false, recreating: false, error },
    );
    let message = "failed to apply Service ns/demo-scheduler: no answer within 15 s";
    assert_eq!(said(&status, COMPONENTS_CREATED), saying("False", "ApiServerError", message));
}

#[test]
fn an_ignored_restart_policy_is_reported() {
    let with = |scheduler: &str, worker: &str| {
        let mut cluster = mk_cluster("demo");
        cluster.spec.scheduler.spec.set("restartPolicy", json!(scheduler));
        cluster.spec.worker.spec.set("restartPolicy", json!(worker));
        said(&of_created(&cluster, &validate(&cluster).unwrap(), at(100)), ACCEPTED)
    };
    let ignored = |parts| {
        let message = format!("restartPolicy of {parts} is ignored: the pods of a Deployment are always restarted");
        saying("True", "RestartPolicyIgnored", &message)
    };
    assert_eq!(with("Always", "Always"), saying("True", "Valid", "the spec is valid"));
    assert_eq!(with("Never", "Always"), ignored("scheduler"));
    assert_eq!(with("Always", "OnFailure"), ignored("worker"));
    assert_eq!(with("Never", "Never"), ignored("scheduler and worker"));
}

#[test]
fn replicas_are_those_that_the_group_has_counted() {
    let group = |status: Value| {
        let group = json!({"spec": {"cluster": "demo", "worker": {"spec": {"containers": []}}}, "status": status});
        let observed = Observed { group: Some(component(OURS, &group)), ..observed() };
        status_of(&mk_cluster("demo"), &observed, &outcome()).replicas
    };
    assert_eq!(group(json!({"replicas": 7})), Some(7));
    assert_eq!(group(json!({})), Some(0));
    assert_eq!(status_of(&mk_cluster("demo"), &Observed::default(), &outcome()).replicas, Some(0));
}

/// Without this, the status would be written on each pass, and each write would trigger the next pass.
#[test]
fn the_status_of_a_second_pass_is_the_same() {
    let mut cluster = mk_cluster("demo");
    let first = status_of(&cluster, &observed(), &outcome());
    cluster.status = Some(first.clone());
    let second = status_at(&cluster, &observed(), &outcome(), 200);
    assert_eq!(second, first);
    assert!(same(&first, &second));
}

fn condition(type_: &str) -> Condition {
    Condition {
        type_: type_.to_owned(),
        status: "True".to_owned(),
        reason: "A".to_owned(),
        message: String::new(),
        last_transition_time: Time(at(1)),
        observed_generation: Some(1),
    }
}

/// The plugin engine writes into the same status. If its entries counted, both would write forever.
#[test]
fn entries_of_the_plugin_engine_are_no_reason_to_write() {
    let desired = status_of(&mk_cluster("demo"), &observed(), &outcome());
    let mut old = desired.clone();
    old.conditions.insert(0, condition("PluginsSynced"));
    old.conditions.push(condition("Other"));
    old.plugins = vec![PluginState { name: "ingress".to_owned(), synced: true, children: 1, message: String::new() }];
    assert!(same(&old, &desired));
}

type Edit = fn(&mut DaskClusterStatus);

#[test]
fn each_field_of_this_reconciler_is_a_reason_to_write() {
    let desired = status_of(&mk_cluster("demo"), &observed(), &outcome());
    let edits: [(&str, Edit); 8] = [
        ("phase", |old| old.phase = Some(ClusterPhase::Pending)),
        ("generation", |old| old.observed_generation = Some(0)),
        ("replicas", |old| old.replicas = None),
        ("selector", |old| old.selector = None),
        ("a condition's status", |old| old.conditions[0].status = "False".to_owned()),
        ("a condition's message", |old| old.conditions[1].message = String::new()),
        ("a condition less", |old| old.conditions.truncate(1)),
        ("no condition", |old| old.conditions.clear()),
    ];
    for (what, edit) in edits {
        let mut old = desired.clone();
        edit(&mut old);
        assert!(!same(&old, &desired), "{what}");
    }
}

/// Neither a plugin that fails later nor a restart of the controller changes the phase of a cluster in use.
#[test]
fn a_plugin_holds_back_the_way_to_running_and_nothing_else() {
    let table = [
        (Some(ClusterPhase::Created), ClusterPhase::Pending),
        (Some(ClusterPhase::Pending), ClusterPhase::Pending),
        (Some(ClusterPhase::Running), ClusterPhase::Running),
    ];
    for (before, after) in table {
        let cluster = mk_cluster_in(before);
        let (current, valid) = (cluster.status.clone().unwrap(), validate(&cluster).unwrap());
        let (observed, outcome, built) = (observed(), outcome(), build::build(&valid));
        let seen = StatusInput { current: &current, observed: &observed, built: &built, outcome: &outcome, held: true };
        assert_eq!(of_observed(&cluster, &valid, &seen, at(100)).phase, Some(after), "{before:?}");
    }
}
