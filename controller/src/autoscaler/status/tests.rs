//! Tests of an autoscaler's status.

use operator_runtime::testing::{HealthCase, check_health, health_message};
use serde_json::json;

use super::*;
use crate::autoscaler::decide::Why;

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(second).unwrap()
}

fn autoscaler(status: &DaskAutoscalerStatus) -> DaskAutoscaler {
    serde_json::from_value(json!({
        "apiVersion": "kubernetes.dask.org/v1",
        "kind": "DaskAutoscaler",
        "metadata": {"name": "demo", "namespace": "ns", "generation": 3},
        "spec": {"cluster": "demo", "minimum": 1, "maximum": 5},
        "status": status,
    }))
    .unwrap()
}

/// Returns the status after each of `passes`, which are a minute apart.
fn after(passes: &[StatusInput<'_>]) -> Vec<DaskAutoscalerStatus> {
    let mut status = DaskAutoscalerStatus::default();
    let pass = |(minute, seen): (i64, &StatusInput<'_>)| {
        status = of(&autoscaler(&status), seen, at(60 * minute));
        status.clone()
    };
    (1..).zip(passes).map(pass).collect()
}

fn said<'a>(status: &'a DaskAutoscalerStatus, type_: &str) -> (&'a str, &'a str) {
    let found = status.conditions.iter().find(|condition| condition.type_ == type_);
    found.map(|condition| (condition.status.as_str(), condition.reason.as_str())).unwrap_or_default()
}

fn situation(current: i64, connected: i64, target: i64) -> ScalingInput {
    ScalingInput { current, connected, target, ..ScalingInput::default() }
}

/// One write for each tick of each autoscaler would be 12 a minute.
#[test]
fn the_same_situation_gives_the_same_status_however_much_later() {
    let refused = Rejection::new("ClusterNotFound", "there is none");
    let error = dask_scheduler_client::Error::Protocol("garbage".to_owned());
    let enough = (situation(3, 3, 3), Decision { desired: 3, why: Why::Enough });
    let decided = || StatusInput::Decided { situation: &enough.0, decision: &enough.1, scaled: None };
    let pairs = [
        [StatusInput::Refused(&refused), StatusInput::Refused(&refused)],
        [StatusInput::NotReady, StatusInput::NotReady],
        [StatusInput::Unreachable(&error), StatusInput::Unreachable(&error)],
        [decided(), decided()],
    ];
    for pair in &pairs {
        let statuses = after(pair);
        assert_eq!(statuses[0], statuses[1]);
    }
}

#[test]
fn a_decision_is_shown_with_its_numbers_and_its_reason() {
    let grow = (situation(2, 1, 4), Decision { desired: 4, why: Why::More });
    let enough = (situation(4, 1, 4), Decision { desired: 4, why: Why::Enough });
    let statuses = after(&[
        StatusInput::Decided { situation: &grow.0, decision: &grow.1, scaled: Some(at(60)) },
        StatusInput::Decided { situation: &enough.0, decision: &enough.1, scaled: None },
    ]);
    let [first, second] = &statuses[..] else { panic!("there are two") };
    assert_eq!((first.desired_replicas, first.target_workers), (Some(4), Some(4)));
    assert_eq!((first.connected_replicas, first.pending_replicas), (Some(1), Some(3)));
    assert_eq!(first.last_scale_time, Some(Time(at(60))));
    assert_eq!(first.decision, "the scheduler asks for more workers");
    assert_eq!((said(first, ACCEPTED), said(first, ACTIVE)), (("True", "Valid"), ("True", "Active")));
    assert_eq!(second.last_scale_time, first.last_scale_time);
    assert_eq!(second.decision, "the group has as many workers as the scheduler asks for");
}

/// The target of a busy scheduler changes with every tick.
#[test]
fn a_target_that_changes_nothing_is_not_written() {
    let decision = Decision { desired: 5, why: Why::AtMaximum };
    let (low, high) = (situation(5, 5, 100), situation(5, 5, 101));
    let seen = |situation| StatusInput::Decided { situation, decision: &decision, scaled: None };
    let statuses = after(&[seen(&low), seen(&high)]);
    assert_eq!(statuses[0], statuses[1]);
}

#[test]
fn an_unreachable_scheduler_is_reported_beside_the_latest_decision() {
    let refused =
        |cause: &str| dask_scheduler_client::Error::Connect { address: "a:1".to_owned(), cause: cause.to_owned() };
    let (first, second) = (refused("refused"), refused("no route"));
    let decision = Decision { desired: 3, why: Why::Enough };
    let statuses = after(&[
        StatusInput::Decided { situation: &situation(3, 3, 3), decision: &decision, scaled: None },
        StatusInput::Unreachable(&first),
        StatusInput::Unreachable(&second),
        StatusInput::NotReady,
    ]);
    assert_eq!(said(&statuses[1], ACTIVE), ("False", "SchedulerUnreachable"));
    assert_eq!(statuses[1].desired_replicas, Some(3));
    assert_eq!(statuses[1], statuses[2], "other words for the same failure are no news");
    assert_eq!(said(&statuses[3], ACTIVE), ("False", "SchedulerNotReady"));
}

