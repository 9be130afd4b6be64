//! Tests of reading objects as the API server sends them.

use k8s_openapi::api::{
    apps::v1::Deployment,
    core::v1::{ConfigMap, Service},
};
use kube::core::{ObjectList, WatchEvent};
use serde_json::{Value, json};

use super::*;

fn deployment(spec: &Value) -> Value {
    json!({
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "bad", "namespace": "ns", "uid": "u", "resourceVersion": "7"},
        "spec": spec,
    })
}

/// Returns the reason why an object cannot be read. Asserts that the message contains `expected`.
fn reason<K: DeserializeOwned>(text: &str, expected: &str) -> Option<&'static str> {
    match Received::<K>::parse(text) {
        Received::Readable { .. } => None,
        Received::Unreadable(unreadable) => {
            assert!(unreadable.message.contains(expected), "{}", unreadable.message);
            Some(unreadable.reason)
        }
    }
}

fn nested(levels: usize) -> String {
    format!("{}{}", "[".repeat(levels), "]".repeat(levels))
}

/// Returns the text of a Deployment whose spec has `field`.
fn with_field(field: &str) -> String {
    let spec = json!({"replicas": 1, "x": "HERE"});
    deployment(&spec).to_string().replace("\"HERE\"", field)
}

#[test]
fn an_object_that_does_not_parse_is_named_with_the_field() {
    let text = deployment(&json!({"replicas": "many"})).to_string();
    assert_eq!(reason::<Deployment>(&text, "spec.replicas: "), Some("InvalidField"));
    let Received::Unreadable(unreadable) = Received::<Deployment>::parse(&text) else { panic!() };
    let metadata = &unreadable.metadata;
    assert_eq!((metadata.name.as_deref(), metadata.namespace.as_deref()), (Some("bad"), Some("ns")));
    assert_eq!((metadata.uid.as_deref(), metadata.resource_version.as_deref()), (Some("u"), Some("7")));
}

#[test]
fn objects_that_are_too_large_for_memory_are_not_parsed() {
    let small_maps = format!("[{}]", vec![r#"{"a":0}"#; 30_000].join(","));
    let table = [
        (with_field(&nested(90)), None),
        (with_field(&nested(200)), Some("TooDeep")),
        (with_field(&nested(10_000)), Some("TooDeep")),
        (with_field(&small_maps), Some("TooManyValues")),
        (with_field(&format!("\"{}\"", "a".repeat(1_100_000))), Some("TooLarge")),
    ];
    for (text, expected) in table {
        assert_eq!(reason::<Deployment>(&text, "the object cannot be read"), expected, "{} bytes", text.len());
    }
}

/// An object that was once deep keeps deep `managedFields`. A user may create such an object of any kind.
#[test]
fn managers_are_known_and_their_fields_not_parsed_however_deep_they_are() {
    let deep = format!("{}{{}}{}", "{\"f:a\":".repeat(5_000), "}".repeat(5_000));
    let text = format!(
        r#"{{"metadata": {{"name": "a", "managedFields": [{{"manager": "m", "fieldsV1": {deep}}}], "labels": {{"a": "b"}}}},
            "spec": {{"ports": [{{"port": 1}}]}}}}"#
    );
    let Received::Readable { object, bytes } = Received::<Service>::parse(&text) else { panic!() };
    assert_eq!(object.metadata.labels.unwrap()["a"], "b");
    let managers = object.metadata.managed_fields.unwrap();
    assert_eq!((managers[0].manager.as_deref(), &managers[0].fields_v1), (Some("m"), &None));
    assert_eq!(object.spec.unwrap().ports.unwrap()[0].port, 1);
    assert!(bytes < 200, "{bytes}");
}

#[test]
fn a_status_that_cannot_be_read_counts_as_none() {
    let condition =
        |time: &str| json!({"type": "A", "status": "True", "reason": "R", "message": "", "lastTransitionTime": time});
    let statuses =
        [json!("Foo"), json!({"replicas": "many"}), json!({"conditions": [condition("2026-01-01T00:00:00+99:99")]})];
    for status in statuses {
        let mut deployment = deployment(&json!({"replicas": 1}));
        deployment["status"] = status;
        let Received::Readable { object, .. } = Received::<Deployment>::parse(&deployment.to_string()) else {
            panic!("{deployment}")
        };
        assert_eq!(object.status, None, "{deployment}");
    }
}

