//! Whole passes with caches that lag: the API server is a stub that says something else.

use std::sync::Mutex;

use axum::{
    Json, Router,
    http::{Method, StatusCode, Uri},
    response::{IntoResponse as _, Response},
};
use kube::{Client, Config, runtime::events::Reporter};
use serde_json::{Value, json};
use tokio::net::TcpListener;

use super::{build::tests::mk_job, *};
use crate::{
    context::{Caches, Defaults},
    crd::WorkerAllocation,
    events::{Recorder, Wanted},
};

/// What the stub was asked to write.
type Writes = Arc<Mutex<Vec<String>>>;

/// An API server that has `job` and both of its children.
async fn stub(job: &DaskJob, writes: &Writes) -> Client {
    let (job, writes) = (serde_json::to_value(job).unwrap(), Arc::clone(writes));
    let answer = move |method: Method, uri: Uri| {
        let (job, writes) = (job.clone(), Arc::clone(&writes));
        async move { answer(&job, &writes, &method, uri.path()) }
    };
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let uri = format!("http://{}", listener.local_addr().unwrap()).parse().unwrap();
    tokio::spawn(axum::serve(listener, Router::new().fallback(answer)).into_future());
    Client::try_from(Config::new(uri)).unwrap()
}

fn answer(job: &Value, writes: &Writes, method: &Method, path: &str) -> Response {
    if method != Method::GET {
        writes.lock().unwrap().push(format!("{method} {path}"));
        return StatusCode::INTERNAL_SERVER_ERROR.into_response();
    }
    let child = |kind: &str, api_version: &str, rest: Value| {
        let owner = json!([{
            "apiVersion": "kubernetes.dask.org/v1", "kind": "DaskJob", "name": "demo", "uid": "job-uid",
            "controller": true,
        }]);
        let metadata = json!({"name": "demo", "namespace": "team-a", "uid": kind, "ownerReferences": owner});
        let mut child = json!({"apiVersion": api_version, "kind": kind, "metadata": metadata});
        child.as_object_mut().unwrap().extend(rest.as_object().unwrap().clone());
        child
    };
    let object = match path.rsplit('/').nth(1) {
        Some("daskjobs") => job.clone(),
        Some("daskclusters") => {
            child("DaskCluster", "kubernetes.dask.org/v1", json!({"spec": job["spec"]["cluster"]["spec"]}))
        }
        _ => child("Pod", "v1", json!({"status": {"phase": "Running"}})),
    };
    Json(object).into_response()
}

fn with_status(job_status: &str) -> DaskJob {
    mk_job(|job| {
        job["status"] = json!({
            "clusterName": "demo",
            "jobRunnerPodName": "demo-runner",
            "jobStatus": job_status,
            "startTime": "2026-11-23T09:00:00Z",
            "endTime": null,
        });
    })
}

/// A pass over `cached` with empty caches, where the API server has `live`.
async fn pass(cached: DaskJob, live: &DaskJob) -> (Result<Action, Error>, Vec<String>) {
    let writes = Writes::default();
    let client = stub(live, &writes).await;
    let context = Context {
        recorder: Recorder::new(
            client.clone(),
            Reporter { controller: "test".to_owned(), instance: None },
            Wanted::Everything,
        ),
        client,
        caches: Caches::new(),
        creations: crate::watch::Creations::default(),
        defaults: Defaults {
            cluster_domain: "cluster.local".to_owned(),
            allocation: WorkerAllocation::default(),
            scheduler_ip: None,
        },
        censuses: crate::worker_group::Censuses::default(),
        pauses: crate::worker_group::Pauses::default(),
        conversations: tokio::sync::Semaphore::new(1),
        autoscaling: crate::autoscaler::Memory::default(),
        idle: crate::idle::Memory::default(),
        board: Arc::new(crate::plugin::Board::new(&crate::plugin::test_settings()).0),
        leadership: crate::leader::Election::new(None).1,
        metrics: Arc::default(),
        pace: crate::watch::Pace::default(),
        vitals: crate::vitals::Vitals::default(),
    };
    let result = reconcile(Arc::new(cached), Arc::new(context)).await;
    let writes = writes.lock().unwrap().clone();
    (result, writes)
}

#[tokio::test]
async fn children_that_no_cache_knows_yet_are_not_lost() {
    let job = with_status("Running");
    let (result, writes) = pass(job.clone(), &job).await;
    assert_eq!((result.unwrap(), writes), (Action::requeue(CACHE_RETRY), vec![]));
}

#[tokio::test]
async fn an_older_copy_of_a_job_that_was_made_again_is_left_alone() {
    let mut namesake = with_status("Running");
    namesake.metadata.uid = Some("other-uid".to_owned());
    let (result, writes) = pass(with_status("Running"), &namesake).await;
    assert_eq!((result.unwrap(), writes), (Action::await_change(), vec![]));
}

/// All there is left to do is to delete what stands; the status is final.
#[tokio::test]
async fn a_job_that_has_ended_is_not_judged_again_by_an_older_status() {
    let (result, writes) = pass(with_status("Running"), &with_status("Successful")).await;
    assert_eq!(result.unwrap_err().category(), "ApiServerError");
    let expected = [
        "DELETE /apis/kubernetes.dask.org/v1/namespaces/team-a/daskclusters/demo",
        "DELETE /api/v1/namespaces/team-a/pods/demo-runner",
    ];
    assert_eq!(writes, expected, "and one failure does not keep the other");
}
