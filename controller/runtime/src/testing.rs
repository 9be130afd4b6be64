//! An API server for tests of whole passes. It responds as the test specifies, and records the write requests. Also
//! [how tools understand a status](health).
#![expect(clippy::unwrap_used, clippy::missing_panics_doc, reason = "a test that cannot be set up fails")]

pub mod health;

use std::sync::{Arc, Mutex};

use axum::{
    Json, Router,
    http::{Method, StatusCode, Uri},
    response::{IntoResponse as _, Response},
};
use k8s_openapi::api::core::v1::ConfigMap;
use kube::{Client, Config};
use serde_json::{Value, json};
use tokio::net::TcpListener;

pub use self::health::{HealthCase, check_health, health_message, is_met, kstatus};
pub use crate::leader::leading;

/// The methods and paths of the write requests, in order.
#[derive(Clone, Default)]
pub struct Writes(Arc<Mutex<Vec<String>>>);

impl Writes {
    /// Returns the write requests since the last call.
    pub fn take(&self) -> Vec<String> {
        std::mem::take(&mut *self.0.lock().unwrap())
    }
}

/// Returns a client of an API server that responds with `answer`, and the record of its write requests.
pub async fn stub_api_server(
    answer: impl Fn(&Method, &str) -> Response + Clone + Send + Sync + 'static,
) -> (Client, Writes) {
    let writes = Writes::default();
    let noted = writes.clone();
    let answer = move |method: Method, uri: Uri| {
        if method != Method::GET {
            noted.0.lock().unwrap().push(format!("{method} {}", uri.path()));
        }
        std::future::ready(answer(&method, uri.path()))
    };
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let uri = format!("http://{}", listener.local_addr().unwrap()).parse().unwrap();
    tokio::spawn(axum::serve(listener, Router::new().fallback(answer)).into_future());
    (Client::try_from(Config::new(uri)).unwrap(), writes)
}

/// Answers each request with 201.
pub fn made(_: &Method, _: &str) -> Response {
    (StatusCode::CREATED, Json(json!({}))).into_response()
}

/// Rejects each request as the API server rejects creations in a namespace that is being deleted.
pub fn namespace_ends(_: &Method, _: &str) -> Response {
    (StatusCode::FORBIDDEN, Json(namespace_terminating())).into_response()
}

/// Returns the `Status` of a rejected creation in a namespace that is being deleted.
pub fn namespace_terminating() -> Value {
    json!({
        "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure", "code": 403, "reason": "Forbidden",
        "message": "deployments.apps \"a\" is forbidden: unable to create new content in namespace ns because it is being \
            terminated",
        "details": {"name": "a", "group": "apps", "kind": "deployments", "causes": [
            {"reason": "NamespaceTerminating", "message": "namespace ns is being terminated", "field": "metadata.namespace"},
        ]},
    })
}

/// Returns about how many bytes `object` takes in a cache.
pub fn footprint<T: serde::Serialize>(object: &T) -> usize {
    crate::watch::footprint(object)
}

/// Returns an object of a kind that every API server serves.
pub fn mk_config_map(namespace: &str, name: &str) -> ConfigMap {
    serde_json::from_value(json!({"metadata": {"name": name, "namespace": namespace}})).unwrap()
}
