//! Tests of the decision whether a child is written, and of the detection of drift loops.

use kube::ResourceExt as _;

use super::*;

fn object(value: Value) -> DynamicObject {
    serde_json::from_value(value).unwrap()
}

fn config(version: &str) -> DynamicObject {
    object(json!({
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": "a", "uid": "a-uid", "resourceVersion": version, "labels": {"a": "b"}},
        "data": {"value": "x"},
    }))
}

fn record(of: &DynamicObject) -> Record {
    let (key, print) = ("a".to_owned(), "print".to_owned());
    Record { key, version: ChildVersion::of(of), delivered: None, print, conflict_tracker: ConflictTracker::default() }
}

#[test]
fn only_what_is_missing_changed_or_unknown_costs_a_request() {
    let written = record(&config("7"));
    let mut going = config("9");
    going.metadata.deletion_timestamp = serde_json::from_value(json!("2026-11-23T09:00:00Z")).unwrap();
    let table = [
        ("nothing stands", "print", None, Some(&written), ApplyAction::Create),
        ("it is as it was written", "print", Some(config("7")), Some(&written), ApplyAction::Keep),
        ("the answer changed", "other", Some(config("7")), Some(&written), ApplyAction::Apply),
        ("somebody wrote", "print", Some(config("8")), Some(&written), ApplyAction::Compare),
        ("a backup was restored", "print", Some(config("6")), Some(&written), ApplyAction::Compare),
        ("after a restart", "print", Some(config("7")), None, ApplyAction::Compare),
        ("it is going", "other", Some(going), Some(&written), ApplyAction::Await),
    ];
    for (what, print, live, record, action) in table {
        assert_eq!(decide(print, live.as_ref(), record), action, "{what}");
    }
}

/// Otherwise a plugin whose answer differs each time would be called again for each of its own writes; or nothing would
/// be repaired after a restored backup until the versions have caught up, which may take weeks.
#[test]
fn only_a_version_that_is_newer_or_was_restored_is_drift() {
    let hears = |versions: &[&str]| {
        let mut record = record(&config("100"));
        let hear = |version: &&str| record.deliver(&ChildVersion::of(&config(version)));
        versions.iter().map(hear).collect::<Vec<_>>()
    };
    assert_eq!(hears(&["98", "99", "100"]), [false, false, false], "events from before the write, and its own");
    assert_eq!(hears(&["100", "101"]), [false, true], "somebody else writes");
    assert_eq!(hears(&["100", "70"]), [false, true], "a backup was restored");
    assert_eq!(hears(&["98", "70"]), [false, true], "… before the watch delivered the write");
}

#[test]
fn only_changes_of_content_count_as_differences() {
    let live = config("7");
    let but = |pointer: &str, field: &str, value: Value| {
        let mut applied = json!(live);
        applied.pointer_mut(pointer).unwrap()[field] = value;
        differs(&live, &object(applied))
    };
    assert!(!but("/metadata", "resourceVersion", json!("8")));
    assert!(!but("/metadata", "generation", json!(3)));
    assert!(!but("/metadata", "managedFields", json!([{"manager": "us"}])));
    assert!(!but("", "status", json!({"phase": "Ready"})));
    assert!(but("/metadata/labels", "a", json!("c")));
    assert!(but("/metadata", "ownerReferences", json!([{"apiVersion": "v1", "kind": "Pod", "name": "a", "uid": "b"}])));
    assert!(but("/data", "value", json!("y")));
    assert!(but("", "immutable", json!(true)));
}

fn managed(entries: &[(&str, &str, Value)]) -> DynamicObject {
    let mut child = json!(config("7"));
    let entries: Vec<Value> = entries
        .iter()
        .map(|(manager, time, fields)| json!({"manager": manager, "time": time, "operation": "Update", "fieldsV1": fields}))
        .collect();
    child["metadata"]["managedFields"] = json!(entries);
    object(child)
}

