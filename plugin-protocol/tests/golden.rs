//! The golden files, which plugins in other languages are tested with, too.
#![expect(clippy::unwrap_used, reason = "a test should panic where it fails")]

use dask_plugin_protocol::{
    Child, Discovery, PluginResponse, ReviewRequest, ReviewResponse, StatusInDigest, digest_of,
};
use serde_json::{Value, json};

const REQUEST: &str = include_str!("golden/sync_request.json");
const RESPONSE: &str = include_str!("golden/sync_response.json");
const DISCOVERY: &str = include_str!("golden/discovery.json");

fn value(text: &str) -> Value {
    serde_json::from_str(text).unwrap()
}

fn request() -> ReviewRequest {
    serde_json::from_str(REQUEST).unwrap()
}

#[test]
fn a_request_keeps_every_field_when_it_is_read_and_written() {
    assert_eq!(serde_json::to_value(request()).unwrap(), value(REQUEST));
}

#[test]
fn a_success_equals_the_golden_response() {
    let ingress = json!({"apiVersion": "networking.k8s.io/v1", "kind": "Ingress", "spec": {}});
    let answer = PluginResponse::success(&request().request, vec![Child::new("ingress", ingress)]);
    assert_eq!(serde_json::to_value(ReviewResponse::new(answer)).unwrap(), value(RESPONSE));
}

#[test]
fn discovery_equals_the_golden_file() {
    assert_eq!(serde_json::to_value(Discovery::new("ingress", "1.2.0")).unwrap(), value(DISCOVERY));
}

#[test]
fn an_old_plugin_reads_the_request_of_a_newer_controller() {
    let mut newer = value(REQUEST);
    newer["request"]["somethingNew"] = json!({"a": 1});
    newer["request"]["event"]["reason"] = json!("SomethingNew");
    assert!(serde_json::from_value::<ReviewRequest>(newer).is_ok());
}

#[test]
fn the_error_for_a_misspelt_field_in_a_response_names_it() {
    let mut answer = value(RESPONSE);
    let children = answer["response"]["children"].take();
    answer["response"]["childen"] = children;
    let error = serde_json::from_value::<ReviewResponse>(answer).unwrap_err().to_string();
    assert!(error.contains("childen"), "{error}");
}

#[test]
fn a_response_of_another_kind_or_version_is_an_error() {
    for (field, foreign) in [("kind", "AdmissionReview"), ("apiVersion", "plugin.kubernetes.dask.org/v9")] {
        let mut answer = value(RESPONSE);
        answer[field] = json!(foreign);
        assert!(serde_json::from_value::<ReviewResponse>(answer).is_err(), "{foreign}");
    }
}

#[test]
fn absent_and_null_children_differ_from_an_empty_list() {
    for (children, expected) in [(None, None), (Some(json!(null)), None), (Some(json!([])), Some(0))] {
        let mut answer = value(RESPONSE);
        answer["response"].as_object_mut().unwrap().remove("children");
        if let Some(children) = children {
            answer["response"]["children"] = children;
        }
        let answer: ReviewResponse = serde_json::from_value(answer).unwrap();
        assert_eq!(answer.response.children.map(|list| list.len()), expected);
    }
}

/// The digest is part of the protocol. If it changed, every running plugin would lose its cached responses.
#[test]
fn the_digest_of_the_golden_request_never_changes() {
    let digest = digest_of(&request().request, StatusInDigest::Ignored).unwrap();
    assert_eq!(digest, include_str!("golden/sync_request.digest").trim());
}

#[test]
fn the_digest_ignores_only_fields_that_change_without_an_edit() {
    let digest = |edit: &dyn Fn(&mut Value)| {
        let mut review = value(REQUEST);
        edit(&mut review["request"]);
        let review: ReviewRequest = serde_json::from_value(review).unwrap();
        digest_of(&review.request, StatusInDigest::Ignored).unwrap()
    };
    let original = digest(&|_| {});
    for pointer in ["/subject/object/metadata/resourceVersion", "/owner/object/metadata/resourceVersion", "/event/time"]
    {
        assert_eq!(digest(&|request| *request.pointer_mut(pointer).unwrap() = json!("9")), original, "{pointer}");
    }
    assert_eq!(digest(&|request| request["subject"]["object"]["status"] = json!({"x": 1})), original);
    assert_eq!(digest(&|request| request["attempt"] = json!(7)), original);
    for pointer in ["/subject/object/metadata/name", "/owner/object/metadata/name", "/plugin/settings"] {
        assert_ne!(digest(&|request| *request.pointer_mut(pointer).unwrap() = json!("9")), original, "{pointer}");
    }
    let with_child = digest(&|request| request["observed"]["children"]["ingress"] = json!({"object": {"spec": {}}}));
    assert_ne!(with_child, original);
}

#[test]
fn a_change_of_the_status_changes_the_digest_only_if_it_is_included() {
    let mut changed = request();
    changed.request.subject.object["status"] = json!({"loadBalancer": {"ingress": [{"ip": "198.51.100.7"}]}});
    let digests =
        |status| (digest_of(&request().request, status).unwrap(), digest_of(&changed.request, status).unwrap());
    let (before, after) = digests(StatusInDigest::Included);
    assert_ne!(before, after);
    let (before, after) = digests(StatusInDigest::Ignored);
    assert_eq!(before, after);
}

/// Applies a JSON merge patch (RFC 7396).
fn merge(target: &mut Value, patch: &Value) {
    let Value::Object(patch) = patch else {
        *target = patch.clone();
        return;
    };
    if !target.is_object() {
        *target = json!({});
    }
    for (name, value) in patch {
        let fields = target.as_object_mut().unwrap();
        if value.is_null() {
            fields.remove(name);
        } else {
            merge(fields.entry(name).or_insert(Value::Null), value);
        }
    }
}

/// Plugins in other languages compute the same digests.
#[test]
fn the_golden_digests_are_those_of_this_crate() {
    for case in value(include_str!("golden/digests.json"))["cases"].as_array().unwrap() {
        let mut review = value(REQUEST);
        merge(&mut review, &case["merge"]);
        let review: ReviewRequest = serde_json::from_value(review).unwrap();
        let status = if case["status"] == "Included" { StatusInDigest::Included } else { StatusInDigest::Ignored };
        assert_eq!(digest_of(&review.request, status).unwrap(), case["digest"].as_str().unwrap(), "{}", case["name"]);
    }
}
