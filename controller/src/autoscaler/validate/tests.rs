//! Tests of the validation of autoscalers.

use serde_json::{Value, json};

use super::*;
use crate::autoscaler::survey::survey;
use crate::test_fixtures::{mk_cluster, mk_group};

fn mk_autoscaler(name: &str, created: &str, spec: &Value) -> DaskAutoscaler {
    let mut full = json!({"cluster": "demo", "minimum": 1, "maximum": 5});
    full.as_object_mut().unwrap().extend(spec.as_object().unwrap().clone());
    serde_json::from_value(json!({
        "apiVersion": "kubernetes.dask.org/v1",
        "kind": "DaskAutoscaler",
        "metadata": {"name": name, "namespace": "ns", "uid": name, "creationTimestamp": created},
        "spec": full,
    }))
    .unwrap()
}

fn plain() -> DaskAutoscaler {
    mk_autoscaler("demo", "2026-01-01T00:00:00Z", &json!({}))
}

fn owned(mut autoscaler: DaskAutoscaler, kind: &str, uid: &str) -> DaskAutoscaler {
    let api_version = if kind == "DaskCluster" { "kubernetes.dask.org/v1" } else { "v1" };
    let owner = json!([{"apiVersion": api_version, "kind": kind, "name": "demo", "uid": uid, "controller": true}]);
    autoscaler.metadata.owner_references = serde_json::from_value(owner).unwrap();
    autoscaler
}

fn observed(group: &str, autoscalers: &[&DaskAutoscaler]) -> Observed {
    let cluster = mk_cluster("demo");
    let all: Vec<_> = autoscalers.iter().map(|one| Arc::new(DaskAutoscaler::clone(one))).collect();
    Observed {
        survey: Arc::new(survey(Some(&cluster), &all)),
        cluster: Some(Arc::new(cluster)),
        group: Some(Arc::new(mk_group(group, "demo"))),
        scheduler_ready: true,
        scheduler_starting: false,
    }
}

fn reason(autoscaler: &DaskAutoscaler, observed: &Observed) -> &'static str {
    validate(autoscaler, observed).map_or_else(|invalid| invalid.reason, |_| "Valid")
}

#[test]
fn the_rules_come_from_the_spec() {
    let windows = json!({"scaleUp": {"stabilizationWindowSeconds": 60}, "scaleDown": {}});
    let mut autoscaler = mk_autoscaler("demo", "2026-01-01T00:00:00Z", &json!({"behavior": windows}));
    autoscaler.annotations_mut().insert(COOL_DOWN_UNTIL.to_owned(), "1700000000.25".to_owned());
    let valid = validate(&autoscaler, &observed("demo-default", &[&autoscaler])).unwrap();
    let expected = Rules {
        minimum: 1,
        maximum: 5,
        up: SignedDuration::from_mins(1),
        down: SignedDuration::ZERO,
        cool_down_until: Some(1_700_000_000.25),
    };
    assert_eq!(valid.rules, expected);
}

#[test]
fn the_group_is_the_default_one_unless_the_spec_names_another() {
    assert_eq!(group_name(&plain()), "demo-default");
    let other = mk_autoscaler("demo", "2026-01-01T00:00:00Z", &json!({"workerGroup": "demo-gpu"}));
    assert_eq!(group_name(&other), "demo-gpu");
}

/// dask-kubernetes' CRD accepts such bounds.
#[test]
fn bounds_that_contradict_each_other_are_refused() {
    for (bounds, expected) in [
        (json!({"minimum": 6}), "InvalidBounds"),
        (json!({"minimum": -1}), "InvalidBounds"),
        (json!({"minimum": -2, "maximum": -1}), "InvalidBounds"),
        (json!({"minimum": 5}), "Valid"),
        (json!({"minimum": 0, "maximum": 0}), "Valid"),
    ] {
        let autoscaler = mk_autoscaler("demo", "2026-01-01T00:00:00Z", &bounds);
        assert_eq!(reason(&autoscaler, &observed("demo-default", &[&autoscaler])), expected, "{bounds}");
    }
}

