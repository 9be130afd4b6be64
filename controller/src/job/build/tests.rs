//! Tests of the manifests of a job's cluster and runner.

use dask_operator_api::DaskJob;

use super::*;
use crate::{job::validate::validate, test_fixtures::from_yaml};

/// A job whose every part has labels or annotations of its own, so that each manifest shows where its values come
/// from.
const JOB: &str = r#"
apiVersion: kubernetes.dask.org/v1
kind: DaskJob
metadata:
  name: demo
  namespace: team-a
  uid: job-uid
  labels:
    from-job: job
    overridden: job
    app.kubernetes.io/instance: argo-app
    dask.org/component: forged
  annotations:
    from-job: job
    overridden: job
    argocd.argoproj.io/tracking-id: demo:kubernetes.dask.org/DaskJob:team-a/demo
    dask.org/failed-runners: "9"
    plugin.kubernetes.dask.org/adopt: ingress
spec:
  job:
    metadata:
      labels: {overridden: runner, dask.org/cluster-name: forged}
      annotations: {overridden: runner, plugin.kubernetes.dask.org/adopt: ingress}
    spec:
      restartPolicy: OnFailure
      futureField: {kept: [1, true, null]}
      initContainers: [{name: init}]
      containers:
        - name: job
          args: [python, job.py]
          env: [{name: FIRST, value: mine}]
        - name: sidecar
          env: [{name: DASK_SCHEDULER_ADDRESS, value: "tcp://mine:1"}]
  cluster:
    metadata:
      labels: {overridden: cluster, dask.org/cluster-name: forged}
      annotations: {overridden: cluster, plugin.kubernetes.dask.org/adopt: ingress}
    spec:
      idleTimeout: 60
      scheduler:
        spec: {containers: [{name: scheduler, futureField: 1}]}
        service:
          ports: [{name: tcp-comm, port: 9000, protocol: TCP, targetPort: tcp-comm}]
      worker:
        replicas: 3
        spec: {containers: [{name: worker}]}
"#;

/// Returns the job after `edit`.
pub(in crate::job) fn mk_job(edit: impl FnOnce(&mut Value)) -> DaskJob {
    let mut job: Value = from_yaml(JOB);
    edit(&mut job);
    serde_json::from_value(job).unwrap()
}

fn valid(edit: impl FnOnce(&mut Value)) -> ValidatedJob {
    validate(&mk_job(edit), "cluster.local").unwrap()
}

fn owner() -> Value {
    json!({
        "apiVersion": "kubernetes.dask.org/v1",
        "kind": "DaskJob",
        "name": "demo",
        "uid": "job-uid",
        "controller": true,
        "blockOwnerDeletion": true,
    })
}

/// dask-kubernetes drops `metadata` and `idleTimeout`.
#[test]
fn the_cluster_has_the_jobs_name_and_all_of_the_embedded_spec() {
    let expected = json!({
        "apiVersion": "kubernetes.dask.org/v1",
        "kind": "DaskCluster",
        "metadata": {
            "name": "demo",
            "namespace": "team-a",
            "labels": {
                "from-job": "job",
                "overridden": "cluster",
                "dask.org/cluster-name": "demo",
            },
            "annotations": {"from-job": "job", "overridden": "cluster"},
            "ownerReferences": [owner()],
        },
        "spec": {
            "idleTimeout": 60,
            "scheduler": {
                "metadata": {},
                "spec": {"containers": [{"name": "scheduler", "futureField": 1}]},
                "service": {
                    "ports": [{"name": "tcp-comm", "port": 9000, "protocol": "TCP", "targetPort": "tcp-comm"}],
                },
            },
            "worker": {"metadata": {}, "replicas": 3, "spec": {"containers": [{"name": "worker"}]}},
        },
    });
    assert_eq!(build_cluster(&valid(|_| {})).manifest, expected);
}

