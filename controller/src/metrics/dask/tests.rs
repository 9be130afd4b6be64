//! Tests of the metrics of Dask resources.

use std::sync::Arc;

use kube::runtime::watcher::Event;
use serde_json::{Value, json};

use super::*;
use crate::metrics::{Metrics, tests::samples};
use crate::test_fixtures::{mk_cluster, mk_group};

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(1_790_000_000 + second).unwrap()
}

fn cluster(status: &Value) -> DaskCluster {
    let mut cluster = mk_cluster("demo");
    cluster.metadata.creation_timestamp = Some(k8s_openapi::apimachinery::pkg::apis::meta::v1::Time(at(0)));
    cluster.status = serde_json::from_value(status.clone()).unwrap();
    cluster
}

fn group(status: &Value) -> DaskWorkerGroup {
    let mut group = mk_group("demo-default", "demo");
    group.metadata.creation_timestamp = Some(k8s_openapi::apimachinery::pkg::apis::meta::v1::Time(at(0)));
    group.status = serde_json::from_value(status.clone()).unwrap();
    group
}

fn condition(type_: &str, status: &str, since: i64) -> Value {
    let since = at(since).to_string();
    json!({"type": type_, "status": status, "reason": "Because", "message": "", "lastTransitionTime": since})
}

#[test]
fn a_cluster_waits_from_its_creation_until_it_runs_and_again_while_its_scheduler_does_not() {
    let ready = |status: &str| json!([condition("SchedulerReady", status, 60)]);
    let table = [
        (json!(null), "New", 100),
        (json!({"phase": "Created"}), "Created", 100),
        (json!({"phase": "Pending", "conditions": ready("True")}), "Pending", 100),
        (json!({"phase": "Running", "conditions": ready("True")}), "Running", 0),
        (json!({"phase": "Running", "conditions": ready("False")}), "Running", 40),
        (json!({"phase": "Error"}), "Error", 100),
    ];
    for (status, phase, waits) in table {
        let mut tallies = Tallies::new(at(100));
        tallies.cluster(&cluster(&status));
        let counted = (tallies.clusters.0[phase], tallies.clusters.0.values().sum::<i64>());
        assert_eq!(counted, (1, 1), "{status}");
        assert_eq!(tallies.unavailable.0["DaskCluster"], waits, "{status}");
    }
}

/// Only its author can change that, who is told by a condition.
#[test]
fn an_invalid_cluster_waits_for_nothing() {
    let mut invalid = cluster(&json!({"phase": "Error"}));
    invalid.metadata.name = Some("not.valid".to_owned());
    let mut tallies = Tallies::new(at(100));
    tallies.cluster(&invalid);
    assert_eq!((tallies.clusters.0["Error"], tallies.unavailable.0["DaskCluster"]), (1, 0));
}

#[test]
fn a_group_is_in_one_state_and_waits_while_workers_are_missing() {
    let conditions = |accepted: &str, available: &str| json!({"conditions": [condition("Accepted", accepted, 10), condition("Available", available, 70)]});
    let table = [
        (json!(null), "New", 100),
        (conditions("True", "False"), "Unavailable", 30),
        (conditions("True", "True"), "Available", 0),
        (conditions("True", "Unknown"), "Unavailable", 30),
        (conditions("False", "Unknown"), "Invalid", 0),
        // The API server refused its workers.
        (conditions("False", "False"), "Unavailable", 30),
    ];
    for (status, state, waits) in table {
        let mut tallies = Tallies::new(at(100));
        tallies.group(&group(&status));
        assert_eq!((tallies.groups.0[state], tallies.groups.0.values().sum::<i64>()), (1, 1), "{status}");
        assert_eq!(tallies.unavailable.0["DaskWorkerGroup"], waits, "{status}");
    }
}

#[test]
fn what_is_being_deleted_waits_for_nothing_and_wants_no_workers() {
    let mut going = group(&json!({"conditions": [condition("Available", "False", 0)]}));
    going.metadata.deletion_timestamp.clone_from(&going.metadata.creation_timestamp);
    let mut tallies = Tallies::new(at(100));
    tallies.group(&going);
    let workers = (tallies.workers.0["wanted"], tallies.unavailable.0["DaskWorkerGroup"]);
    assert_eq!((tallies.groups.0["Deleting"], workers), (1, (0, 0)));
}

/// An alert on a state without objects must find a 0, not a missing series.
#[test]
fn every_state_is_present_and_each_object_is_counted_once() {
    let caches = Caches::new();
    let metrics = Metrics::new(caches.clone());
    let names = ["dask_operator_clusters", "dask_operator_workers", "dask_operator_jobs"];
    let before = samples(&metrics, &names);
    assert_eq!(before.len(), PHASES.len() + WORKER_STATES.len() + job_status::ALL.len() + 1);
    assert!(before.iter().all(|sample| sample.ends_with(" 0")), "{before:?}");
    for _ in 0..2 {
        caches.clusters.apply(None, Event::Apply(cluster(&json!({"phase": "Running"}))), &mut Arc::new);
        caches.groups.apply(None, Event::Apply(group(&json!({"connectedReplicas": 1}))), &mut Arc::new);
    }
    let after = samples(&metrics, &names);
    let told: Vec<&String> = after.iter().filter(|sample| !sample.ends_with(" 0")).collect();
    let expected = [
        r#"dask_operator_clusters{phase="Running"} 1"#,
        r#"dask_operator_workers{state="connected"} 1"#,
        r#"dask_operator_workers{state="wanted"} 2"#,
    ];
    assert_eq!(told, expected);
    let gone = cluster(&json!(null));
    caches.clusters.apply(None, Event::Delete(gone), &mut Arc::new);
    assert!(samples(&metrics, &names).contains(&r#"dask_operator_clusters{phase="Running"} 0"#.to_owned()));
}
