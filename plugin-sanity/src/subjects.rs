//! Examples of subjects, as the controller creates them.

use dask_plugin_server::testing::{dask_cluster, scheduler_service};
use serde_json::{Value, json};

const CLUSTER: &str = "demo";
const NAMESPACE: &str = "team-a";

/// A subject and the Dask resource that owns its children.
pub(crate) type Pair = (Value, Value);

/// Returns the subjects that `spec.subjects` selects, or the scheduler's Service if there are no rules.
pub(crate) fn selected(rules: Option<&Vec<Value>>) -> Vec<Pair> {
    let Some(rules) = rules.filter(|rules| !rules.is_empty()) else { return vec![service()] };
    let mut selected: Vec<Pair> = Vec::new();
    for rule in rules {
        let is_selected = |(subject, _): &Pair| {
            let component = subject.pointer("/metadata/labels/dask.org~1component");
            subject["kind"] == rule["kind"] && (rule["component"].is_null() || Some(&rule["component"]) == component)
        };
        for pair in all().into_iter().filter(is_selected) {
            if !selected.contains(&pair) {
                selected.push(pair);
            }
        }
    }
    selected
}

/// Returns whether the object can own children.
pub(crate) fn is_dask_resource(object: &Value) -> bool {
    let group = object["apiVersion"].as_str().and_then(|version| version.split_once('/')).map(|(group, _)| group);
    group == Some("kubernetes.dask.org")
}

fn all() -> Vec<Pair> {
    let (cluster, group, job) = (cluster(), worker_group(), job());
    let autoscaler = dask("DaskAutoscaler", CLUSTER, &json!({"cluster": CLUSTER, "minimum": 1, "maximum": 10}));
    let own = [&cluster, &group, &job, &autoscaler].map(|resource| (resource.clone(), resource.clone()));
    let (scheduler, worker) = (labels("scheduler"), labels("worker"));
    let mut pairs = vec![
        service(),
        (deployment("demo-scheduler", &scheduler), cluster.clone()),
        (deployment("demo-default-worker-4f1c2a9b07", &worker), group.clone()),
        (pod("demo-scheduler-5d8f6c7b9d-x2x7k", &scheduler), cluster),
        (pod("demo-default-worker-4f1c2a9b07-6c9d7f8b5-qr8lm", &worker), group),
        (pod("demo-runner", &labels("job-runner")), job),
    ];
    pairs.extend(own);
    pairs
}

fn service() -> Pair {
    (scheduler_service(CLUSTER, NAMESPACE), cluster())
}

fn cluster() -> Value {
    let mut cluster = dask_cluster(CLUSTER, NAMESPACE);
    let worker = json!({"replicas": 2, "spec": pod_spec(&json!(["dask", "worker"]))});
    let scheduler = json!({"spec": pod_spec(&json!(["dask", "scheduler"])), "service": {"type": "ClusterIP"}});
    cluster["spec"] = json!({"worker": worker, "scheduler": scheduler});
    cluster
}

fn worker_group() -> Value {
    let worker = json!({"replicas": 2, "spec": pod_spec(&json!(["dask", "worker"]))});
    dask("DaskWorkerGroup", "demo-default", &json!({"cluster": CLUSTER, "worker": worker}))
}

fn job() -> Value {
    let runner = json!({"spec": pod_spec(&json!(["python", "-c", "import dask.distributed"]))});
    dask("DaskJob", CLUSTER, &json!({"job": runner, "cluster": {"spec": cluster()["spec"]}}))
}

fn dask(kind: &str, name: &str, spec: &Value) -> Value {
    json!({"apiVersion": "kubernetes.dask.org/v1", "kind": kind, "metadata": metadata(name, &json!({})), "spec": spec})
}

fn labels(component: &str) -> Value {
    let mut labels = json!({"dask.org/cluster-name": CLUSTER, "dask.org/component": component});
    if component == "worker" {
        labels["dask.org/workergroup-name"] = json!("demo-default");
    }
    labels
}

fn metadata(name: &str, labels: &Value) -> Value {
    let uid = "5b0e7a52-3c0f-4d0e-8f5b-9d3c1f6e2a77";
    json!({"name": name, "namespace": NAMESPACE, "uid": uid, "labels": labels})
}

fn deployment(name: &str, labels: &Value) -> Value {
    let template = json!({"metadata": {"labels": labels}, "spec": pod_spec(&json!(["dask"]))});
    let spec = json!({"replicas": 1, "selector": {"matchLabels": labels}, "template": template});
    json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": metadata(name, labels), "spec": spec})
}

fn pod(name: &str, labels: &Value) -> Value {
    json!({"apiVersion": "v1", "kind": "Pod", "metadata": metadata(name, labels), "spec": pod_spec(&json!(["dask"]))})
}

fn pod_spec(args: &Value) -> Value {
    json!({"containers": [{"name": "dask", "image": "ghcr.io/dask/dask:latest", "args": args}]})
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(rules: &Value) -> Vec<String> {
        let kinds = |(subject, owner): &Pair| format!("{} of {}", subject["kind"], owner["kind"]).replace('"', "");
        selected(rules.as_array()).iter().map(kinds).collect()
    }

    #[test]
    fn each_rule_selects_its_subjects_once() {
        assert_eq!(names(&json!(null)), ["Service of DaskCluster"]);
        let rules = json!([{"kind": "Pod", "component": "worker"}, {"kind": "Pod"}, {"kind": "DaskJob"}]);
        let expected = ["Pod of DaskWorkerGroup", "Pod of DaskCluster", "Pod of DaskJob", "DaskJob of DaskJob"];
        assert_eq!(names(&rules), expected);
    }

    #[test]
    fn there_is_an_example_of_each_kind_of_subject() {
        for kind in ["DaskCluster", "DaskWorkerGroup", "DaskJob", "DaskAutoscaler", "Service", "Deployment", "Pod"] {
            assert!(!names(&json!([{"kind": kind}])).is_empty(), "{kind}");
        }
    }
}
