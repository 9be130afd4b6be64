//! A table of a group's states: all conditions, and how `kubectl wait`, kstatus and Argo CD understand them.

use std::sync::Arc;

use operator_runtime::testing::{HealthCase, check_health, health_message};
use serde_json::{Value, json};

use super::*;
use crate::{
    template_version::TemplateVersion,
    test_fixtures::{mk_cluster, mk_defaults, mk_group},
    view::DeploymentView,
    worker_group::{scale::Batch, validate::validate},
};

/// A state, and what is expected of its status: `+` for true, `-` for false and `?` for unknown, in the order of
/// [`CONDITIONS`]; the reason of `Ready`; what kstatus computes; the health that Argo CD shows.
type State = (&'static str, DaskWorkerGroup, [&'static str; 4]);

/// What a pass over the group `demo-default`, which wants two workers, observes.
struct Seen {
    group: DaskWorkerGroup,
    observed: Observed,
    removal: Removal,
    connected: ConnectedWorkers,
    error: Option<apply::Error>,
}

fn now() -> Timestamp {
    "2026-11-23T09:00:00Z".parse().unwrap()
}

fn worker(name: &str, annotations: &meta::Map, status: &Value) -> Arc<DeploymentView> {
    let metadata = json!({"name": name, "namespace": "ns", "annotations": annotations});
    Arc::new(serde_json::from_value(json!({"metadata": metadata, "status": status})).unwrap())
}

/// Returns a group whose two workers run and are registered.
fn working() -> Seen {
    let group = mk_group("demo-default", "demo");
    let mut observed = Observed { cluster: Some(Arc::new(mk_cluster("demo"))), ..Observed::default() };
    let template = validate(&group, &observed, &mk_defaults("cluster.local")).unwrap().template;
    let names = ["demo-default-worker-abcde00000", "demo-default-worker-abcde00001"];
    observed.deployments =
        names.map(|name| worker(name, &template.annotations(), &json!({"readyReplicas": 1}))).to_vec();
    observed.workers.names = names.map(str::to_owned).into();
    let connected = ConnectedWorkers { connected: Some(2), ..ConnectedWorkers::default() };
    Seen { group, observed, removal: Removal::default(), connected, error: None }
}

/// Returns the group after a pass that observes [`working`] with `change`.
fn after(change: impl FnOnce(&mut Seen)) -> DaskWorkerGroup {
    let mut seen = working();
    change(&mut seen);
    let Seen { mut group, observed, removal, connected, error } = seen;
    group.status = Some(match validate(&group, &observed, &mk_defaults("cluster.local")) {
        Ok(valid) => {
            let batch = Batch { create: Vec::new(), next: None };
            let input = StatusInput {
                valid: &valid,
                observed: &observed,
                batch: &batch,
                removal: &removal,
                connected: &connected,
            };
            of_observed(&group, &input, error.as_ref(), now())
        }
        Err(invalid) => of_invalid(&group, &observed, &invalid, now()),
    });
    group
}

fn refused(code: u16, message: &str) -> impl FnOnce(&mut Seen) {
    let status = kube::core::Status { code, message: message.to_owned(), ..kube::core::Status::default() };
    let source = kube::Error::Api(Box::new(status));
    move |seen| {
        no_workers(seen);
        seen.error = Some(k8s::Error::new("create", "Deployment ns/demo-default-worker-abcde00000", source).into());
    }
}

fn no_workers(seen: &mut Seen) {
    seen.observed.deployments.clear();
    seen.observed.workers.names.clear();
    seen.connected.connected = Some(0);
}

fn of_another_template(seen: &mut Seen) {
    let older = TemplateVersion::new(&"older", || "older").annotations();
    seen.observed.deployments[0] = worker("demo-default-worker-abcde00000", &older, &json!({"readyReplicas": 1}));
}

fn rejected() -> Vec<State> {
    let mut new = mk_group("demo-default", "demo");
    new.status = Some(DaskWorkerGroupStatus { observed_generation: Some(-1), ..DaskWorkerGroupStatus::default() });
    let max_unavailable = |seen: &mut Seen| {
        let strategy = serde_json::from_value(json!({"maxUnavailable": "many"})).unwrap();
        seen.group.spec.worker.update_strategy = Some(strategy);
    };
    vec![
        ("new", new, ["", "", "InProgress", "Progressing"]),
        (
            "cluster_not_found",
            after(|seen| seen.observed.cluster = None),
            ["-??--", "ClusterNotFound", "InProgress", "Progressing"],
        ),
        ("invalid_max_unavailable", after(max_unavailable), ["-??-+", "InvalidMaxUnavailable", "Failed", "Degraded"]),
        (
            "refused_by_quota",
            after(refused(403, "deployments.apps is forbidden: exceeded quota: small")),
            ["-----", "Forbidden", "InProgress", "Degraded"],
        ),
        (
            "refused_as_invalid",
            after(refused(422, "spec.template.spec.containers[0].image: Required value")),
            ["----+", "Invalid", "Failed", "Degraded"],
        ),
        (
            "name_taken",
            after(|seen| seen.error = Some(apply::Error::NameTaken("demo-default-worker-abcde00000".to_owned()))),
            ["+-+-+", "NameTaken", "Failed", "Degraded"],
        ),
    ]
}

