//! Tests of the status that is computed from the reports of plugins.

use dask_operator_api::SubjectKind;
use jiff::Timestamp;
use operator_runtime::conditions::updated;

use super::*;
use crate::client::warnings::fit_warnings;
use plugin_protocol::Condition as Said;

fn key(kind: SubjectKind, name: &str) -> SubjectKey {
    SubjectKey { kind, namespace: "ns".to_owned(), name: name.to_owned() }
}

fn report(state: SyncState, children: usize) -> SubjectReport {
    let owner = Owner { key: key(SubjectKind::DaskCluster, "demo"), uid: "cluster-uid".to_owned() };
    SubjectReport { owner, state, children, conditions: Vec::new(), unfit: 0, warnings: BTreeSet::new() }
}

fn failing(reason: &'static str, message: &str) -> SyncState {
    SyncState::Failing { reason, message: message.to_owned() }
}

fn reports<const N: usize>(of: [(&str, &str, SubjectReport); N]) -> SubjectReports {
    let mut reports = SubjectReports::new();
    for (plugin, subject, report) in of {
        reports.entry(plugin.to_owned()).or_default().insert(key(SubjectKind::Pod, subject), report);
    }
    reports
}

fn aggregated(reports: &SubjectReports) -> DesiredStatus {
    status_of(reports, &BTreeSet::new(), &CurrentStatus::default(), &[])
}

fn state(name: &str, synced: bool, children: i64, message: &str) -> PluginState {
    PluginState { name: name.to_owned(), synced, children, message: message.to_owned() }
}

fn shown(desired: &DesiredStatus) -> CurrentStatus {
    let conditions = updated(&[], desired.conditions.clone(), None, Timestamp::UNIX_EPOCH);
    CurrentStatus { plugins: desired.plugins.clone(), conditions }
}

fn said(type_: &str, status: ConditionStatus) -> Said {
    Said::new(type_, status, "Because", "so")
}

#[test]
fn subjects_of_a_plugin_are_added_up() {
    let table = [
        (vec![SyncState::Synced, SyncState::Synced], Some((Some(true), "Synced", true, 2, ""))),
        (vec![SyncState::Synced, SyncState::Unmatched], Some((Some(true), "Synced", true, 1, ""))),
        (vec![SyncState::Synced, SyncState::Waiting], Some((None, "Waiting", false, 2, "Pod ns/1: not answered yet"))),
        (
            vec![SyncState::pending("no address yet"), SyncState::Waiting],
            Some((None, "Waiting", false, 2, "Pod ns/0: no address yet")),
        ),
        (vec![SyncState::pending("")], Some((None, "Waiting", false, 1, "Pod ns/0: no result yet"))),
        (
            vec![SyncState::pending("no address yet"), failing("Gone", "410")],
            Some((Some(false), "Gone", false, 2, "Pod ns/1: 410")),
        ),
        (
            vec![SyncState::Waiting, failing("ServerError", "500"), failing("Gone", "410")],
            Some((Some(false), "ServerError", false, 3, "Pod ns/1: 500")),
        ),
        (vec![SyncState::Unmatched], None),
        (vec![], None),
    ];
    for (states, expected) in table {
        let mut reports = SubjectReports::new();
        let subjects = reports.entry("echo".to_owned()).or_default();
        for (number, state) in states.into_iter().enumerate() {
            let children = usize::from(state != SyncState::Unmatched);
            subjects.insert(key(SubjectKind::Pod, &number.to_string()), report(state, children));
        }
        let desired = aggregated(&reports);
        let Some((status, reason, synced, children, message)) = expected else {
            assert_eq!(desired, DesiredStatus::default());
            continue;
        };
        assert_eq!(desired.plugins, [state("echo", synced, children, message)]);
        assert_eq!((desired.conditions[0].status, desired.conditions[0].reason.as_str()), (status, reason));
    }
}

