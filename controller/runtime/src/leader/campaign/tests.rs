//! Tests of whole campaigns against an API server that has one Lease.

use std::sync::{Arc, Mutex};

use http::{Method, Request, Response};
use http_body_util::BodyExt as _;
use kube::client::Body;
use serde_json::{Value, json};
use tower::service_fn;

use super::*;

/// The time that Kubernetes makes of 9999-12-31T23:59:59-12:00. No client can read it.
const ODD_TIME: &str = "10000-01-01T11:59:59.000000Z";

/// The Lease that is stored, if there is one.
type Stored = Arc<Mutex<Option<Value>>>;

fn mk_stored(holder: &str, version: u32) -> Value {
    json!({
        "apiVersion": "coordination.k8s.io/v1",
        "kind": "Lease",
        "metadata": {"name": "dask-operator", "namespace": "ns", "uid": "u", "resourceVersion": version.to_string()},
        "spec": {"holderIdentity": holder, "leaseDurationSeconds": 1, "renewTime": ODD_TIME},
    })
}

fn refusal(code: u16, reason: &str) -> (u16, Value) {
    (code, json!({"kind": "Status", "apiVersion": "v1", "status": "Failure", "reason": reason, "code": code}))
}

/// Responds to a request as the API server does. `body` is the object to store.
fn answer(stored: &Stored, method: &Method, body: &[u8]) -> (u16, Value) {
    let mut stored = stored.lock().unwrap();
    if method == Method::GET {
        return stored.clone().map_or_else(|| refusal(404, "NotFound"), |lease| (200, lease));
    }
    let mut lease: Value = serde_json::from_slice(body).unwrap();
    let version = |lease: &Value| lease["metadata"]["resourceVersion"].as_str().map(str::to_owned);
    let known = stored.as_ref().and_then(version);
    if version(&lease) != known {
        return refusal(409, "Conflict");
    }
    let next = known.map_or(1, |known| known.parse::<u32>().unwrap() + 1);
    lease["metadata"]["resourceVersion"] = json!(next.to_string());
    *stored = Some(lease.clone());
    (200, lease)
}

/// Returns a client of an API server whose watches report nothing.
fn client(stored: &Stored) -> Client {
    let stored = Arc::clone(stored);
    Client::new(
        service_fn(move |request: Request<Body>| {
            let stored = Arc::clone(&stored);
            async move {
                if request.uri().path().ends_with("/leases") && request.method() == Method::GET {
                    std::future::pending::<()>().await;
                }
                let (parts, body) = request.into_parts();
                let body = body.collect().await?.to_bytes();
                let (code, answer) = answer(&stored, &parts.method, &body);
                let response = Response::builder().status(code).body(Body::from(answer.to_string().into_bytes()));
                Ok::<_, Box<dyn std::error::Error + Send + Sync>>(response.unwrap())
            }
        }),
        "ns",
    )
}

fn mk_candidate(stored: &Stored, seconds: u16) -> (Candidate, watch::Receiver<bool>) {
    let (leading, leads) = watch::channel(false);
    let (namespace, name) = ("ns".to_owned(), "dask-operator".to_owned());
    let settings = Settings { namespace, name, seconds, pod: None, watches: crate::scope::Scope::all() };
    (Candidate::new(client(stored), &settings, leading), leads)
}

fn holder(stored: &Stored) -> Value {
    stored.lock().unwrap().as_ref().map(|lease| lease["spec"]["holderIdentity"].clone()).unwrap_or_default()
}

#[tokio::test]
async fn a_lease_that_cannot_be_read_is_taken_when_it_has_run_out() {
    let stored = Stored::new(Mutex::new(Some(mk_stored("other", 7))));
    let (mut candidate, mut leads) = mk_candidate(&stored, 1);
    let begin = Instant::now();
    tokio::select! {
        lost = candidate.campaign() => panic!("{lost}"),
        result = leads.wait_for(|leads| *leads) => { result.unwrap(); }
        () = tokio::time::sleep(Duration::from_secs(20)) => panic!("it does not lead"),
    }
    assert!(begin.elapsed() >= Duration::from_secs(1), "what another may hold was taken after {:?}", begin.elapsed());
    assert_eq!(holder(&stored), json!(candidate.identity));
}

#[tokio::test]
async fn a_leader_replaces_an_unreadable_lease() {
    let stored = Stored::default();
    let (mut candidate, mut leads) = mk_candidate(&stored, 3);
    let identity = candidate.identity.clone();
    let break_it = async {
        leads.wait_for(|leads| *leads).await.unwrap();
        *stored.lock().unwrap() = Some(mk_stored("unknown", 70));
        while holder(&stored) != json!(identity) {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::select! {
        lost = candidate.campaign() => panic!("{lost}"),
        () = break_it => {}
        () = tokio::time::sleep(Duration::from_secs(20)) => panic!("the Lease stays as it is"),
    }
    assert!(*leads.borrow());
    let written: Lease = serde_json::from_value(stored.lock().unwrap().clone().unwrap()).unwrap();
    assert!(written.spec.unwrap().renew_time.is_some());
}
