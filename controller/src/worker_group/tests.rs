//! Tests of whole passes, before and after the watch has delivered the created workers.

use axum::{
    http::Method,
    response::{IntoResponse as _, Response},
};
use kube::runtime::watcher::Event;
use serde_json::json;

use super::*;
use crate::{
    controllers::contexts,
    stub_api_server::{Writes, made, mk_shared, namespace_ends},
    test_fixtures::{mk_cluster, mk_defaults, mk_group},
    view::{DeploymentView, PodView},
};

const DEPLOYMENTS: &str = "POST /apis/apps/v1/namespaces/ns/deployments";
const STATUS: &str = "PATCH /apis/kubernetes.dask.org/v1/namespaces/ns/daskworkergroups/demo-default/status";

/// Returns a group of two workers that its cluster created.
fn group() -> DaskWorkerGroup {
    let mut group = mk_group("demo-default", "demo");
    group.metadata.owner_references = dask_operator_api::meta::owner_ref(&mk_cluster("demo")).map(|owner| vec![owner]);
    group
}

async fn world(answer: fn(&Method, &str) -> Response) -> (Arc<Context>, Writes) {
    let (shared, writes) = mk_shared(answer).await;
    shared.caches.clusters.apply(None, Event::Apply(mk_cluster("demo")), &mut Arc::new);
    (Arc::new(contexts::worker_group(&shared)), writes)
}

/// Delivers the Deployments of `group` to the cache, as the watch does.
fn deliver(context: &Context, group: &DaskWorkerGroup) {
    let cluster = Arc::new(mk_cluster("demo"));
    for worker in manifests(group, Some(cluster), &context.defaults).unwrap() {
        let worker: DeploymentView = serde_json::from_value(worker).unwrap();
        context.caches.workers.apply(None, Event::Apply(worker), &mut Arc::new);
    }
}

/// In a burst, each status that is out of date when it is sent costs as much as two workers. Each worker that is
/// created again is rejected by the API server, and read.
#[tokio::test]
async fn workers_are_created_and_reported_once_however_late_the_watch_is() {
    let (context, writes) = world(made).await;
    let group = group();
    reconcile(Arc::new(group.clone()), Arc::clone(&context)).await.unwrap();
    assert_eq!(writes.take(), [DEPLOYMENTS, DEPLOYMENTS]);
    reconcile(Arc::new(group.clone()), Arc::clone(&context)).await.unwrap();
    assert_eq!(writes.take(), [""; 0], "the watch has not told of them yet");
    deliver(&context, &group);
    reconcile(Arc::new(group), Arc::clone(&context)).await.unwrap();
    assert_eq!(writes.take(), [STATUS]);
}

fn count(writes: &[String], of: &str) -> usize {
    writes.iter().filter(|write| *write == of).count()
}

#[tokio::test]
async fn a_group_of_two_billion_workers_is_created_in_slices_that_each_report_progress() {
    let (context, writes) = world(made).await;
    let mut group = group();
    group.spec.worker.replicas = 2_147_483_647;
    for _ in 0..2 {
        let action = reconcile(Arc::new(group.clone()), Arc::clone(&context)).await.unwrap();
        let writes = writes.take();
        assert_eq!((action, count(&writes, DEPLOYMENTS)), (Action::requeue(Duration::ZERO), scale::SLICE));
        assert_eq!(count(&writes, STATUS), 1);
    }
}

/// Otherwise the rest of the slice would be created, and removed again.
#[tokio::test]
async fn a_pass_stops_when_its_group_changes_and_the_next_one_follows_at_once() {
    let (context, writes) = world(made).await;
    let mut newer = group();
    newer.metadata.generation = Some(2);
    context.caches.groups.apply(None, Event::Apply(newer.clone()), &mut Arc::new);
    let action = reconcile(Arc::new(group()), Arc::clone(&context)).await.unwrap();
    assert_eq!((action, count(&writes.take(), DEPLOYMENTS)), (Action::requeue(Duration::ZERO), 0));
    reconcile(Arc::new(newer), Arc::clone(&context)).await.unwrap();
    assert_eq!(count(&writes.take(), DEPLOYMENTS), 2);
}

/// Returns the metadata of the second worker, as the API server has it after the worker lost the label that the watch
/// selects by.
fn stray() -> Value {
    let group = group();
    let cluster = Some(Arc::new(mk_cluster("demo")));
    let mut stray = manifests(&group, cluster, &mk_defaults("cluster.local")).unwrap().remove(1)["metadata"].take();
    stray["uid"] = json!("stray");
    stray["labels"].as_object_mut().unwrap().remove("dask.org/component");
    stray
}

/// Otherwise it would keep running beside a worker that takes its place, and would not be counted.
#[tokio::test]
async fn a_worker_that_lost_its_label_is_not_replaced_and_gets_it_back() {
    let (context, writes) = world(|method, path| {
        if method == Method::GET && path.ends_with("/deployments") {
            let kind = json!({"kind": "PartialObjectMetadataList", "apiVersion": "meta.k8s.io/v1", "metadata": {}});
            let mut list = kind;
            let mut others = stray();
            others["name"] = json!("demo-default-worker-0123456789");
            list["items"] = json!([{"metadata": others}, {"metadata": stray()}]);
            return axum::Json(list).into_response();
        }
        axum::Json(json!({"metadata": {"name": "a"}})).into_response()
    })
    .await;
    let mut group = group();
    group.status = Some(serde_json::from_value(json!({"workersCreated": 2})).unwrap());
    reconcile(Arc::new(group), Arc::clone(&context)).await.unwrap();
    let name = stray()["name"].as_str().unwrap().to_owned();
    let writes = writes.take();
    let restored = format!("PATCH /apis/apps/v1/namespaces/ns/deployments/{name}");
    assert_eq!((count(&writes, &restored), count(&writes, DEPLOYMENTS)), (1, 0), "{writes:?}");
    assert!(writes.iter().all(|write| !write.ends_with("-0123456789")), "an owner reference proves nothing");
}

