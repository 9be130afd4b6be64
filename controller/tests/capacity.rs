//! Checks how many ordinary objects fit into the memory budget of a namespace, and that each is charged with what it
//! takes.
#![expect(clippy::unwrap_used, clippy::panic, reason = "in tests, what fails must fail loudly")]

use std::{
    alloc::System,
    sync::{Arc, Mutex, PoisonError},
};

use clap::Parser as _;
use dask_operator::{
    args::{Cli, Command},
    crd::{DaskAutoscaler, DaskCluster, DaskWorkerGroup},
    fuzzing::{DeploymentView, PodView},
};
use k8s_openapi::api::core::v1::Service;
use operator_runtime::{testing::footprint, watch::MemoryLimits};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::{Value, json};
use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};

/// Counts all that is allocated.
#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

/// Held by each test, so that nothing else is counted.
static ALONE: Mutex<()> = Mutex::new(());

/// What `malloc` adds to a piece of memory on average: its header, and what rounding wastes.
const OVERHEAD: usize = 16;

/// The numbers that the documentation promises.
const CLUSTERS: usize = 3_000;
const WORKERS: usize = 10_000;
/// A name of ordinary length.
const NAME: &str = "alice-3f0c9a1b7d-default-worker-0a1b2c3d4e";
const UID: &str = "4be2b1f3-6d9c-4a41-8a4e-0f6f3a1c2d9e";
const TIME: &str = "2026-01-01T00:00:00Z";

/// Returns what an object takes in the controller's caches, and its text in those of plugins.
fn sizes<K: Serialize + DeserializeOwned>(object: &Value) -> (usize, usize) {
    #[derive(Serialize)]
    struct Copy<'a> {
        metadata: &'a Value,
        text: String,
    }
    let held: K = serde_json::from_value(object.clone()).unwrap();
    let copy = Copy { metadata: &object["metadata"], text: object.to_string() };
    (footprint(&held), footprint(&copy))
}

fn metadata(owner: &str) -> Value {
    let labels = json!({
        "dask.org/cluster-name": "alice-3f0c9a1b7d", "dask.org/component": "worker",
        "dask.org/workergroup-name": "alice-3f0c9a1b7d-default", "app.kubernetes.io/name": "dask", "team": "research",
        "pod-template-hash": "5d8f7c9b6d",
    });
    json!({
        "name": NAME, "namespace": "research-notebooks", "uid": UID, "resourceVersion": "123456789", "generation": 1,
        "creationTimestamp": TIME, "labels": labels,
        "annotations": {"deployment.kubernetes.io/revision": "1", "kubernetes.dask.org/template": "a".repeat(64)},
        "ownerReferences": [{"apiVersion": "kubernetes.dask.org/v1", "kind": owner, "name": NAME, "uid": UID,
            "controller": true, "blockOwnerDeletion": true}],
    })
}

fn conditions(types: &[&str]) -> Value {
    let condition = |type_: &&str| {
        json!({"type": type_, "status": "True", "reason": "AsDesired", "lastTransitionTime": TIME, "observedGeneration": 1,
            "message": "the wanted workers run and are registered with the scheduler"})
    };
    types.iter().map(condition).collect()
}

fn pod_spec() -> Value {
    let variable =
        |number: usize| json!({"name": format!("VARIABLE_{number}"), "value": "some value of ordinary length"});
    let resources = json!({"cpu": "2", "memory": "8Gi"});
    json!({"serviceAccountName": "dask", "containers": [{
        "name": "worker", "image": "registry.example.org/team/dask:2026.1.0", "imagePullPolicy": "IfNotPresent",
        "args": ["dask-worker", "--name", "$(DASK_WORKER_NAME)", "--dashboard", "--dashboard-address", "8788"],
        "ports": [{"name": "http-dashboard", "containerPort": 8788, "protocol": "TCP"}],
        "env": (0..5).map(variable).collect::<Vec<_>>(),
        "resources": {"limits": resources, "requests": resources},
    }]})
}

fn service_spec() -> Value {
    let port = |name: &str, number: u16| json!({"name": name, "port": number, "protocol": "TCP", "targetPort": name});
    json!({
        "type": "ClusterIP", "clusterIP": "10.96.0.17", "clusterIPs": ["10.96.0.17"], "ipFamilies": ["IPv4"],
        "selector": {"dask.org/cluster-name": "alice-3f0c9a1b7d", "dask.org/component": "scheduler"},
        "ports": [port("tcp-comm", 8786), port("http-dashboard", 8787)],
    })
}

fn cluster() -> Value {
    json!({
        "apiVersion": "kubernetes.dask.org/v1", "kind": "DaskCluster", "metadata": metadata("DaskJob"),
        "spec": {
            "scheduler": {"spec": pod_spec(), "service": service_spec()},
            "worker": {"replicas": 2, "spec": pod_spec()}, "idleTimeout": 3600,
        },
        "status": {"phase": "Running", "conditions": conditions(&["Accepted", "Available", "Ready", "Stalled", "Idle"])},
    })
}

fn group() -> Value {
    json!({
        "apiVersion": "kubernetes.dask.org/v1", "kind": "DaskWorkerGroup", "metadata": metadata("DaskCluster"),
        "spec": {"cluster": "alice-3f0c9a1b7d", "worker": {"replicas": 2, "spec": pod_spec()}},
        "status": {"replicas": 2, "conditions": conditions(&["Accepted", "Scaled", "Available", "Ready", "Stalled"])},
    })
}

