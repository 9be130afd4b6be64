//! Decides which labels a pod has to get back. Pure.
//!
//! ReplicaSets, Services and the controller select pods by labels, and everybody who may patch a pod can change them. A
//! pod is known by what its labels do not decide: its owner, or the name that its ReplicaSet gave it. That is no proof
//! that the controller created it, and need not be one: who can create a pod of such a name can also give it the labels.

use dask_operator_api::meta::{self, Map, component};
use kube::ResourceExt as _;
use operator_runtime::k8s;
use serde_json::{Value, json};

use crate::view::PodView;

/// The resource that a pod belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Home<'a> {
    /// A value of the label `dask.org/component`.
    pub(crate) component: &'static str,
    /// The name of the DaskCluster, DaskWorkerGroup or DaskJob.
    pub(crate) name: &'a str,
}

/// Returns the resource that `pod` belongs to according to its labels.
pub(crate) fn labelled_home(pod: &PodView) -> Option<Home<'_>> {
    let label = |key: &str| pod.labels().get(key).map(String::as_str);
    let (component, key) = match label(meta::COMPONENT)? {
        component::SCHEDULER => (component::SCHEDULER, meta::CLUSTER_NAME),
        component::WORKER => (component::WORKER, meta::WORKER_GROUP),
        // A job's cluster has the job's name.
        component::JOB_RUNNER => (component::JOB_RUNNER, meta::CLUSTER_NAME),
        _ => return None,
    };
    Some(Home { component, name: label(key)? })
}

/// Returns the resource that `pod` belongs to according to its owner or its name, if these say so.
pub(crate) fn home(pod: &PodView) -> Option<Home<'_>> {
    if let Some(job) = meta::dask_controller(pod, "DaskJob") {
        let is_runner = pod.metadata.name.as_deref() == Some(&meta::runner_name(&job.name));
        return is_runner.then_some(Home { component: component::JOB_RUNNER, name: &job.name });
    }
    let deployment = meta::deployment_of_released(pod)?;
    if let Some(name) = deployment.strip_suffix("-scheduler") {
        return Some(Home { component: component::SCHEDULER, name });
    }
    let (name, _) = deployment.rsplit_once("-worker-")?;
    meta::is_worker_name(name, deployment).then_some(Home { component: component::WORKER, name })
}

/// Returns the labels to set on `pod`: those of `exact` that it does not have with this value, and those of `present`
/// whose key it does not have. `None` if there are none, or if the pod has ended or is being deleted.
pub(crate) fn lost(pod: &PodView, exact: &Map, present: &Map) -> Option<Value> {
    if pod.has_ended() {
        return None;
    }
    let absent = present.iter().filter(|(key, _)| !pod.labels().contains_key(*key));
    let wanted: Map = absent.chain(exact).map(|(key, value)| (key.clone(), value.clone())).collect();
    let lost = k8s::lost_labels(&pod.metadata, &wanted);
    (!lost.is_empty()).then(|| json!(lost))
}

#[cfg(test)]
mod tests {
    use dask_operator_api::meta::map_of;

    use super::*;

    fn pod(metadata: &Value) -> PodView {
        serde_json::from_value(json!({"metadata": metadata})).unwrap()
    }

    /// Returns a pod of the ReplicaSet of `deployment`. A released one has no owner.
    fn of_deployment(deployment: &str, released: bool) -> PodView {
        let owners = json!([{"apiVersion": "apps/v1", "kind": "ReplicaSet", "uid": "u", "controller": true,
            "name": format!("{deployment}-5d8f7c")}]);
        pod(&json!({
            "name": format!("{deployment}-5d8f7c-abcde"), "namespace": "ns", "labels": {"pod-template-hash": "5d8f7c"},
            "ownerReferences": if released { json!([]) } else { owners },
        }))
    }

    #[test]
    fn a_pod_without_labels_belongs_to_the_resource_that_its_deployment_is_named_after() {
        let table = [
            ("demo-scheduler", Some((component::SCHEDULER, "demo"))),
            ("demo-default-worker-a1b2c00000", Some((component::WORKER, "demo-default"))),
            ("a-worker-b-worker-a1b2c00000", Some((component::WORKER, "a-worker-b"))),
            ("demo-worker-x", None),
            ("demo-scheduler-tool", None),
            ("other", None),
        ];
        for (deployment, expected) in table {
            for released in [false, true] {
                let pod = of_deployment(deployment, released);
                assert_eq!(home(&pod).map(|home| (home.component, home.name)), expected, "{deployment} {released}");
                assert_eq!(labelled_home(&pod), None);
            }
        }
    }

    #[test]
    fn a_runner_belongs_to_the_job_that_owns_it_and_no_other_pod_of_the_job_does() {
        let of_job = |name: &str| {
            pod(&json!({"name": name, "ownerReferences": [{
                "apiVersion": "kubernetes.dask.org/v1", "kind": "DaskJob", "name": "demo", "uid": "u", "controller": true,
            }]}))
        };
        let expected = Home { component: component::JOB_RUNNER, name: "demo" };
        assert_eq!(home(&of_job("demo-runner")), Some(expected));
        assert_eq!(home(&of_job("other")), None);
    }

    #[test]
    fn labels_say_of_which_component_a_pod_is_and_which_resource_it_belongs_to() {
        let table = [
            (json!({"dask.org/component": "scheduler", "dask.org/cluster-name": "a"}), Some("a")),
            (
                json!({"dask.org/component": "worker", "dask.org/cluster-name": "a", "dask.org/workergroup-name": "b"}),
                Some("b"),
            ),
            (json!({"dask.org/component": "job-runner", "dask.org/cluster-name": "a"}), Some("a")),
            (json!({"dask.org/component": "worker", "dask.org/cluster-name": "a"}), None),
            (json!({"dask.org/component": "other", "dask.org/cluster-name": "a"}), None),
            (json!({"dask.org/cluster-name": "a"}), None),
        ];
        for (labels, expected) in table {
            let pod = pod(&json!({"name": "x", "labels": labels}));
            assert_eq!(labelled_home(&pod).map(|home| home.name), expected, "{labels}");
        }
    }

    #[test]
    fn a_pod_gets_back_what_it_lost_and_keeps_labels_that_only_have_another_value() {
        let (exact, present) = (map_of([("component", "scheduler")]), map_of([("app", "dask")]));
        let table = [
            (json!({"component": "scheduler", "app": "other", "own": "x"}), None),
            (json!({"component": "worker", "app": "dask"}), Some(json!({"component": "scheduler"}))),
            (json!({}), Some(json!({"component": "scheduler", "app": "dask"}))),
        ];
        for (labels, expected) in table {
            let mut pod = pod(&json!({"name": "x", "labels": labels}));
            assert_eq!(lost(&pod, &exact, &present), expected, "{labels}");
            pod.status.phase = Some("Failed".to_owned());
            assert_eq!(lost(&pod, &exact, &present), None, "it has ended");
        }
    }
}
