//! Whole passes, before and after the watch has told of what they made.

use axum::{http::Method, response::Response};
use kube::runtime::watcher::Event;
use serde_json::json;

use super::*;
use crate::{
    stub_api_server::{Writes, made, mk_context, namespace_ends},
    test_fixtures::{mk_cluster, mk_group},
    view::DeploymentView,
};

const DEPLOYMENTS: &str = "POST /apis/apps/v1/namespaces/ns/deployments";
const STATUS: &str = "PATCH /apis/kubernetes.dask.org/v1/namespaces/ns/daskworkergroups/demo-default/status";

/// A group of two workers that its cluster has made.
fn group() -> DaskWorkerGroup {
    let mut group = mk_group("demo-default", "demo");
    group.metadata.owner_references = crate::meta::owner_ref(&mk_cluster("demo")).map(|owner| vec![owner]);
    group
}

async fn world(answer: fn(&Method, &str) -> Response) -> (Arc<Context>, Writes) {
    let (context, writes) = mk_context(answer).await;
    context.caches.clusters.apply(None, Event::Apply(mk_cluster("demo")), &mut Arc::new);
    (Arc::new(context), writes)
}

/// The Deployments of `group`, as the watch tells of them.
fn deliver(context: &Context, group: &DaskWorkerGroup) {
    let cluster = Arc::new(mk_cluster("demo"));
    for worker in manifests(group, Some(cluster), &context.defaults).unwrap() {
        let worker: DeploymentView = serde_json::from_value(worker).unwrap();
        context.caches.workers.apply(None, Event::Apply(worker), &mut Arc::new);
    }
}

/// In a burst each status that is out of date when it is sent costs as much as two workers, and each worker that is
/// made again is refused and read.
#[tokio::test]
async fn workers_are_made_once_and_told_of_once_however_late_the_watch_is() {
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
    let invalid = Invalid::new("InvalidName", "too long");
    let status = status::of_invalid(&group(), &observed, &invalid, Timestamp::UNIX_EPOCH);
    assert_eq!((status.replicas, status.ready_replicas), (Some(2), Some(1)));
}
