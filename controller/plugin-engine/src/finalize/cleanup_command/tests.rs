//! Tests of the removal of plugins' finalizers before an uninstallation.

use axum::{
    Json,
    http::{Method, StatusCode},
    response::{IntoResponse as _, Response},
};
use dask_operator_api::testing::mk_cluster;
use operator_runtime::testing::stub_api_server;
use serde_json::{Value, json};

use super::*;

#[test]
fn finalizers_of_plugins_are_recognized() {
    let mut cluster = mk_cluster("demo");
    assert_eq!(of_plugins(&cluster), None);
    let other = "kubernetes.dask.org/other".to_owned();
    cluster.metadata.finalizers = Some(vec![other.clone()]);
    assert_eq!(of_plugins(&cluster), None);
    let ours: HashSet<String> = (0..30).map(|number| format!("plugin.kubernetes.dask.org/{number}")).collect();
    cluster.metadata.finalizers = Some(ours.iter().cloned().chain([other]).collect());
    assert_eq!(of_plugins(&cluster), Some(ours));
}

#[test]
fn what_was_left_is_named_as_far_as_it_can_be_read() {
    assert!(sentence(&["a".to_owned(), "b".to_owned()]).ends_with(":\n  a\n  b"));
    let many: Vec<String> = (0..1_000).map(|number| number.to_string()).collect();
    assert!(sentence(&many).ends_with("\n  19\n  and 980 more"));
}

fn refused(code: u16, reason: &str) -> Response {
    let status = json!({"kind": "Status", "status": "Failure", "message": "no", "reason": reason, "code": code});
    (StatusCode::from_u16(code).unwrap(), Json(status)).into_response()
}

fn held(name: &str, finalizers: usize) -> Value {
    let finalizers: Vec<String> =
        (0..finalizers).map(|number| format!("plugin.kubernetes.dask.org/{number}")).collect();
    json!({
        "apiVersion": "meta.k8s.io/v1", "kind": "PartialObjectMetadata",
        "metadata": {"namespace": "ns", "name": name, "uid": name, "finalizers": finalizers},
    })
}

/// Serves two clusters, one of which cannot be changed. Worker groups cannot be read, and jobs have no CRD.
fn answer(method: &Method, path: &str) -> Response {
    match (method.as_str(), path.rsplit('/').next().unwrap()) {
        ("GET", "daskjobs") => refused(404, "NotFound"),
        ("GET", "daskworkergroups") | ("PATCH", "bad") => refused(403, "Forbidden"),
        ("PATCH", name) => Json(held(name, 0)).into_response(),
        (_, plural) => {
            let items = match plural {
                "daskclusters" => vec![held("bad", 1), held("good", 300)],
                _ => vec![held("last", 21)],
            };
            let list = json!({
                "apiVersion": "meta.k8s.io/v1", "kind": "PartialObjectMetadataList", "metadata": {}, "items": items,
            });
            Json(list).into_response()
        }
    }
}

#[tokio::test]
async fn an_error_with_one_object_or_kind_keeps_no_other_from_its_release() {
    let (client, writes) = stub_api_server(answer).await;
    let clusters = go_through(&client, &Api::<DaskCluster>::all(client.clone()), None).await;
    assert_eq!(clusters.released, 300);
    assert_eq!(clusters.failures, ["DaskCluster ns/bad: failed to patch DaskCluster bad: no"]);
    assert_eq!(writes.take().len(), 2, "one request for each object, however many finalizers it has");

    let groups = go_through(&client, &Api::<DaskWorkerGroup>::all(client.clone()), None).await;
    assert_eq!((groups.released, groups.failures.len()), (0, 1));
    let jobs = go_through(&client, &Api::<DaskJob>::all(client.clone()), None).await;
    assert_eq!(jobs, Report::default());
    let scalers = go_through(&client, &Api::<DaskAutoscaler>::all(client.clone()), None).await;
    assert_eq!((scalers.released, scalers.failures.len()), (21, 0));
}

#[tokio::test(start_paused = true)]
async fn a_kind_that_fails_does_not_stop_the_cleanup_of_others() {
    let (client, _) = stub_api_server(answer).await;
    let report = release_all(&client, &Scope::all()).await;
    assert_eq!(report.failures.len(), 2, "{report:?}");
    assert!(report.released >= 321, "{report:?}");
}
