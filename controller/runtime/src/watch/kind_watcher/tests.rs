//! Tests of the watches of one kind against an API server.

use std::sync::{
    Mutex,
    atomic::{AtomicBool, Ordering},
};

use http::{Request, Response};
use k8s_openapi::api::core::v1::ConfigMap;
use kube::{ResourceExt as _, client::Body, runtime::reflector};
use serde_json::{Value, json};
use tower::service_fn;

use super::*;
use crate::watch::WatchTiming;

/// Returns a client of an API server on which each namespace has one ConfigMap, and nothing changes. Namespace `b` may
/// be read while `open` is true.
fn api_server(open: &Arc<AtomicBool>) -> Client {
    let open = Arc::clone(open);
    let service = service_fn(move |request: Request<Body>| {
        let open = open.load(Ordering::SeqCst);
        async move {
            let namespace = request.uri().path().split('/').nth(4).unwrap_or_default().to_owned();
            if request.uri().query().unwrap_or_default().contains("watch=true") {
                std::future::pending::<()>().await;
            }
            let (code, body) = if namespace == "a" || open { (200, list(&namespace)) } else { (403, refusal()) };
            let response = Response::builder().status(code).body(Body::from(body.to_string().into_bytes()));
            Ok::<_, kube::Error>(response.unwrap())
        }
    });
    Client::new(service, "default")
}

fn list(namespace: &str) -> Value {
    let object = json!({"metadata": {"name": "config", "namespace": namespace, "resourceVersion": "1"}});
    json!({"apiVersion": "v1", "kind": "ConfigMapList", "metadata": {"resourceVersion": "1"}, "items": [object]})
}

fn refusal() -> Value {
    json!({"kind": "Status", "apiVersion": "v1", "status": "Failure", "reason": "Forbidden", "code": 403})
}

#[tokio::test(start_paused = true)]
async fn a_namespace_that_is_refused_is_known_as_soon_as_it_may_be_read() {
    let (open, cache) = (Arc::new(AtomicBool::new(false)), Cache::new(|_: &ConfigMap| None));
    let (store, writer) = reflector::store();
    let received = Arc::new(Mutex::new(Vec::new()));
    let log = Arc::clone(&received);
    let scope = Scope::of(["a", "b"]);
    let config = WatchTiming::default().config(None);
    let watcher = KindWatcher::new(&api_server(&open), &scope, (), config, cache.clone())
        .store(writer)
        .listen(move |change| log.lock().unwrap().push(change.object().namespace().unwrap()));
    let (progress, run) = watcher.start();
    tokio::spawn(run);

    progress.synced().await;
    store.wait_until_ready().await.unwrap();
    assert!(progress.knows("a") && !progress.knows("b"));
    assert_eq!(*received.lock().unwrap(), ["a"]);
    // The list is retried many times in this period.
    tokio::time::sleep(std::time::Duration::from_mins(10)).await;
    assert!(!progress.knows("b"));

    open.store(true, Ordering::SeqCst);
    progress.known("b").await;
    assert_eq!(*received.lock().unwrap(), ["a", "b"], "the other namespace is not told of again");
    for namespace in ["a", "b"] {
        let held = store.get(&ObjectRef::new("config").within(namespace)).unwrap();
        assert!(Arc::ptr_eq(&held, &cache.get(namespace, "config").unwrap()), "one copy is enough");
    }
}