fn autoscaler() -> Value {
    json!({
        "apiVersion": "kubernetes.dask.org/v1", "kind": "DaskAutoscaler", "metadata": metadata("DaskCluster"),
        "spec": {"cluster": "alice-3f0c9a1b7d", "minimum": 0, "maximum": 20},
        "status": {"conditions": conditions(&["Accepted", "Available", "Ready", "Stalled"])},
    })
}

fn deployment() -> Value {
    json!({
        "apiVersion": "apps/v1", "kind": "Deployment", "metadata": metadata("DaskWorkerGroup"),
        "spec": {"replicas": 1, "template": {"spec": pod_spec()}},
        "status": {"observedGeneration": 1, "readyReplicas": 1, "conditions": conditions(&["Available", "Progressing"])},
    })
}

fn pod() -> Value {
    let types = ["PodReadyToStartContainers", "Initialized", "Ready", "ContainersReady", "PodScheduled"];
    let running =
        json!({"name": "worker", "restartCount": 0, "ready": true, "state": {"running": {"startedAt": TIME}}});
    json!({
        "apiVersion": "v1", "kind": "Pod", "metadata": metadata("ReplicaSet"), "spec": pod_spec(),
        "status": {"phase": "Running", "podIP": "10.244.12.17", "hostIP": "10.0.12.34", "startTime": TIME,
            "conditions": conditions(&types), "containerStatuses": [running]},
    })
}

fn service() -> Value {
    json!({"apiVersion": "v1", "kind": "Service", "metadata": metadata("DaskCluster"), "spec": service_spec()})
}

/// Returns the limits of a controller that is started without flags.
fn default_limits() -> MemoryLimits {
    match Cli::try_parse_from(["dask-operator", "run"]).unwrap().command {
        Command::Run(args) => args.memory_limits(),
        other => panic!("{other:?}"),
    }
}

#[test]
fn the_ordinary_objects_of_the_largest_namespace_fit_into_its_budget() {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let (cluster, service) = (sizes::<DaskCluster>(&cluster()), sizes::<Service>(&service()));
    let (group, autoscaler) = (sizes::<DaskWorkerGroup>(&group()), sizes::<DaskAutoscaler>(&autoscaler()));
    let (deployment, pod) = (sizes::<DeploymentView>(&deployment()), sizes::<PodView>(&pod()));
    let process = deployment.0 + pod.0;
    let each_cluster = cluster.0 + service.0 + group.0 + autoscaler.0 + process;
    let held = CLUSTERS * each_cluster + WORKERS * process;
    // Most plugins are called about clusters and their Services.
    let copies = CLUSTERS * (cluster.1 + service.1);
    println!("{each_cluster} bytes for a cluster, {process} for a worker, {} MiB and {} MiB", held >> 20, copies >> 20);
    let MemoryLimits { namespace, total } = default_limits();
    assert!(held + copies < namespace, "{} MiB and {} MiB", held >> 20, copies >> 20);
    assert!(held + copies < total / 10 * 7, "a single namespace gets 70 % of the total");
    assert!(held > namespace / 4, "the budget is far larger than what is needed: {} MiB", held >> 20);
}

/// Returns the bytes that a copy of an object takes on the heap, as the caches hold it.
fn allocated<K: Clone + DeserializeOwned>(object: &Value) -> usize {
    let parsed: K = serde_json::from_value(object.clone()).unwrap();
    let region = Region::new(ALLOCATOR);
    let held = Arc::new(K::clone(&parsed));
    let change = region.change();
    drop(held);
    let bytes = change.bytes_allocated - change.bytes_deallocated;
    bytes.checked_add_signed(change.bytes_reallocated).unwrap() + OVERHEAD * (change.allocations - change.deallocations)
}

/// Returns what an object is charged, in percent of what it takes.
fn charged<K: Clone + Serialize + DeserializeOwned>(what: &str, object: &Value) -> (String, usize) {
    let (charged, taken) = (sizes::<K>(object).0, allocated::<K>(object));
    (format!("{what} of {taken} bytes"), charged * 100 / taken)
}

/// Returns the object with a field in its pod template that is made of small maps.
fn with_small_maps(mut group: Value) -> Value {
    group["spec"]["worker"]["spec"]["x"] = json!(vec![json!({"a": 0}); 2_500]);
    group
}

/// Otherwise the budget would keep out objects for which there is room, or admit more than there is.
#[test]
fn an_object_is_charged_what_it_takes() {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let table = [
        charged::<DaskCluster>("a cluster", &cluster()),
        charged::<DaskWorkerGroup>("a group", &group()),
        charged::<DaskWorkerGroup>("a group with small maps", &with_small_maps(group())),
        charged::<DaskAutoscaler>("an autoscaler", &autoscaler()),
        charged::<Service>("a Service", &service()),
        charged::<DeploymentView>("a Deployment", &deployment()),
        charged::<PodView>("a pod", &pod()),
    ];
    for (what, percent) in table {
        println!("{what} is charged {percent} % of what it takes");
        assert!((90..=115).contains(&percent), "{what} is charged {percent} % of what it takes");
    }
}