fn accepted() -> Vec<State> {
    let unreachable =
        || dask_scheduler_client::Error::Connect { address: "a:1".to_owned(), cause: "refused".to_owned() };
    let quota =
        json!({"conditions": [{"type": "ReplicaFailure", "status": "True", "message": "exceeded quota: small"}]});
    vec![
        ("scaling", after(no_workers), ["+----", "Scaling", "InProgress", "Progressing"]),
        (
            "starting",
            after(|seen| seen.observed.deployments.truncate(1)),
            ["++---", "Starting", "InProgress", "Progressing"],
        ),
        (
            "pods_refused_by_quota",
            after(|seen| {
                let mut refused = DeploymentView::clone(&seen.observed.deployments[1]);
                refused.status = serde_json::from_value(quota).unwrap();
                seen.observed.deployments[1] = Arc::new(refused);
            }),
            ["++---", "QuotaExceeded", "InProgress", "Degraded"],
        ),
        (
            "connecting",
            after(|seen| seen.connected.connected = Some(1)),
            ["++---", "Connecting", "InProgress", "Progressing"],
        ),
        (
            "scheduler_unreachable",
            after(|seen| (seen.connected.connected, seen.connected.error) = (None, Some(unreachable()))),
            ["++---", "SchedulerUnreachable", "InProgress", "Degraded"],
        ),
        (
            "scheduler_starting",
            after(|seen| {
                (seen.connected.connected, seen.connected.error) = (None, Some(unreachable()));
                seen.connected.starting = true;
            }),
            ["++---", "Connecting", "InProgress", "Progressing"],
        ),
        (
            "scheduler_not_asked",
            after(|seen| seen.connected.connected = None),
            ["++??-", "NotObserved", "InProgress", "Progressing"],
        ),
        ("available", after(|_| {}), ["++++-", "Ready", "Current", "Healthy"]),
        (
            "no_workers_wanted",
            after(|seen| {
                seen.group.spec.worker.replicas = 0;
                no_workers(seen);
            }),
            ["++++-", "Ready", "Current", "Healthy"],
        ),
    ]
}

fn while_workers_change() -> Vec<State> {
    let refusal = Rejection::new("RetirementRefused", "no other worker can take the data");
    vec![
        ("rolling_update", after(of_another_template), ["+-+--", "RollingUpdate", "InProgress", "Progressing"]),
        (
            "outdated_on_delete",
            after(|seen| {
                of_another_template(seen);
                let strategy = serde_json::from_value(json!({"type": "OnDelete"})).unwrap();
                seen.group.spec.worker.update_strategy = Some(strategy);
            }),
            ["++++-", "Ready", "Current", "Healthy"],
        ),
        (
            "retirement_refused",
            after(|seen| seen.removal.waiting = Some(refusal)),
            ["+-+--", "RetirementRefused", "InProgress", "Degraded"],
        ),
    ]
}

fn states() -> Vec<State> {
    let mut unobserved = after(|_| {});
    unobserved.metadata.generation = Some(2);
    let unobserved = ("generation_not_observed", unobserved, ["++++-", "Ready", "InProgress", "Progressing"]);
    [rejected(), accepted(), while_workers_change(), vec![unobserved]].concat()
}

/// Writes the statuses of the conditions as in [`State`].
fn short(group: &DaskWorkerGroup) -> String {
    let conditions = &group.status.as_ref().unwrap().conditions;
    let types: Vec<&str> = conditions.iter().map(|condition| condition.type_.as_str()).collect();
    assert!(types.is_empty() || types == CONDITIONS, "{types:?}");
    let sign = |condition: &Condition| match condition.status.as_str() {
        "True" => '+',
        "False" => '-',
        _ => '?',
    };
    conditions.iter().map(sign).collect()
}

#[test]
fn each_state_of_a_group_has_true_conditions_that_tools_understand() {
    let mut cases = Vec::new();
    for (state, group, [conditions, reason, kstatus, health]) in states() {
        let ready = conditions::find(&group.status.as_ref().unwrap().conditions, READY);
        let found = (short(&group), ready.map_or("", |ready| &ready.reason));
        assert_eq!(found, (conditions.to_owned(), reason), "{state}");
        let object = json!(group);
        let message = health_message(&object);
        cases.push(HealthCase { state, object, kstatus, health, message });
    }
    check_health("DaskWorkerGroup", &cases);
}

/// After a start of the controller there are more schedulers to be asked than may be asked at the same time.
#[test]
fn workers_that_were_registered_stay_available_until_the_scheduler_is_asked_again() {
    let before = after(|_| {}).status;
    let not_asked = |seen: &mut Seen| {
        seen.group.status.clone_from(&before);
        seen.connected.connected = None;
    };
    assert_eq!(after(not_asked).status.unwrap().conditions, before.clone().unwrap().conditions);
    let of_a_new_spec = |seen: &mut Seen| {
        not_asked(seen);
        seen.group.metadata.generation = Some(2);
    };
    assert_eq!(short(&after(of_a_new_spec)), "++??-");
}

#[test]
fn a_refusal_has_one_event() {
    let group = after(refused(403, "exceeded quota"));
    let types: Vec<String> =
        reported(&group.status.unwrap().conditions).into_iter().map(|condition| condition.type_).collect();
    assert_eq!(types, [SCALED, AVAILABLE, STALLED]);
}