#[test]
fn one_that_is_refused_decides_nothing() {
    let decision = Decision { desired: 3, why: Why::Enough };
    let refused = Rejection::new("AlreadyAutoscaled", "by another");
    let statuses = after(&[
        StatusInput::Decided { situation: &situation(3, 3, 3), decision: &decision, scaled: None },
        StatusInput::Refused(&refused),
    ]);
    assert_eq!(said(&statuses[1], ACCEPTED), ("False", "AlreadyAutoscaled"));
    assert_eq!((said(&statuses[1], ACTIVE), statuses[1].desired_replicas), (("Unknown", "NotTried"), None));
}

#[test]
fn a_scheduler_that_is_starting_makes_no_event() {
    let statuses = after(&[StatusInput::NotReady]);
    let conditions = reported(&statuses[0].conditions);
    let types: Vec<&str> = conditions.iter().map(|condition| condition.type_.as_str()).collect();
    assert_eq!(types, [ACCEPTED, STALLED]);
}

/// A server-side apply of everything that was read would make it the owner of the plugins' entries.
#[test]
fn conditions_of_plugins_are_neither_written_nor_compared() {
    let conditions = conditions::updated(&[], vec![ConditionUpdate::yes("PluginsSynced", "Synced", "")], None, at(60));
    let plugins = vec![dask_operator_api::PluginState {
        name: "a".to_owned(),
        synced: true,
        children: 1,
        message: String::new(),
    }];
    let mut with_plugins = after(&[StatusInput::NotReady]).remove(0);
    let without = with_plugins.clone();
    with_plugins.conditions.extend(conditions);
    with_plugins.plugins = plugins;
    let autoscaler = autoscaler(&with_plugins);
    assert_eq!(ours(&autoscaler), without);
    assert_eq!(of(&autoscaler, &StatusInput::NotReady, at(120)), without);
}

#[test]
fn each_state_of_an_autoscaler_has_true_conditions_that_tools_understand() {
    let (missing, bounds) = (Rejection::new("ClusterNotFound", "none"), Rejection::new("InvalidBounds", "odd"));
    let group_missing = Rejection::new("GroupNotFound", "none");
    let twice = Rejection::new("AlreadyAutoscaled", "by another");
    let unreachable = dask_scheduler_client::Error::Protocol("garbage".to_owned());
    let denied = kube::core::Status { code: 403, message: "denied".to_owned(), ..kube::core::Status::default() };
    let denied = k8s::Error::new("patch", "DaskWorkerGroup ns/demo", kube::Error::Api(Box::new(denied)));
    let decision = Decision { desired: 3, why: Why::Enough };
    let situation = situation(3, 3, 3);
    let decided = StatusInput::Decided { situation: &situation, decision: &decision, scaled: None };
    let table = [
        ("cluster_not_found", StatusInput::Refused(&missing), ["-?--", "InProgress", "Progressing"]),
        ("group_not_found", StatusInput::Refused(&group_missing), ["-?--", "InProgress", "Progressing"]),
        ("invalid_bounds", StatusInput::Refused(&bounds), ["-?-+", "Failed", "Degraded"]),
        ("already_autoscaled", StatusInput::Refused(&twice), ["-?-+", "Failed", "Degraded"]),
        ("scheduler_not_ready", StatusInput::NotReady, ["+---", "InProgress", "Progressing"]),
        ("scheduler_unreachable", StatusInput::Unreachable(&unreachable), ["+---", "InProgress", "Degraded"]),
        ("group_not_scaled", StatusInput::Failed(&denied), ["++--", "InProgress", "Degraded"]),
        ("active", decided, ["+++-", "Current", "Healthy"]),
    ];
    let sign = |condition: &Condition| match condition.status.as_str() {
        "True" => '+',
        "False" => '-',
        _ => '?',
    };
    let new = DaskAutoscalerStatus { observed_generation: Some(-1), ..DaskAutoscalerStatus::default() };
    let mut states = vec![("new", new, ["", "InProgress", "Progressing"])];
    for (state, seen, expected) in table {
        states.push((state, of(&autoscaler(&DaskAutoscalerStatus::default()), &seen, at(60)), expected));
    }
    let mut cases = Vec::new();
    for (state, status, [conditions, kstatus, health]) in states {
        let types: Vec<&str> = status.conditions.iter().map(|condition| condition.type_.as_str()).collect();
        assert!(types.is_empty() || types == CONDITIONS, "{state} {types:?}");
        assert_eq!(status.conditions.iter().map(sign).collect::<String>(), conditions, "{state}");
        let object = json!(autoscaler(&status));
        let message = health_message(&object);
        cases.push(HealthCase { state, object, kstatus, health, message });
    }
    check_health("DaskAutoscaler", &cases);
}

#[test]
fn a_group_that_cannot_be_scaled_has_an_event_and_other_failures_have_one_only() {
    let denied = kube::core::Status { code: 403, message: "denied".to_owned(), ..kube::core::Status::default() };
    let denied = k8s::Error::new("patch", "DaskWorkerGroup ns/demo", kube::Error::Api(Box::new(denied)));
    let bounds = Rejection::new("InvalidBounds", "odd");
    for (seen, reason) in
        [(StatusInput::Failed(&denied), "Forbidden"), (StatusInput::Refused(&bounds), "InvalidBounds")]
    {
        let conditions = reported(&after(&[seen])[0].conditions);
        let failed = conditions.iter().filter(|condition| condition.status == "False" && condition.type_ != STALLED);
        assert_eq!(failed.map(|told| told.reason.as_str()).collect::<Vec<_>>(), [reason]);
    }
}