#[test]
fn the_conditions_of_an_unreadable_object_are_kept() {
    let mut object = deployment(&json!({"replicas": "many"}));
    let condition = |type_: &str, time: &str| json!({"type": type_, "status": "True", "reason": "R", "message": "", "lastTransitionTime": time});
    object["status"] = json!({"conditions": [
        condition("Kept", "2026-01-01T00:00:00Z"),
        condition("Odd", "2026-01-01T00:00:00+99:99"),
    ]});
    let Received::Unreadable(unreadable) = Received::<Deployment>::parse(&object.to_string()) else { panic!() };
    let types: Vec<&str> = unreadable.conditions.iter().map(|condition| condition.type_.as_str()).collect();
    assert_eq!(types, ["Kept"]);
}

/// kube parses a page of a list, or a watch event, as a whole.
#[test]
fn the_others_of_a_list_are_delivered_and_the_watch_goes_on() {
    let good = json!({"metadata": {"name": "good", "resourceVersion": "1"}, "data": {"a": "b"}}).to_string();
    let bad =
        format!(r#"{{"metadata": {{"name": "bad", "resourceVersion": "2"}}, "data": {{"a": {}}}}}"#, nested(9_000));
    let list = format!(
        r#"{{"apiVersion": "v1", "kind": "ConfigMapList", "metadata": {{"resourceVersion": "3"}}, "items": [{bad}, {good}]}}"#
    );
    let list: ObjectList<Unparsed<ConfigMap>> = serde_json::from_str(&list).unwrap();
    let seen: Vec<(Option<&str>, bool)> = list
        .iter()
        .map(|object| (object.meta().name.as_deref(), matches!(object.read(), Received::Readable { .. })))
        .collect();
    assert_eq!(seen, [(Some("bad"), false), (Some("good"), true)]);
    let event = format!(r#"{{"type": "MODIFIED", "object": {bad}}}"#);
    let WatchEvent::Modified(object) = serde_json::from_str::<WatchEvent<Unparsed<ConfigMap>>>(&event).unwrap() else {
        panic!()
    };
    assert_eq!(object.meta().resource_version.as_deref(), Some("2"));
}

#[test]
fn text_that_is_no_object_is_unreadable_and_nothing_else_happens() {
    for text in ["", "null", "[]", "7", "{\"metadata\": 3}", "{\"metadata\": {\"name\": 3}}", "{"] {
        assert!(matches!(Received::<ConfigMap>::parse(text), Received::Unreadable(_)), "{text}");
        if let Ok(object) = serde_json::from_str::<Unparsed<ConfigMap>>(text) {
            assert!(matches!(object.read(), Received::Unreadable(_)), "{text}");
        }
    }
}

#[test]
fn an_object_that_does_not_parse_says_what_its_deletion_waits_for() {
    let mut object = deployment(&json!({"replicas": "many"}));
    object["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:00:00Z");
    object["metadata"]["finalizers"] = json!(["example.org/mine"]);
    let Received::Unreadable(unreadable) = Received::<Deployment>::parse(&object.to_string()) else { panic!() };
    assert!(unreadable.metadata.deletion_timestamp.is_some());
    assert_eq!(unreadable.metadata.finalizers, Some(vec!["example.org/mine".to_owned()]));
}

/// Otherwise a user could fill memory with the records of unreadable objects.
#[test]
fn what_is_kept_of_an_unreadable_object_is_bounded() {
    let mut object = deployment(&json!({"replicas": "x".repeat(1 << 19)}));
    object["metadata"]["finalizers"] = json!(["example.org/a".repeat(10_000)]);
    let condition = json!({"type": "A", "status": "True", "reason": "R", "message": "m".repeat(1 << 17), "lastTransitionTime": "2026-01-01T00:00:00Z"});
    object["status"] = json!({"conditions": [condition]});
    let Received::Unreadable(unreadable) = Received::<Deployment>::parse(&object.to_string()) else { panic!() };
    assert!(unreadable.message.len() <= MESSAGE_BYTES && unreadable.message.starts_with("spec.replicas: "));
    assert_eq!((unreadable.metadata.finalizers, unreadable.conditions), (None, vec![]));
}
