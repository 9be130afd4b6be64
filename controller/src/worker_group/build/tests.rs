//! Tests of the Deployments of workers.

use std::sync::Arc;

use dask_operator_api::{DaskCluster, DaskWorkerGroup};

use super::*;
use crate::{
    test_fixtures::{from_yaml, mk_defaults},
    worker_group::{
        observe::Observed,
        scale::{self, Workers},
        validate::{ValidatedGroup, validate},
    },
};

const CLUSTER: &str = r"
apiVersion: kubernetes.dask.org/v1
kind: DaskCluster
metadata:
  name: demo
  namespace: team-a
  uid: cluster-uid
  labels:
    from-cluster: cluster
    cluster-and-group: cluster
    everywhere: cluster
    argocd.argoproj.io/instance: argo-app
  annotations: {from-cluster: cluster}
spec:
  scheduler:
    spec: {containers: []}
    service: {ports: [{name: tcp-comm, port: 8786}]}
  worker:
    metadata: {labels: {of-the-default-group: x}}
    spec: {containers: []}
";

const GROUP: &str = r"
apiVersion: kubernetes.dask.org/v1
kind: DaskWorkerGroup
metadata:
  name: demo-gpu
  namespace: team-a
  uid: group-uid
  labels:
    cluster-and-group: group
    group-and-worker: group
    everywhere: group
    app.kubernetes.io/managed-by: Helm
  annotations:
    from-group: group
    plugin.kubernetes.dask.org/adopt: ingress
    group-and-worker: group
    meta.helm.sh/release-name: release
