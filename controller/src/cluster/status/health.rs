//! A table of a cluster's states: all conditions, and how `kubectl wait`, kstatus and Argo CD understand them.

use std::{collections::BTreeSet, sync::Arc};

use dask_operator_api::DaskWorkerGroup;
use k8s_openapi::{api::core::v1::Service, apimachinery::pkg::apis::meta::v1::Time};
use operator_runtime::testing::{HealthCase, check_health, health_message, is_met};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::*;
use crate::{
    cluster::{
        apply::Blocked,
        build::{self, Desired},
        validate::validate,
    },
    test_fixtures::mk_cluster,
    view::{DeploymentStatusView, PodView},
};

/// A state, and what is expected of its status: `+` for true, `-` for false and `?` for unknown, in the order of
/// [`CONDITIONS`]; the reason of `Ready`; what kstatus computes; the health that Argo CD shows.
type State = (&'static str, DaskCluster, [&'static str; 4]);

/// What a pass over the cluster `demo` observes.
struct Seen {
    cluster: DaskCluster,
    current: DaskClusterStatus,
    observed: Observed,
    outcome: Outcome,
    held: bool,
}

fn now() -> Timestamp {
    "2026-11-23T09:00:00Z".parse().unwrap()
}

/// Returns a cluster whose scheduler's container has the port that the Service names.
fn demo() -> DaskCluster {
    let mut cluster = mk_cluster("demo");
    let ports = json!([{"name": "tcp-comm", "containerPort": 8786}]);
    cluster.spec.scheduler.spec.set("containers", json!([{"name": "scheduler", "image": "dask", "ports": ports}]));
    cluster
}

fn object<K: DeserializeOwned>(mut manifest: Value, status: Value) -> K {
    manifest["status"] = status;
    manifest["metadata"]["generation"] = json!(1);
    serde_json::from_value(manifest).unwrap()
}

fn pod(status: &Value) -> Arc<PodView> {
    let labels = json!({"dask.org/cluster-name": "demo", "dask.org/component": "scheduler"});
    let metadata = json!({"name": "demo-scheduler-a", "labels": labels, "creationTimestamp": "2026-11-23T08:00:00Z"});
    Arc::new(serde_json::from_value(json!({"metadata": metadata, "status": status})).unwrap())
}

fn ready_pod(restarts: i64) -> Arc<PodView> {
    let holds = |type_| json!({"type": type_, "status": "True"});
    let containers = json!([{"name": "scheduler", "restartCount": restarts}]);
    pod(&json!({"conditions": [holds("Ready"), holds("ContainersReady")], "containerStatuses": containers}))
}

fn waiting_pod(reason: &str) -> Arc<PodView> {
    let waiting = json!({"reason": reason, "message": "no such image"});
    pod(&json!({"containerStatuses": [{"name": "scheduler", "state": {"waiting": waiting}}]}))
}

/// Returns a pod that waits in a queue.
fn gated_pod() -> Arc<PodView> {
    let condition = json!({"type": "PodScheduled", "status": "False", "reason": "SchedulingGated"});
    let mut gated = pod(&json!({"conditions": [condition]}));
    let admission = json!([{"name": "kueue.x-k8s.io/admission"}]);
    Arc::make_mut(&mut gated).spec.scheduling_gates = serde_json::from_value(admission).unwrap();
    gated
}

fn available(status: &str, reason: &str) -> Value {
    json!({"replicas": 2, "observedGeneration": 1, "conditions": [{
        "type": "Available", "status": status, "reason": reason, "message": "the workers are so",
        "lastTransitionTime": "2026-11-23T08:00:00Z",
    }]})
}

/// Returns a cluster of which all works.
fn working() -> Seen {
    let cluster = demo();
    let Desired { scheduler, service, group } = build::build(&validate(&cluster).unwrap());
    let observed = Observed {
        scheduler: Some(Arc::new(object(scheduler.manifest(), json!({"observedGeneration": 1})))),
        service: Some(Arc::new(object(service.manifest(), json!({})))),
        group: Some(Arc::new(object(group.manifest(), available("True", "Available")))),
        scheduler_pods: vec![ready_pod(0)],
        astray_pods: Vec::new(),
        groups: Vec::new(),
        unseen: BTreeSet::new(),
        is_phase_unseen: false,
    };
    let (phase, observed_generation) = (Some(ClusterPhase::Running), Some(1));
    Seen {
        cluster,
        current: DaskClusterStatus { phase, observed_generation, ..DaskClusterStatus::default() },
        observed,
        outcome: Outcome { blocked: Vec::new(), made: false, stands: false, recreating: false, error: None },
        held: false,
    }
}