#[test]
fn the_condition_names_the_plugin_and_the_subject_that_fail() {
    let desired = aggregated(&reports([
        ("a", "x", report(SyncState::Synced, 1)),
        ("b", "y", report(failing("Conflict", "it is held"), 0)),
    ]));
    assert_eq!(desired.plugins, [state("a", true, 1, ""), state("b", false, 0, "Pod ns/y: it is held")]);
    assert_eq!(desired.conditions, [ConditionUpdate::no(PLUGINS_SYNCED, "Conflict", "b: Pod ns/y: it is held")]);
}

/// A controller that was restarted must not withdraw what the status already shows.
#[test]
fn of_a_plugin_that_is_not_known_yet_stays_what_is_shown() {
    let mut failed = report(failing("ServerError", "500"), 2);
    failed.conditions = fit("a", &[said("Exposed", ConditionStatus::False)]).shown;
    let before = shown(&aggregated(&reports([("a", "x", failed), ("b", "y", report(SyncState::Synced, 1))])));
    let kept = BTreeSet::from(["a".to_owned()]);
    let now = reports([("a", "x", report(SyncState::Synced, 0)), ("b", "y", report(SyncState::Synced, 1))]);
    assert_eq!(shown(&status_of(&now, &kept, &before, &[])), before);
    let gone = status_of(&SubjectReports::new(), &BTreeSet::new(), &before, &[]);
    assert_eq!(gone, DesiredStatus::default(), "nothing stays of plugins that are gone");
}

#[test]
fn a_plugin_that_holds_a_cluster_is_named_before_it_responds() {
    let desired =
        status_of(&SubjectReports::new(), &BTreeSet::new(), &CurrentStatus::default(), &["strict".to_owned()]);
    assert_eq!(desired.plugins, []);
    let message = "not answered yet, and failurePolicy is Fail: strict";
    assert_eq!(desired.conditions, [ConditionUpdate::unknown(PLUGINS_SYNCED, PLUGINS_WAITING, message)]);
}

#[test]
fn the_worst_condition_of_all_subjects_is_shown_with_the_name_of_the_plugin() {
    let with = |status| SubjectReport {
        conditions: fit("echo", &[said("Exposed", status)]).shown,
        ..report(SyncState::Synced, 1)
    };
    let all = [ConditionStatus::True, ConditionStatus::False, ConditionStatus::Unknown].map(with);
    let [one, two, three] = all;
    let desired = aggregated(&reports([("echo", "1", one), ("echo", "2", two), ("echo", "3", three)]));
    let expected = ConditionUpdate::no("echo.plugin.kubernetes.dask.org/Exposed", "Because", "so");
    assert_eq!(desired.conditions[1..], [expected]);
}

/// A single condition that the API server rejects would keep all others from being shown.
#[test]
fn conditions_that_cannot_be_shown_are_left_out() {
    let mut bad: Vec<Said> = ["", "a/b", "-A", "A ", "Ä"].map(|type_| said(type_, ConditionStatus::True)).to_vec();
    bad.push(said(&"x".repeat(300), ConditionStatus::True));
    bad.push(Said::new("A", ConditionStatus::True, "", "so"));
    bad.push(Said::new("A", ConditionStatus::True, "two words", "so"));
    let count = bad.len();
    assert_eq!(fit("echo", &bad), FittedConditions { shown: Vec::new(), unfit: count });
    let many: Vec<Said> = (0..10).map(|number| said(&format!("C{number}"), ConditionStatus::True)).collect();
    let FittedConditions { shown, unfit } = fit("echo", &many);
    assert_eq!((shown.len(), unfit), (8, 2));
}

#[test]
fn warnings_are_cut_between_characters_and_counted_once() {
    let long = "ä".repeat(200);
    let many: Vec<String> = (0..10).map(|number| number.to_string()).collect();
    let warnings = fit_warnings(&[long, "a".to_owned(), "a".to_owned(), String::new()]);
    assert_eq!(warnings, BTreeSet::from(["a".to_owned(), "ä".repeat(128)]));
    assert_eq!(fit_warnings(&many).len(), 8);
}
