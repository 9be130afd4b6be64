//! Which specs have the same canonical form, and which have not.

use super::*;
use crate::{PodSpec, ServiceSpec, testing::Spelling};

fn form(pod: &Value) -> Value {
    canonical_pod_spec(&serde_json::from_value::<PodSpec>(pod.clone()).unwrap())
}

fn service(spec: Value) -> Value {
    canonical_service_spec(&serde_json::from_value::<ServiceSpec>(spec).unwrap())
}

#[test]
fn specs_of_the_same_meaning_have_one_form() {
    let spellings = Spelling::all();
    for Spelling { of, pods } in spellings.equal.iter().chain(&spellings.alike) {
        for pod in pods {
            assert_eq!(form(pod), form(&pods[0]), "{of}: {pod}");
        }
    }
}

#[test]
fn specs_of_another_meaning_have_other_forms() {
    for Spelling { of, pods } in Spelling::all().different {
        for (index, pod) in pods.iter().enumerate() {
            for other in &pods[..index] {
                assert_ne!(form(pod), form(other), "{of}: {pod} and {other}");
            }
        }
    }
}

#[test]
fn fields_that_nobody_knows_yet_are_compared_as_they_are() {
    let pod = |future: Value| form(&json!({"containers": [{"name": "a", "future": future}], "future": {"a": []}}));
    assert_ne!(pod(json!("1000m")), pod(json!("1")));
    assert_ne!(pod(json!("")), pod(json!("x")));
    assert_eq!(pod(json!(null)), form(&json!({"containers": [{"name": "a"}], "future": {"a": []}})));
}

#[test]
fn values_of_a_wrong_type_are_compared_as_they_are() {
    for wrong in [json!({"containers": 1}), json!({"containers": [1, null, "x"]}), json!({"volumes": {"a": 1}})] {
        assert_eq!(form(&wrong), wrong);
    }
    assert_eq!(
        form(&json!({"containers": [{"resources": "x", "env": {"A": "b"}}]})),
        json!({"containers": [{"resources": "x", "env": {"A": "b"}}]})
    );
}

#[test]
fn a_form_is_its_own_form() {
    let spellings = Spelling::all();
    for Spelling { pods, .. } in spellings.equal.iter().chain(&spellings.different) {
        for pod in pods {
            assert_eq!(form(&form(pod)), form(pod), "{pod}");
        }
    }
}

#[test]
fn services_are_compared_by_what_they_mean() {
    let short = service(json!({"ports": [{"port": 8786}], "selector": {"a": "b"}}));
    let long = json!({
        "type": "ClusterIP", "sessionAffinity": "None", "internalTrafficPolicy": "Cluster", "externalIPs": [],
        "clusterIP": "", "publishNotReadyAddresses": false, "selector": {"a": "b"},
        "ports": [{"protocol": "TCP", "port": 8786, "targetPort": 8786, "nodePort": 0}],
    });
    assert_eq!(service(long), short);
    for other in [
        json!({"ports": [{"port": 8786}], "selector": {"a": "c"}}),
        json!({"ports": [{"port": 8786, "targetPort": "tcp-comm"}], "selector": {"a": "b"}}),
        json!({"ports": [{"port": 8786}], "selector": {"a": "b"}, "clusterIP": "None"}),
        json!({"ports": [{"port": 8786}], "selector": {"a": "b"}, "type": "NodePort"}),
    ] {
        assert_ne!(service(other.clone()), short, "{other}");
    }
}