/// Returns the cluster after a pass that observes [`working`] with `change`.
fn after(change: impl FnOnce(&mut Seen)) -> DaskCluster {
    let mut seen = working();
    change(&mut seen);
    let Seen { mut cluster, current, observed, outcome, held } = seen;
    let valid = validate(&cluster).unwrap();
    let built = build::build(&valid);
    let input = StatusInput { current: &current, observed: &observed, built: &built, outcome: &outcome, held };
    cluster.status = Some(of_observed(&cluster, &valid, &input, now()));
    cluster
}

fn group(seen: &mut Seen) -> &mut DaskWorkerGroup {
    Arc::make_mut(seen.observed.group.as_mut().unwrap())
}

fn service(seen: &mut Seen) -> &mut Service {
    Arc::make_mut(seen.observed.service.as_mut().unwrap())
}

fn nothing_exists(seen: &mut Seen) {
    seen.observed = Observed::default();
    seen.current.phase = Some(ClusterPhase::Created);
}

fn refused(code: u16, message: &str) -> impl FnOnce(&mut Seen) {
    let status = kube::core::Status { code, message: message.to_owned(), ..kube::core::Status::default() };
    let error = k8s::Error::new("create", "Deployment ns/demo-scheduler", kube::Error::Api(Box::new(status)));
    move |seen| {
        nothing_exists(seen);
        seen.outcome.error = Some(error);
    }
}

fn blocked(reason: &'static str) -> impl FnOnce(&mut Seen) {
    move |seen| {
        let uid = "another-uid";
        let scheduler = Arc::make_mut(seen.observed.scheduler.as_mut().unwrap());
        scheduler.metadata.owner_references.as_mut().unwrap()[0].uid = uid.to_owned();
        seen.outcome.blocked = vec![Blocked { reason, message: "Deployment demo-scheduler exists".to_owned() }];
    }
}

/// The spec of the cluster is changed, and the controller has observed the change.
fn changed(edit: fn(&mut DaskCluster)) -> impl FnOnce(&mut Seen) {
    move |seen| {
        edit(&mut seen.cluster);
        seen.cluster.metadata.generation = Some(2);
    }
}

fn created() -> DaskCluster {
    let mut cluster = demo();
    cluster.status = Some(of_created(&cluster, &validate(&cluster).unwrap(), now()));
    cluster
}

fn invalid() -> DaskCluster {
    let mut cluster = mk_cluster("Not_Valid");
    let rejection = validate(&cluster).unwrap_err();
    cluster.status = Some(of_invalid(&cluster, &rejection, now()));
    cluster
}

fn before_any_scheduler() -> Vec<State> {
    let mut new = demo();
    new.status = Some(DaskClusterStatus { observed_generation: Some(-1), ..DaskClusterStatus::default() });
    vec![
        ("new", new, ["", "", "InProgress", "Progressing"]),
        ("invalid_name", invalid(), ["-????-+", "InvalidName", "Failed", "Degraded"]),
        ("creating", created(), ["+-???--", "Creating", "InProgress", "Progressing"]),
        (
            "refused_by_quota",
            after(refused(403, "deployments.apps is forbidden: exceeded quota: small")),
            ["--???--", "Forbidden", "InProgress", "Degraded"],
        ),
        (
            "refused_as_invalid",
            after(refused(422, "spec.template.spec.containers[0].image: Required value")),
            ["--???-+", "Invalid", "Failed", "Degraded"],
        ),
        (
            "api_server_unavailable",
            after(refused(500, "etcdserver: request timed out")),
            ["+-???--", "ApiServerError", "InProgress", "Progressing"],
        ),
        ("name_taken", after(blocked("NameTaken")), ["+-??+-+", "NameTaken", "Failed", "Degraded"]),
        (
            "waiting_for_deletion",
            after(blocked("WaitingForDeletion")),
            ["+-??+--", "WaitingForDeletion", "InProgress", "Progressing"],
        ),
        (
            "scheduler_lost",
            after(|seen| seen.observed.scheduler = None),
            ["+-??+--", "Creating", "InProgress", "Progressing"],
        ),
    ]
}