spec:
  cluster: demo
  worker:
    replicas: 2
    metadata:
      labels: {group-and-worker: worker, everywhere: worker, dask.org/component: forged, dask.org/worker-id: forged}
      annotations: {group-and-worker: worker, plugin.kubernetes.dask.org/adopt: ingress}
    spec:
      schedulingGates: [{name: example.org/quota}]
      initContainers: [{name: init}]
      containers:
        - name: worker
          image: ghcr.io/dask/dask:latest
          args: [dask, worker, --name, $(DASK_WORKER_NAME)]
          env: [{name: FIRST, value: mine}]
          resources: {limits: {cpu: 2, nvidia.com/gpu: 1}}
        - name: sidecar
          env: [{name: DASK_SCHEDULER_ADDRESS, value: tls://elsewhere:8786}]
";

fn valid(group: &DaskWorkerGroup, cluster: DaskCluster) -> ValidatedGroup {
    let observed = Observed { cluster: Some(Arc::new(cluster)), ..Observed::default() };
    validate(group, &observed, &mk_defaults("cluster.local")).unwrap()
}

/// Returns the first worker of `group`, with the id `abcde00000`.
fn first_worker(group: &ValidatedGroup) -> Value {
    let workers = Workers { prefix: "abcde".to_owned(), ..Workers::default() };
    build_worker(group, &scale::plan(1, &workers).create[0])
}

fn first_worker_from(edit: impl FnOnce(&mut Value, &mut Value)) -> Value {
    let (mut group, mut cluster): (Value, Value) = (from_yaml(GROUP), from_yaml(CLUSTER));
    edit(&mut group, &mut cluster);
    first_worker(&valid(&serde_json::from_value(group).unwrap(), serde_json::from_value(cluster).unwrap()))
}

/// Returns the group's pod with name and scheduler address in each container, after the user's own variables.
fn expected_pod() -> Value {
    let name = json!({"name": "DASK_WORKER_NAME", "value": "demo-gpu-worker-abcde00000"});
    let address =
        json!({"name": "DASK_SCHEDULER_ADDRESS", "value": "tcp://demo-scheduler.team-a.svc.cluster.local:8786"});
    json!({
        "schedulingGates": [{"name": "example.org/quota"}],
        "initContainers": [{"name": "init"}],
        "containers": [
            {
                "name": "worker",
                "image": "ghcr.io/dask/dask:latest",
                "args": ["dask", "worker", "--name", "$(DASK_WORKER_NAME)"],
                "env": [{"name": "FIRST", "value": "mine"}, name, address],
                "resources": {"limits": {"cpu": 2, "nvidia.com/gpu": 1}},
            },
            {
                "name": "sidecar",
                "env": [{"name": "DASK_SCHEDULER_ADDRESS", "value": "tls://elsewhere:8786"}, name],
            },
        ],
    })
}

#[test]
fn a_worker_is_a_deployment_of_the_users_pod_with_name_and_address() {
    let labels = json!({
        "from-cluster": "cluster",
        "cluster-and-group": "group",
        "group-and-worker": "worker",
        "everywhere": "worker",
        "dask.org/cluster-name": "demo",
        "dask.org/component": "worker",
        "dask.org/workergroup-name": "demo-gpu",
        "dask.org/worker-id": "abcde00000",
        "sidecar.istio.io/inject": "false",
    });
    // The cluster's annotations are not inherited, as in dask-kubernetes.
    let annotations = json!({"from-group": "group", "group-and-worker": "worker"});
    let keys = |map: &Value| map.as_object().unwrap().keys().cloned().collect::<Vec<_>>();
    let mut own = annotations.clone();
    for (key, print) in valid(&from_yaml(GROUP), from_yaml(CLUSTER)).template.annotations() {
        own[key] = json!(print);
    }
    own[meta::PROPAGATED] = json!(json!({"annotations": keys(&own), "labels": keys(&labels)}).to_string());
    let owner = json!({
        "apiVersion": "kubernetes.dask.org/v1",
        "kind": "DaskWorkerGroup",
        "name": "demo-gpu",
        "uid": "group-uid",
        "controller": true,
        "blockOwnerDeletion": true,
    });
    let expected = json!({
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {
            "name": "demo-gpu-worker-abcde00000",
            "namespace": "team-a",
            "labels": labels,
            "annotations": own,
            "ownerReferences": [owner],
        },
        "spec": {
            "replicas": 1,
            "strategy": {"type": "Recreate"},
            // The selector is immutable, and matches this worker only: Deployments with one selector would take each
            // other's pods.
            "selector": {"matchLabels": {
                "dask.org/cluster-name": "demo",
                "dask.org/component": "worker",
                "dask.org/workergroup-name": "demo-gpu",
                "dask.org/worker-id": "abcde00000",
            }},
            "template": {"metadata": {"labels": labels, "annotations": annotations}, "spec": expected_pod()},
        },
    });
    assert_eq!(first_worker_from(|_, _| {}), expected);
}

#[test]
fn workers_of_one_group_differ_in_name_and_selector() {
    let group = valid(&from_yaml(GROUP), from_yaml(CLUSTER));
    let ids = scale::plan(2, &Workers { prefix: "abcde".to_owned(), ..Workers::default() }).create;
    let (first, second) = (build_worker(&group, &ids[0]), build_worker(&group, &ids[1]));
    assert_ne!(first["metadata"]["name"], second["metadata"]["name"]);
    assert_ne!(first["spec"]["selector"], second["spec"]["selector"]);
}

#[test]
fn users_may_let_istio_in_for_the_cluster_the_group_or_its_workers() {
    let label = || json!("true");
    let places: [fn(&mut Value, &mut Value, Value); 3] = [
        |_, cluster, on| cluster["metadata"]["labels"]["sidecar.istio.io/inject"] = on,
        |group, _, on| group["metadata"]["labels"]["sidecar.istio.io/inject"] = on,
        |group, _, on| group["spec"]["worker"]["metadata"]["labels"]["sidecar.istio.io/inject"] = on,
    ];
    for (index, place) in places.into_iter().enumerate() {
        let worker = first_worker_from(|group, cluster| place(group, cluster, label()));
        let labels = &worker["spec"]["template"]["metadata"]["labels"];
        assert_eq!(labels["sidecar.istio.io/inject"], "true", "{index}");
    }
}

/// `Never` makes the Deployment invalid, and dask-kubernetes then fails forever without a message.
#[test]
fn workers_always_restart() {
    let worker = first_worker_from(|group, _| group["spec"]["worker"]["spec"]["restartPolicy"] = json!("Never"));
    assert_eq!(worker["spec"]["template"]["spec"]["restartPolicy"], "Always");
}

/// Prometheus finds the port of the worker's metrics there. A change of it alone must not replace pods.
#[test]
fn the_pod_of_a_worker_names_the_port_of_its_dashboard_if_it_is_not_the_usual_one() {
    let mut group: DaskWorkerGroup = from_yaml(GROUP);
    let worker = json!({"args": ["dask", "worker", "--dashboard-address", ":8788"],
        "ports": [{"name": "web", "containerPort": 8788}]});
    group.spec.worker.spec.set("containers", json!([worker]));
    let deployment = first_worker(&valid(&group, from_yaml(CLUSTER)));
    let port = |metadata: &Value| metadata["annotations"].get(meta::DASHBOARD_PORT).cloned();
    assert_eq!(port(&deployment["spec"]["template"]["metadata"]), Some(json!("web")));
    assert_eq!(port(&deployment["metadata"]), None);
}
