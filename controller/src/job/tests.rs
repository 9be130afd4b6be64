//! Tests of whole passes with stale caches: the API server is a stub that answers differently.

use axum::{
    Json,
    http::{Method, StatusCode},
    response::{IntoResponse as _, Response},
};
use serde_json::{Value, json};

use super::{build::tests::mk_job, *};
use crate::{controllers::contexts, stub_api_server::mk_shared};

/// Answers like an API server that has `job` and both of its children, and fails all writes.
fn answer(job: &Value, method: &Method, path: &str) -> Response {
    if method != Method::GET {
        return StatusCode::INTERNAL_SERVER_ERROR.into_response();
    }
    let child = |kind: &str, api_version: &str, rest: Value| {
        let owner = json!([{
            "apiVersion": "kubernetes.dask.org/v1", "kind": "DaskJob", "name": "demo", "uid": "job-uid",
            "controller": true,
        }]);
        let mut labels = json!({"dask.org/cluster-name": "demo"});
        if kind == "Pod" {
            labels["dask.org/component"] = json!("job-runner");
        }
        let name = if kind == "Pod" { "demo-runner" } else { "demo" };
        let metadata =
            json!({"name": name, "namespace": "team-a", "uid": kind, "labels": labels, "ownerReferences": owner});
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

/// Runs a pass over `cached` with empty caches, where the API server has `live`.
async fn pass(cached: DaskJob, live: &DaskJob) -> (Result<Action, Error>, Vec<String>) {
    let live = serde_json::to_value(live).unwrap();
    let (shared, writes) = mk_shared(move |method, path| answer(&live, method, path)).await;
    let context = Arc::new(contexts::job(&shared));
    // The future of a pass and of its stub server would be large together.
    let result = Box::pin(reconcile(Arc::new(cached), context)).await;
    (result, writes.take())
}

#[tokio::test]
async fn children_that_are_not_in_a_cache_yet_are_not_taken_for_lost() {
    let job = with_status("Running");
    let (result, writes) = pass(job.clone(), &job).await;
    assert_eq!((result.unwrap(), writes), (Action::requeue(CACHE_RETRY), vec![]));
}

#[tokio::test]
async fn a_pass_over_an_older_job_of_the_same_name_writes_nothing() {
    let mut namesake = with_status("Running");
    namesake.metadata.uid = Some("other-uid".to_owned());
    let (result, writes) = pass(with_status("Running"), &namesake).await;
    assert_eq!((result.unwrap(), writes), (Action::await_change(), vec![]));
}

/// Only the deletion of its children is left to do; the status is final.
#[tokio::test]
async fn an_ended_job_is_not_decided_again_by_an_older_status() {
    let (result, writes) = pass(with_status("Running"), &with_status("Successful")).await;
    assert_eq!(result.unwrap_err().category(), "ApiServerError");
    let expected = [
        "DELETE /apis/kubernetes.dask.org/v1/namespaces/team-a/daskclusters/demo",
        "DELETE /api/v1/namespaces/team-a/pods/demo-runner",
    ];
    assert_eq!(writes, expected, "and one failure does not keep the other");
}