/// Returns a pod of the second worker.
fn pod_of_stray(edit: impl FnOnce(&mut Value)) -> PodView {
    let worker = stray()["name"].as_str().unwrap().to_owned();
    let mut pod = json!({"metadata": {
        "name": format!("{worker}-5d8f7c-abcde"), "namespace": "ns", "uid": "pod",
        "labels": {"pod-template-hash": "5d8f7c", "dask.org/component": "worker", "dask.org/cluster-name": "demo",
            "dask.org/workergroup-name": "demo-default", "dask.org/worker-id": worker.rsplit_once('-').unwrap().1},
        "ownerReferences": [{"apiVersion": "apps/v1", "kind": "ReplicaSet", "uid": "u", "controller": true,
            "name": format!("{worker}-5d8f7c")}],
    }});
    edit(&mut pod["metadata"]);
    serde_json::from_value(pod).unwrap()
}

/// Neither the watch nor a list can find such a worker. Its pod, which has all labels, leads to it.
#[tokio::test]
async fn a_worker_that_lost_all_its_labels_is_not_replaced_and_gets_them_back() {
    let (context, writes) = world(|method, path| {
        let kind =
            json!({"kind": "PartialObjectMetadataList", "apiVersion": "meta.k8s.io/v1", "metadata": {}, "items": []});
        let mut worker = stray();
        worker["labels"] = json!({});
        match path {
            path if method == Method::GET && path.ends_with("/deployments") => axum::Json(kind).into_response(),
            path if method == Method::GET && path.contains("/deployments/") => {
                axum::Json(json!({"metadata": worker})).into_response()
            }
            _ => axum::Json(json!({"metadata": {"name": "a"}})).into_response(),
        }
    })
    .await;
    context.caches.pods.apply(None, Event::Apply(pod_of_stray(|_| {})), &mut Arc::new);
    let mut group = group();
    group.spec.worker.replicas = 1;
    group.status = Some(serde_json::from_value(json!({"workersCreated": 2})).unwrap());
    reconcile(Arc::new(group), Arc::clone(&context)).await.unwrap();
    let writes = writes.take();
    let restored = format!("PATCH /apis/apps/v1/namespaces/ns/deployments/{}", stray()["name"].as_str().unwrap());
    assert_eq!((count(&writes, &restored), count(&writes, DEPLOYMENTS)), (1, 0), "{writes:?}");
}

/// The ReplicaSet replaces such a pod, and both pods would register under one name.
#[tokio::test]
async fn a_pod_of_a_worker_gets_back_each_label_that_its_replica_set_selects_by() {
    let labels = ["dask.org/component", "dask.org/cluster-name", "dask.org/workergroup-name", "dask.org/worker-id"];
    for (label, value) in labels.into_iter().flat_map(|label| [(label, json!(null)), (label, json!("other"))]) {
        let (context, writes) = world(|_, _| axum::Json(json!({"metadata": {"name": "a"}})).into_response()).await;
        let group = group();
        deliver(&context, &group);
        let released = pod_of_stray(|metadata| {
            metadata["labels"][label] = value.clone();
            metadata["labels"].as_object_mut().unwrap().retain(|_, value| !value.is_null());
            metadata["ownerReferences"] = json!([]);
        });
        context.caches.pods.apply(None, Event::Apply(released.clone()), &mut Arc::new);
        reconcile(Arc::new(group), Arc::clone(&context)).await.unwrap();
        let restored = format!("PATCH /api/v1/namespaces/ns/pods/{}", released.name_any());
        assert_eq!(count(&writes.take(), &restored), 1, "{label} {value}");
    }
}

#[tokio::test]
async fn a_namespace_that_ends_is_no_failure_of_a_group() {
    let (context, writes) = world(namespace_ends).await;
    let action = reconcile(Arc::new(group()), context).await.unwrap();
    assert_eq!(action, Action::await_change());
    assert!(writes.take().iter().all(|write| write == DEPLOYMENTS));
}

#[test]
fn ready_workers_are_those_with_a_ready_pod_and_not_all_that_exist() {
    let worker = |ready| {
        let status = json!({"readyReplicas": ready});
        Arc::new(serde_json::from_value::<DeploymentView>(json!({"metadata": {}, "status": status})).unwrap())
    };
    let observed = observe::Observed {
        deployments: vec![worker(1), worker(0)],
        workers: scale::Workers {
            names: ["a", "b"].map(str::to_owned).into_iter().collect(),
            ..scale::Workers::default()
        },
        ..observe::Observed::default()
    };
    let invalid = Rejection::new("InvalidName", "too long");
    let status = status::of_invalid(&group(), &observed, &invalid, Timestamp::UNIX_EPOCH);
    assert_eq!((status.replicas, status.ready_replicas), (Some(2), Some(1)));
}