#[test]
fn the_other_manager_is_the_latest_who_owns_a_field_that_we_set() {
    let (early, late) = ("2026-11-23T09:00:00Z", "2026-11-23T10:00:00Z");
    let manifest = json!({
        "metadata": {"labels": {"ours": "1"}, "annotations": {}},
        "data": {"value": "x"},
        "spec": {"ports": [{"port": 1}]},
    });
    let value = || json!({"f:data": {"f:value": {}}});
    let elsewhere = json!({"f:data": {".": {}, "f:other": {}}, "f:metadata": {"f:annotations": {".": {}, "f:a": {}}}});
    let label = json!({"f:metadata": {"f:labels": {".": {}, "f:ours": {}}}});
    let ports = json!({"f:spec": {"f:ports": {"k:{\"port\":1}": {"f:name": {}}}}});
    let table = [
        ("one", vec![("sync", early, value())], Some("sync")),
        ("the latest", vec![("new", late, value()), ("old", early, value())], Some("new")),
        ("not us", vec![("us", late, value()), ("old", early, value())], Some("old")),
        ("not of other fields", vec![("annotator", late, elsewhere)], None),
        ("a label", vec![("labeller", late, label)], Some("labeller")),
        ("in a list", vec![("porter", late, ports)], Some("porter")),
        ("nobody", vec![], None),
    ];
    for (what, entries, expected) in table {
        assert_eq!(other_manager(&managed(&entries), &manifest, "us").as_deref(), expected, "{what}");
    }
    assert_eq!(config("7").name_any(), "a");
}

const SECOND: Duration = Duration::from_secs(1);

/// Returns a drift loop that has just started, and its start time.
fn fighting() -> (ConflictTracker, Instant) {
    let (mut conflict_tracker, mut now) = (ConflictTracker::default(), Instant::now());
    for _ in 0..=MOST_REPAIRS {
        assert_eq!(conflict_tracker.wait(now), None);
        now += SECOND;
        conflict_tracker.repaired(Some("rival".to_owned()), now);
    }
    (conflict_tracker, now)
}

#[test]
fn more_than_ten_repairs_in_ten_minutes_are_a_drift_loop() {
    for (repairs, apart, is_fight) in [(10, SECOND, false), (11, SECOND, true), (40, Duration::from_secs(61), false)] {
        let (mut conflict_tracker, mut now) = (ConflictTracker::default(), Instant::now());
        for _ in 0..repairs {
            now += apart;
            conflict_tracker.repaired(None, now);
        }
        assert_eq!(conflict_tracker.drift_loop("a", now).is_some(), is_fight, "{repairs} repairs each {apart:?}");
        assert!(conflict_tracker.repairs.len() <= MOST_REPAIRS + 1);
    }
}

#[test]
fn repairs_in_a_fight_wait_ever_longer() {
    let (mut conflict_tracker, mut now) = fighting();
    let mut waits = Vec::new();
    for _ in 0..12 {
        let wait = conflict_tracker.wait(now).unwrap();
        waits.push(wait.as_secs());
        now += wait;
        assert_eq!(conflict_tracker.wait(now), None);
        conflict_tracker.repaired(None, now);
    }
    assert_eq!(waits, [1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 600, 600]);
    assert!(conflict_tracker.drift_loop("a", now).is_some(), "they are fewer than 10 in 10 minutes by now");
}

#[test]
fn a_fight_is_over_when_the_child_is_left_alone_for_a_minute() {
    let (mut conflict_tracker, now) = fighting();
    conflict_tracker.found_unchanged(now + 59 * SECOND);
    assert!(conflict_tracker.drift_loop("a", now).is_some());
    conflict_tracker.found_unchanged(now + 60 * SECOND);
    assert!(conflict_tracker.drift_loop("a", now).is_none());
    assert_eq!(conflict_tracker.wait(now), None);
}

#[test]
fn the_rival_is_named_even_if_the_last_change_was_a_deletion() {
    let (mut conflict_tracker, now) = fighting();
    conflict_tracker.repaired(None, now);
    let DriftLoop { message, requeue_after } = conflict_tracker.drift_loop("ConfigMap a", now).unwrap();
    let expected = "ConfigMap a was repaired more than 10 times in 10 minutes: the field manager \"rival\" keeps \
                    changing it";
    assert_eq!((message.as_str(), requeue_after), (expected, STABLE_AFTER));
}