fn runner(predecessors: i64, annotations: &Value) -> Value {
    let address = "tcp://demo-scheduler.team-a.svc.cluster.local:9000";
    json!({
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "name": "demo-runner",
            "namespace": "team-a",
            "labels": {
                "from-job": "job",
                "overridden": "runner",
                "dask.org/cluster-name": "demo",
                "dask.org/component": "job-runner",
                "sidecar.istio.io/inject": "false",
            },
            "annotations": annotations,
            "ownerReferences": [owner()],
        },
        "spec": {
            "restartPolicy": if predecessors > 0 { "Never" } else { "OnFailure" },
            "futureField": {"kept": [1, true, null]},
            "initContainers": [{"name": "init"}],
            "containers": [
                {
                    "name": "job",
                    "args": ["python", "job.py"],
                    "env": [{"name": "FIRST", "value": "mine"}, {"name": "DASK_SCHEDULER_ADDRESS", "value": address}],
                },
                {"name": "sidecar", "env": [{"name": "DASK_SCHEDULER_ADDRESS", "value": "tcp://mine:1"}]},
            ],
        },
    })
}

#[test]
fn the_runner_is_the_users_pod_that_knows_its_scheduler() {
    let expected = runner(0, &json!({"from-job": "job", "overridden": "runner"}));
    assert_eq!(build_runner(&valid(|_| {}), 0).manifest, expected);
}

/// A failure that was counted must not be counted again under the same name.
#[test]
fn a_runner_that_replaces_failed_ones_says_how_many() {
    let never = |job: &mut Value| job["spec"]["job"]["spec"]["restartPolicy"] = json!("Never");
    let expected = runner(2, &json!({"from-job": "job", "overridden": "runner", "dask.org/failed-runners": "2"}));
    assert_eq!(build_runner(&valid(never), 2).manifest, expected);
}

#[test]
fn a_user_can_have_the_runner_in_the_mesh() {
    let in_mesh = |job: &mut Value| job["spec"]["job"]["metadata"]["labels"][ISTIO_INJECT] = json!("true");
    assert_eq!(build_runner(&valid(in_mesh), 0).manifest["metadata"]["labels"][ISTIO_INJECT], "true");
}

#[test]
fn what_the_job_adds_to_its_cluster_belongs_to_the_cluster() {
    let job = valid(|job| {
        let worker = json!({
            "replicas": 2, "metadata": {"labels": {"overridden": "gpu", "dask.org/cluster-name": "forged"}},
            "spec": {"containers": [{"name": "worker", "futureField": 1}]},
        });
        let behavior = json!({"scaleDown": {"stabilizationWindowSeconds": 9}});
        job["spec"]["cluster"]["workerGroups"] = json!([{"name": "gpu", "worker": worker}]);
        job["spec"]["cluster"]["autoscaler"] =
            json!({"minimum": 1, "maximum": 4, "workerGroup": "gpu", "behavior": behavior});
    });
    let owner = json!([{
        "apiVersion": "kubernetes.dask.org/v1", "kind": "DaskCluster", "name": "demo", "uid": "cluster-uid",
        "controller": true, "blockOwnerDeletion": true,
    }]);
    let group = build_extra(&job, Some("cluster-uid"), &Extra::WorkerGroup("gpu".to_owned())).unwrap().manifest;
    assert_eq!((&group["kind"], &group["metadata"]["name"]), (&json!("DaskWorkerGroup"), &json!("demo-gpu")));
    assert_eq!(group["metadata"]["ownerReferences"], owner);
    assert_eq!(group["metadata"]["labels"], json!({"from-job": "job", "overridden": "gpu"}));
    assert_eq!((&group["spec"]["cluster"], &group["spec"]["worker"]["replicas"]), (&json!("demo"), &json!(2)));
    assert_eq!(group["spec"]["worker"]["spec"]["containers"][0]["futureField"], 1);

    let scaler = build_extra(&job, Some("cluster-uid"), &Extra::Autoscaler).unwrap().manifest;
    assert_eq!((&scaler["kind"], &scaler["metadata"]["name"]), (&json!("DaskAutoscaler"), &json!("demo")));
    assert_eq!(scaler["metadata"]["ownerReferences"], owner);
    let spec = json!({
        "cluster": "demo", "minimum": 1, "maximum": 4, "workerGroup": "demo-gpu",
        "behavior": {"scaleDown": {"stabilizationWindowSeconds": 9}},
    });
    assert_eq!(scaler["spec"], spec);
    assert_eq!(build_cluster(&job).manifest["spec"]["workerGroups"], Value::Null);
    assert_eq!(build_extra(&valid(|_| {}), None, &Extra::Autoscaler), None);
}
