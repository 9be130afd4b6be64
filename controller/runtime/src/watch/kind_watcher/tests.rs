//! Tests of the watches of one kind against an API server.

use std::sync::{
    Mutex,
    atomic::{AtomicBool, Ordering},
};

use http::{Request, Response};
use k8s_openapi::api::core::v1::ConfigMap;
use kube::{
    ResourceExt as _,
    client::Body,
    runtime::reflector::{self, ObjectRef},
};
use serde_json::{Value, json};
use tokio::sync::mpsc;
use tower::service_fn;

use super::*;
use crate::watch::{MemoryLimits, WatchTiming};

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
    let (progress, run) = (watcher.sync_status(), watcher.run(MemoryBudget::unlimited()));
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

/// The limits of a controller for one namespace.
const LIMITS: MemoryLimits = MemoryLimits { namespace: 1 << 20, total: 1 << 30 };

/// A ConfigMap of namespace `a` whose content takes so many KiB.
fn large(name: &str, version: u32, created: &str, kibibytes: usize) -> Value {
    let version = version.to_string();
    let metadata = json!({"name": name, "namespace": "a", "resourceVersion": version, "creationTimestamp": created});
    json!({"metadata": metadata, "data": {"a": "b".repeat(kibibytes << 10)}})
}

/// The answers to the watch requests, one after the other.
type WatchAnswers = Arc<tokio::sync::Mutex<mpsc::UnboundedReceiver<Vec<String>>>>;

/// Returns an event of a watch, with its type first as the API server sends it.
fn event(type_: &str, object: &Value) -> String {
    format!("{{\"type\": \"{type_}\", \"object\": {object}}}\n")
}

/// Returns a client of an API server with these ConfigMaps. A request for one of them by name gets it.
fn api_server_with(objects: Vec<Value>, events: WatchAnswers) -> Client {
    let objects = Arc::new(objects);
    let service = service_fn(move |request: Request<Body>| {
        let (objects, events) = (Arc::clone(&objects), Arc::clone(&events));
        async move {
            let query = request.uri().query().unwrap_or_default().to_owned();
            let body = if query.contains("watch=true") {
                let Some(events) = events.lock().await.recv().await else { std::future::pending().await };
                events.concat()
            } else {
                let named = |object: &&Value| {
                    let name = object["metadata"]["name"].as_str().unwrap();
                    !query.contains("fieldSelector") || query.contains(&format!("metadata.name%3D{name}"))
                };
                let items: Vec<&Value> = objects.iter().filter(named).collect();
                let metadata = json!({"resourceVersion": "2"});
                json!({"apiVersion": "v1", "kind": "ConfigMapList", "metadata": metadata, "items": items}).to_string()
            };
            Ok::<_, kube::Error>(Response::builder().status(200).body(Body::from(body.into_bytes())).unwrap())
        }
    });
    Client::new(service, "default")
}

fn unreadable(progress: &SyncStatus) -> Vec<(String, &'static str)> {
    progress.unreadable().iter().map(|object| (object.reference.name.clone().unwrap(), object.reason)).collect()
}

#[tokio::test(start_paused = true)]
async fn what_a_namespace_has_no_room_for_is_left_out_until_there_is_room() {
    let (old, young) = ("2026-01-01T00:00:00Z", "2026-01-02T00:00:00Z");
    let objects = vec![large("first", 2, young, 600), large("second", 1, old, 600)];
    let (events, receiver) = mpsc::unbounded_channel();
    let client = api_server_with(objects, Arc::new(tokio::sync::Mutex::new(receiver)));
    let (cache, budget) = (Cache::new(|_: &ConfigMap| None), MemoryBudget::new(LIMITS));
    let (store, writer) = reflector::store();
    let (sender, mut changes) = mpsc::unbounded_channel();
    let config = WatchTiming::default().config(None);
    let watcher = KindWatcher::new(&client, &Scope::all(), (), config, cache.clone())
        .store(writer)
        .listen(move |change| sender.send(change.clone()).unwrap());
    let (progress, run) = (watcher.sync_status(), watcher.run(budget.clone()));
    let task = tokio::spawn(run);
    let what = |change: Change<ConfigMap>| (matches!(change, Change::Applied(_)), change.object().name_any());

    assert_eq!(what(changes.recv().await.unwrap()), (true, "second".to_owned()), "it is older");
    assert_eq!(unreadable(&progress), [("first".to_owned(), "NamespaceTooLarge")]);
    assert!((600 << 10..700 << 10).contains(&budget.used("a")), "{}", budget.used("a"));

    // It becomes too large itself.
    let grown = event("MODIFIED", &large("second", 3, old, 1023));
    events.send(vec![grown, event("ADDED", &large("third", 4, young, 1))]).unwrap();
    assert_eq!(what(changes.recv().await.unwrap()), (true, "third".to_owned()), "there is room for small objects");
    assert_eq!(unreadable(&progress).len(), 2, "{:?}", unreadable(&progress));
    assert_eq!(cache.get("a", "second").unwrap().resource_version().as_deref(), Some("1"), "others depend on it");
    assert!(store.get(&ObjectRef::new("second").within("a")).is_none(), "its own reconciler does not see it");

    events.send(vec![event("DELETED", &large("second", 5, old, 1023))]).unwrap();
    assert_eq!(what(changes.recv().await.unwrap()), (false, "second".to_owned()));
    assert_eq!(what(changes.recv().await.unwrap()), (true, "first".to_owned()), "it is read again");
    assert_eq!(unreadable(&progress), []);
    assert!((600 << 10..700 << 10).contains(&budget.used("a")), "{}", budget.used("a"));

    task.abort();
    assert!(task.await.unwrap_err().is_cancelled());
    assert_eq!(budget.used("a"), 0, "a watch that ends holds nothing");
}
