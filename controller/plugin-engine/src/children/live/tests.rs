//! Tests of how the children of a subject are read and recognized.

use dask_operator_api::testing::mk_resource;
use serde_json::json;

use super::*;

const CLAIM: Ownership<'_> = Ownership { plugin: "echo", subject_uid: "subject", owner_uid: "owner" };

fn known(name: &str) -> ChildRef {
    let resource = mk_resource("v1", "ConfigMap");
    ChildRef { resource, name: name.to_owned(), uid: format!("{name}-uid"), key: name.to_owned() }
}

/// Returns a child as the API server sends it.
fn child(name: &str, data: &Value) -> Value {
    json!({
        "apiVersion": "v1", "kind": "ConfigMap", "data": data,
        "metadata": {
            "name": name, "namespace": "ns", "uid": format!("{name}-uid"),
            "labels": {
                "plugin.kubernetes.dask.org/plugin": "echo",
                "plugin.kubernetes.dask.org/subject-uid": "subject",
                "plugin.kubernetes.dask.org/key": name,
            },
            "ownerReferences": [{"apiVersion": "kubernetes.dask.org/v1", "kind": "DaskCluster", "name": "demo",
                "uid": "owner", "controller": true}],
            "managedFields": [{"manager": "dask-operator/echo", "operation": "Apply", "fieldsV1": {}}],
        },
    })
}

fn read(objects: &[Value]) -> Live {
    let mut live = Live::default();
    for object in objects {
        let name = object["metadata"]["name"].as_str().unwrap();
        let name = ObjectName { resource: mk_resource("v1", "ConfigMap"), name: name.to_owned() };
        live.add(name, &object.to_string()).unwrap();
    }
    live
}

/// As trees, a hundred of these would take gigabytes.
#[test]
fn children_are_read_up_to_a_total_size_and_the_rest_is_reported() {
    let bomb = json!(vec![json!({"a": 0}); 15_000]);
    let objects: Vec<Value> = (0..100).map(|number| child(&format!("x{number}"), &bomb)).collect();
    let live = read(&objects);
    assert_eq!(live.objects.len(), 100);
    let nodes: usize = live.objects.values().map(|object| json_measure::measure_value(&object.data).nodes).sum();
    assert!(nodes <= CONTENTS.nodes, "{nodes}");
    assert_eq!((by_key(&live).len(), live.without_content), (1, 99));
    assert!(live.confirms(&known("x99"), CLAIM), "who wrote it is known without the content");
    let omitted_problem = live.omitted().unwrap();
    assert_eq!(omitted_problem.reason, "ChildrenNotShown");
    assert!(omitted_problem.message.starts_with("99 objects"), "{}", omitted_problem.message);
}

#[test]
fn children_that_fit_are_shown_completely() {
    let live = read(&[child("a", &json!({"x": "y"})), child("b", &json!({}))]);
    assert_eq!(by_key(&live).keys().collect::<Vec<_>>(), ["a", "b"]);
    assert!(live.omitted().is_none());
}

/// Another client created the first one, and took over the second one.
#[test]
fn only_an_object_that_this_program_applied_and_still_controls_is_a_child() {
    let mut forged = child("forged", &json!({}));
    forged["metadata"]["managedFields"] = json!([{"manager": "kubectl-create", "operation": "Update"}]);
    let mut taken = child("taken", &json!({}));
    taken["metadata"]["labels"] = json!({});
    taken["metadata"]["ownerReferences"] = json!([]);
    let live = read(&[child("ours", &json!({})), forged, taken]);
    let confirmed = |name| live.confirms(&known(name), CLAIM);
    assert_eq!(
        [confirmed("ours"), confirmed("forged"), confirmed("taken"), confirmed("gone")],
        [true, false, false, false]
    );
}
