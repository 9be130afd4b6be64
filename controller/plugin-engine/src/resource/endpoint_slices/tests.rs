//! Tests of how ready endpoints are counted.

use serde_json::{Value, json};

use super::*;

fn slice(namespace: &str, service: &str, endpoints: &Value) -> SliceView {
    let labels = json!({SERVICE_LABEL: service});
    let metadata = json!({"name": "any", "namespace": namespace, "labels": labels});
    serde_json::from_value(json!({"metadata": metadata, "endpoints": endpoints})).unwrap()
}

fn service(namespace: &str, name: &str) -> ServiceKey {
    ServiceKey { namespace: namespace.to_owned(), name: name.to_owned() }
}

fn set(members: &[&str]) -> HashSet<String> {
    members.iter().map(|member| (*member).to_owned()).collect()
}

#[test]
fn who_is_ready_is_known_by_uid_or_address() {
    let table = [
        (json!(null), set(&[])),
        (json!([]), set(&[])),
        (json!([{"addresses": ["10.0.0.1"]}]), set(&["10.0.0.1"])),
        (json!([{"addresses": ["10.0.0.1"], "conditions": {}}]), set(&["10.0.0.1"])),
        (json!([{"addresses": ["10.0.0.1"], "conditions": {"ready": false}}]), set(&[])),
        (
            json!([
                {"addresses": ["10.0.0.1"], "conditions": {"ready": true}, "targetRef": {"kind": "Pod", "uid": "u1"}},
                {"addresses": ["10.0.0.2"], "conditions": {"ready": false, "serving": true}, "targetRef": {"uid": "u2"}},
            ]),
            set(&["u1"]),
        ),
    ];
    for (endpoints, ready) in table {
        assert_eq!(slice("ns", "a", &endpoints).ready().collect::<HashSet<_>>(), ready, "{endpoints}");
    }
}

#[test]
fn only_a_new_endpoint_joins() {
    let mut members = Members::of(&[&slice("ns", "a", &json!([{"addresses": ["1"]}]))]);
    let a = service("ns", "a");
    let table: [(&[&str], bool); 9] = [
        (&["1"], false),
        (&["1", "2"], true),
        (&["1", "2"], false),
        (&["2"], false),
        (&["3"], true),
        (&[], false),
        // A restarted container is another process.
        (&["3"], true),
        (&["3", "4", "5"], true),
        (&["4"], false),
    ];
    for (step, (ready, joined)) in table.into_iter().enumerate() {
        assert_eq!(members.update(&a, set(ready)), joined, "step {step}: {ready:?}");
    }
}

/// Slices of a Service come and go, and endpoints move between them.
#[test]
fn only_the_slices_of_the_same_service_count_together() {
    let slices = [
        &slice("ns", "a", &json!([{"addresses": ["1"]}])),
        &slice("ns", "a", &json!([{"addresses": ["2"]}])),
        &slice("team", "a", &json!([{"addresses": ["3"]}])),
    ];
    let mut members = Members::of(&slices);
    assert!(!members.update(&service("ns", "a"), set(&["2", "1"])));
    assert!(members.update(&service("team", "a"), set(&["1"])));
}

#[test]
fn a_plugin_listens_behind_a_service_of_its_own_namespace_unless_it_names_another() {
    let plugin = |endpoint: Value| -> DaskOperatorPlugin {
        let metadata = json!({"name": "ingress", "namespace": "team"});
        let spec = json!({"endpoint": endpoint, "subjects": [], "children": []});
        serde_json::from_value(json!({
            "apiVersion": "kubernetes.dask.org/v1alpha1", "kind": "DaskOperatorPlugin", "metadata": metadata, "spec": spec,
        }))
        .unwrap()
    };
    let table = [
        (json!({"service": {"name": "a"}}), "team", true),
        (json!({"service": {"name": "a"}}), "other", false),
        (json!({"service": {"name": "b"}}), "team", false),
        (json!({"service": {"name": "a", "namespace": "other"}}), "other", true),
        (json!({"service": {"name": "a", "namespace": "other"}}), "team", false),
        (json!({"socket": "a"}), "team", false),
    ];
    for (endpoint, namespace, expected) in table {
        let found = listens_behind(&plugin(endpoint.clone()), &service(namespace, "a"));
        assert_eq!(found, expected, "{endpoint} in {namespace}");
    }
}
