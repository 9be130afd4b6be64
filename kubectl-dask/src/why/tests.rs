//! The table of broken clusters: their objects as the API server has them, and the first line that explains each.
//!
//! A case of `testdata/*.yaml` has the expected `kind` and `line`, and the objects: `from` names states of the controller's
//! own tables, which `docs/argo-cd` has as files; `objects` are further ones; `pods` and `group` are short for whole
//! objects, `plugins` for the cluster's `status.plugins`, and `annotations` are those of the cluster.

use std::{collections::BTreeSet, fs, path::Path};

use serde_json::{Map, Value, json};

use super::*;
use crate::json::text;

pub(super) fn cases() -> Vec<Value> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata");
    let files = ["cluster.yaml", "scheduler.yaml", "workers.yaml"];
    let read = |file| -> Vec<Value> { serde_saphyr::from_str(&fs::read_to_string(root.join(file)).unwrap()).unwrap() };
    files.into_iter().flat_map(read).collect()
}

/// Returns a state of the controller's tables.
fn state(name: &str) -> Value {
    let (kind, state) = name.split_once('/').unwrap();
    let root =
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/argo-cd/resource_customizations/kubernetes.dask.org");
    let path = root.join(kind).join("testdata").join(format!("{state}.yaml"));
    let text = fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    serde_saphyr::from_str(&text).unwrap()
}

/// Returns a pod with one container, and the conditions and state that the short form describes.
fn pod(short: &Value) -> Value {
    let component = text(short, "/component");
    let mut labels = json!({"dask.org/cluster-name": "demo", "dask.org/component": component});
    if component == "worker" {
        labels["dask.org/workergroup-name"] = json!("demo-default");
    }
    let mut status = json!({"name": component, "image": short["image"], "restartCount": short["restarts"]});
    let waiting = text(short, "/waiting");
    let running = short["running"] == true || short["ready"] == true;
    status["state"] = match (waiting.is_empty(), running) {
        (false, _) => json!({"waiting": {"reason": waiting, "message": short["message"]}}),
        (true, true) => json!({"running": {}}),
        (true, false) => json!({"terminated": short["terminated"]}),
    };
    status["lastState"] = json!({"terminated": short["last"]});
    let mut conditions =
        vec![json!({"type": "Ready", "status": if short["ready"] == true { "True" } else { "False" }})];
    let (mut statuses, mut gates) = (json!([status]), json!(null));
    if let Some(message) = short["unschedulable"].as_str() {
        conditions
            .push(json!({"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": message}));
        statuses = json!([]);
    }
    if let Some(gate) = short["gated"].as_str() {
        conditions.push(json!({"type": "PodScheduled", "status": "False", "reason": "SchedulingGated"}));
        statuses = json!([]);
        gates = json!([{"name": gate}]);
    }
    let resources = json!({"requests": short["requests"], "limits": short["limits"]});
    let volumes =
        short["claim"].as_str().map(|claim| json!([{"name": "v", "persistentVolumeClaim": {"claimName": claim}}]));
    json!({
        "kind": "Pod",
        "metadata": {"name": format!("demo-{component}-pod"), "labels": labels},
        "spec": {"containers": [{"name": component, "resources": resources}], "volumes": volumes, "schedulingGates": gates},
        "status": {"conditions": conditions, "containerStatuses": statuses},
    })
}

/// Returns the default group, with two workers that run and are not registered.
fn group(short: &Value) -> Value {
    let available = json!({
        "type": "Available", "status": "False", "reason": "Connecting", "message": "not all workers are registered",
        "lastTransitionTime": short["since"],
    });
    json!({
        "kind": "DaskWorkerGroup", "metadata": {"name": "demo-default"},
        "spec": {"cluster": "demo", "worker": {"replicas": 2, "spec": {"containers": [
            {"name": "worker", "image": short["image"], "args": short["args"]},
        ]}}},
        "status": {"readyReplicas": 2, "connectedReplicas": 0, "conditions": [available]},
    })
}

pub(super) fn snapshot(case: &Value) -> Snapshot {
    let now = "2026-11-23T09:00:00Z".parse().unwrap();
    let mut seen = Snapshot { now, namespace: "ns".to_owned(), name: "demo".to_owned(), ..Snapshot::default() };
    let values = |field: &str| case[field].as_array().cloned().unwrap_or_default();
    let states = values("from").into_iter().map(|name| state(name.as_str().unwrap()));
    let short = values("pods").iter().map(pod).collect::<Vec<_>>();
    let groups = case.get("group").map(group);
    for mut object in states.chain(values("objects")).chain(short).chain(groups) {
        match object["kind"].as_str().unwrap() {
            "DaskCluster" => {
                if let Some(plugins) = case.get("plugins") {
                    object["status"]["plugins"] = plugins.clone();
                }
                if let Some(annotations) = case.get("annotations") {
                    object["metadata"]["annotations"] = annotations.clone();
                }
                seen.cluster = Some(object);
            }
            "DaskJob" => seen.job = Some(object),
            "DaskWorkerGroup" => seen.groups.push(object),
            "DaskAutoscaler" => seen.autoscalers.push(object),
            "DaskOperatorPlugin" => seen.plugins.push(object),
            "Namespace" => seen.namespace_object = Some(object),
            "Pod" => seen.pods.push(object),
            "Deployment" => seen.deployments.push(object),
            "PersistentVolumeClaim" => seen.claims.push(object),
            "ResourceQuota" => seen.quotas.push(object),
            "Event" => seen.events.push(object),
            other => panic!("no list for {other}"),
        }
    }
    seen
}

#[test]
fn each_broken_cluster_is_explained_by_its_cause() {
    let mut wrong = Vec::new();
    for case in cases() {
        let found = diagnose(&snapshot(&case));
        if (found.kind, found.cause.as_str()) != (text(&case, "/kind"), text(&case, "/line")) {
            wrong.push(format!(
                "expected {}: {}\n   found {}: {}",
                text(&case, "/kind"),
                text(&case, "/line"),
                found.kind,
                found.cause
            ));
        }
    }
    assert!(wrong.is_empty(), "{} are wrong:\n{}", wrong.len(), wrong.join("\n"));
}

#[test]
fn at_least_forty_causes_are_told_apart_and_what_is_broken_has_something_to_do() {
    let cases = cases();
    let kinds: BTreeSet<&str> = cases.iter().map(|case| text(case, "/kind")).collect();
    assert!(kinds.len() >= 40, "{} kinds: {kinds:?}", kinds.len());
    for case in &cases {
        let found = diagnose(&snapshot(case));
        assert!(found.health != Health::Broken || !found.action.is_empty(), "{found:?}");
        assert!(!found.cause.contains('\n'), "{found:?}");
    }
}

/// Users may lack any right, and objects may have any form.
#[test]
fn nothing_that_is_missing_or_malformed_makes_it_fail() {
    for case in cases() {
        let whole = snapshot(&case);
        for field in 0..6 {
            let mut part = snapshot(&case);
            match field {
                0 => part.cluster = None,
                1 => part.pods.clear(),
                2 => part.groups.clear(),
                3 => part.events.clear(),
                4 => part.plugins.clear(),
                _ => part.cluster = Some(Value::Object(Map::new())),
            }
            let found = diagnose(&part);
            assert!(!found.cause.is_empty(), "{} without part {field}", whole.name);
        }
    }
}