fn with_pods(pods: Vec<Arc<PodView>>) -> DaskCluster {
    after(|seen| {
        seen.observed.scheduler_pods = pods;
        group(seen).status = Some(serde_json::from_value(available("False", "Starting")).unwrap());
    })
}

fn with_a_scheduler() -> Vec<State> {
    let unschedulable = json!({"type": "PodScheduled", "status": "False", "reason": "Unschedulable"});
    let quota = json!([{"type": "ReplicaFailure", "status": "True", "message": "exceeded quota: small"}]);
    let refused: DeploymentStatusView =
        serde_json::from_value(json!({"observedGeneration": 1, "conditions": quota})).unwrap();
    vec![
        ("starting", with_pods(Vec::new()), ["++-+---", "Starting", "InProgress", "Progressing"]),
        (
            "image_pull_failed",
            with_pods(vec![waiting_pod("ImagePullBackOff")]),
            ["++-+---", "ImagePullFailed", "InProgress", "Degraded"],
        ),
        (
            "crash_loop",
            with_pods(vec![waiting_pod("CrashLoopBackOff")]),
            ["++-+---", "CrashLoopBackOff", "InProgress", "Degraded"],
        ),
        (
            "unschedulable",
            with_pods(vec![pod(&json!({"conditions": [unschedulable]}))]),
            ["++-+---", "Unschedulable", "InProgress", "Progressing"],
        ),
        (
            "waits_for_admission",
            with_pods(vec![gated_pod()]),
            ["++-+---", "SchedulingGated", "InProgress", "Progressing"],
        ),
        (
            "pods_refused_by_quota",
            after(|seen| {
                seen.observed.scheduler_pods.clear();
                Arc::make_mut(seen.observed.scheduler.as_mut().unwrap()).status = refused;
            }),
            ["++-++--", "QuotaExceeded", "InProgress", "Degraded"],
        ),
        (
            "pods_of_an_older_cluster",
            after(|seen| seen.cluster.metadata.creation_timestamp = Some(Time(now()))),
            ["++-++--", "Starting", "InProgress", "Progressing"],
        ),
        ("ready", after(|_| {}), ["++++++-", "Ready", "Current", "Healthy"]),
        ("ready_after_restarts", with_pods(vec![ready_pod(2)]), ["++++-+-", "Ready", "Current", "Healthy"]),
        (
            "ready_before_its_workers",
            after(|seen| group(seen).status = None),
            ["++++?+-", "Ready", "Current", "Healthy"],
        ),
    ]
}

fn after_a_change() -> Vec<State> {
    let image = |cluster: &mut DaskCluster| cluster.spec.scheduler.spec.set("hostNetwork", json!(true));
    let mut unobserved = after(|_| {});
    unobserved.metadata.generation = Some(2);
    let mut going = after(|_| {});
    going.metadata.generation = Some(2);
    going.metadata.deletion_timestamp = Some(Time(now()));
    going.metadata.finalizers = Some(vec!["plugin.kubernetes.dask.org/dns".to_owned()]);
    vec![
        ("generation_not_observed", unobserved, ["++++++-", "Ready", "InProgress", "Progressing"]),
        ("being_deleted", going, ["++++++-", "Ready", "Terminating", "Progressing"]),
        ("spec_differs", after(changed(image)), ["+++-+-+", "SpecDiffers", "Failed", "Degraded"]),
        (
            "recreating",
            after(|seen| {
                changed(image)(seen);
                seen.outcome.recreating = true;
            }),
            ["+++-+--", "Recreating", "InProgress", "Progressing"],
        ),
        (
            "service_is_updated",
            after(changed(|cluster| cluster.spec.scheduler.service.set("sessionAffinity", json!("ClientIP")))),
            ["+++++--", "Updating", "InProgress", "Progressing"],
        ),
        (
            "workers_are_updated",
            after(changed(|cluster| cluster.spec.worker.replicas = 7)),
            ["++++?--", "Updating", "InProgress", "Progressing"],
        ),
    ]
}