#[test]
fn without_its_cluster_or_group_it_waits() {
    let deleted = Some(k8s_openapi::apimachinery::pkg::apis::meta::v1::Time(jiff::Timestamp::UNIX_EPOCH));
    let without = |change: fn(&mut Observed)| {
        let mut observed = observed("demo-default", &[]);
        change(&mut observed);
        reason(&plain(), &observed)
    };
    assert_eq!(without(|_| {}), "Valid");
    assert_eq!(without(|observed| observed.cluster = None), "ClusterNotFound");
    assert_eq!(without(|observed| observed.group = None), "GroupNotFound");
    assert_eq!(without(|observed| observed.group = Some(Arc::new(mk_group("demo-default", "other")))), "GroupNotFound");
    let mut leaving = observed("demo-default", &[]);
    Arc::make_mut(leaving.cluster.as_mut().unwrap()).metadata.deletion_timestamp = deleted;
    assert_eq!(reason(&plain(), &leaving), "ClusterNotFound");
    assert!(adoption(&plain(), leaving.cluster.as_deref()).is_none());
}

#[test]
fn it_is_put_under_its_cluster_if_nothing_controls_it() {
    let cluster = mk_cluster("demo");
    assert_eq!(adoption(&plain(), Some(&cluster)).unwrap().uid, "cluster-uid");
    assert!(adoption(&owned(plain(), "ConfigMap", "a"), Some(&cluster)).is_none());
    assert!(adoption(&plain(), None).is_none());
}

/// It would scale the new cluster by the old one's rules, and could be deleted at any moment.
#[test]
fn one_of_an_older_cluster_of_the_same_name_does_nothing() {
    let autoscaler = owned(plain(), "DaskCluster", "older");
    assert_eq!(reason(&autoscaler, &observed("demo-default", &[&autoscaler])), "WaitingForDeletion");
    let ours = owned(plain(), "DaskCluster", "cluster-uid");
    assert_eq!(reason(&ours, &observed("demo-default", &[&ours])), "Valid");
}

#[test]
fn the_younger_of_two_is_refused() {
    let elder = mk_autoscaler("z", "2026-01-01T00:00:00Z", &json!({}));
    let younger = mk_autoscaler("a", "2026-01-01T00:00:01Z", &json!({"workerGroup": "demo-default"}));
    let twin = mk_autoscaler("b", "2026-01-01T00:00:01Z", &json!({}));
    let all = observed("demo-default", &[&elder, &younger, &twin]);
    assert_eq!(reason(&elder, &all), "Valid");
    let refused = validate(&younger, &all).unwrap_err();
    assert_eq!(refused.reason, "AlreadyAutoscaled");
    assert!(refused.message.contains("DaskAutoscaler z "), "{}", refused.message);

    let without_elder = observed("demo-default", &[&younger, &twin]);
    assert_eq!(reason(&younger, &without_elder), "Valid");
    assert_eq!(reason(&twin, &without_elder), "AlreadyAutoscaled", "of the same age, names decide");
}

#[test]
fn an_elder_that_scales_nothing_here_is_in_nobodys_way() {
    let young = mk_autoscaler("young", "2026-02-01T00:00:00Z", &json!({}));
    let old = |spec: Value| mk_autoscaler("old", "2026-01-01T00:00:00Z", &spec);
    let mut leaving = old(json!({}));
    leaving.metadata.deletion_timestamp = leaving.metadata.creation_timestamp.clone();
    let elders = [
        old(json!({"workerGroup": "demo-gpu"})),
        old(json!({"minimum": 9})),
        owned(old(json!({})), "DaskCluster", "older"),
        leaving,
    ];
    for elder in elders {
        assert_eq!(reason(&young, &observed("demo-default", &[&elder, &young])), "Valid", "{elder:?}");
    }
}