fn unreachable() -> Vec<State> {
    let port_of_another_name = |seen: &mut Seen| {
        let ports = service(seen).spec.as_mut().unwrap().ports.as_mut().unwrap();
        (ports[0].name, ports[0].port) = (Some("comm".to_owned()), 9000);
    };
    vec![
        (
            "service_selects_nothing",
            after(|seen| {
                let selector = [("app".to_owned(), "other".to_owned())].into();
                service(seen).spec.as_mut().unwrap().selector = Some(selector);
            }),
            ["++-++-+", "ServiceSelectsNothing", "Failed", "Degraded"],
        ),
        (
            "service_without_selector",
            after(|seen| service(seen).spec.as_mut().unwrap().selector = None),
            ["++-++-+", "ServiceSelectsNothing", "Failed", "Degraded"],
        ),
        ("service_without_port", after(port_of_another_name), ["++-++-+", "ServicePortNotFound", "Failed", "Degraded"]),
        (
            "port_without_target",
            after(|seen| {
                seen.cluster = mk_cluster("demo");
                let Desired { scheduler, .. } = build::build(&validate(&seen.cluster).unwrap());
                seen.observed.scheduler =
                    Some(Arc::new(object(scheduler.manifest(), json!({"observedGeneration": 1}))));
            }),
            ["++-++-+", "ServicePortNotFound", "Failed", "Degraded"],
        ),
        (
            "waiting_for_load_balancer",
            after(|seen| service(seen).spec.as_mut().unwrap().type_ = Some("LoadBalancer".to_owned())),
            ["+++++--", "WaitingForLoadBalancer", "InProgress", "Progressing"],
        ),
        (
            "waiting_for_plugins",
            after(|seen| (seen.current.phase, seen.held) = (Some(ClusterPhase::Pending), true)),
            ["+++++--", "WaitingForPlugins", "InProgress", "Progressing"],
        ),
    ]
}

fn states() -> Vec<State> {
    [before_any_scheduler(), with_a_scheduler(), after_a_change(), unreachable()].concat()
}

/// Writes the statuses of the conditions as in [`State`].
fn short(status: &DaskClusterStatus) -> String {
    let sign = |condition: &Condition| match condition.status.as_str() {
        "True" => '+',
        "False" => '-',
        _ => '?',
    };
    let types: Vec<&str> = status.conditions.iter().map(|condition| condition.type_.as_str()).collect();
    assert!(types.is_empty() || types == CONDITIONS, "{types:?}");
    status.conditions.iter().map(sign).collect()
}

#[test]
fn each_state_of_a_cluster_has_true_conditions_that_tools_understand() {
    let mut cases = Vec::new();
    for (state, cluster, [conditions, reason, kstatus, health]) in states() {
        let status = cluster.status.as_ref().unwrap();
        let ready = conditions::find(&status.conditions, READY);
        let found = (short(status), ready.map_or("", |ready| &ready.reason));
        assert_eq!(found, (conditions.to_owned(), reason), "{state}");
        let object = json!(cluster);
        let message = health_message(&object);
        cases.push(HealthCase { state, object, kstatus, health, message });
    }
    check_health("DaskCluster", &cases);
}

/// An autoscaler changes the group several times a minute. What is known about its workers stays until it says otherwise.
#[test]
fn a_change_of_the_group_alone_does_not_make_its_workers_unknown() {
    let before = after(|_| {}).status.unwrap();
    let scaled = |seen: &mut Seen| {
        seen.current = before;
        group(seen).metadata.generation = Some(2);
    };
    assert_eq!(short(&after(scaled).status.unwrap()), "++++++-");
}

/// A restarted controller observes the same, and so it writes the same.
#[test]
fn a_second_pass_changes_no_condition() {
    for (state, cluster, _) in states().into_iter().filter(|(state, ..)| *state == "ready" || *state == "crash_loop") {
        let again = after(|seen| {
            seen.current = cluster.status.clone().unwrap();
            if state == "crash_loop" {
                seen.observed.scheduler_pods = vec![waiting_pod("CrashLoopBackOff")];
                group(seen).status = Some(serde_json::from_value(available("False", "Starting")).unwrap());
            }
        });
        assert_eq!(again.status, cluster.status, "{state}");
    }
}

/// `kubectl wait` compares the generation of the condition with that of the cluster.
#[test]
fn nobody_reads_an_old_ready_for_a_new_spec() {
    let mut cluster = json!(after(|_| {}));
    assert!(is_met(&cluster, READY));
    cluster["metadata"]["generation"] = json!(2);
    assert!(!is_met(&cluster, READY));
}
