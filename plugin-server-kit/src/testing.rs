//! Helpers for the tests of a plugin: they build a request, call the real router, and check the response.
//!
//! ```
//! use dask_plugin_server::{Answer, Plugin, PluginError, protocol::{Discovery, PluginRequest}};
//! use dask_plugin_server::testing::{RequestBuilder, TestPlugin};
//! use serde_json::json;
//!
//! struct Nothing;
//! impl Plugin for Nothing {
//!     fn discovery(&self) -> Discovery { Discovery::new("nothing", "1.0.0") }
//!     async fn sync(&self, _: &PluginRequest) -> Result<Answer, PluginError> { Ok(Answer::none()) }
//! }
//!
//! # #[tokio::main(flavor = "current_thread")] async fn main() {
//! let request = RequestBuilder::sync().settings(json!({"anything": true}));
//! let response = TestPlugin::new(Nothing).sync(request).await;
//! assert_eq!(response.children, Some(vec![]));
//! # }
//! ```

use std::collections::BTreeSet;

use axum::body::{Body, to_bytes};
use dask_plugin_protocol::limits::{MAX_CHILDREN, MAX_RESPONSE_BYTES};
use dask_plugin_protocol::{
    ChildKey, ControllerInfo, Event, EventReason, Hook, ObservedChild, Owner, PluginInfo, PluginRequest,
    PluginResponse, ReviewRequest, ReviewResponse, StatusInDigest, Subject, digest_of, path,
};
use http::header::CONTENT_TYPE;
use http::{Request, StatusCode};
use serde_json::{Value, json};
use tower::ServiceExt as _;

use crate::{Plugin, Router, router};

/// Returns the scheduler's Service of `cluster`, as the controller creates it.
pub fn scheduler_service(cluster: &str, namespace: &str) -> Value {
    let labels = json!({"dask.org/cluster-name": cluster, "dask.org/component": "scheduler"});
    json!({
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {
            "name": format!("{cluster}-scheduler"),
            "namespace": namespace,
            "uid": "7d1f7c4e-5d3a-4a39-9c3a-0d2c5f3b8a11",
            "labels": labels,
        },
        "spec": {
            "type": "ClusterIP",
            "selector": labels,
            "ports": [
                {"name": "tcp-comm", "protocol": "TCP", "port": 8786, "targetPort": "tcp-comm"},
                {"name": "http-dashboard", "protocol": "TCP", "port": 8787, "targetPort": "http-dashboard"},
            ],
        },
    })
}

/// Returns a minimal DaskCluster.
pub fn dask_cluster(name: &str, namespace: &str) -> Value {
    json!({
        "apiVersion": "kubernetes.dask.org/v1",
        "kind": "DaskCluster",
        "metadata": {
            "name": name,
            "namespace": namespace,
            "uid": "0a4be3f2-1c55-4f0e-9a43-3f6d6ac1f1c2",
        },
        "spec": {},
    })
}

/// Builds a request like those of the controller.
///
/// By default, the subject is the scheduler's Service of the cluster `demo` in the namespace `team-a`.
///
/// ```
/// use dask_plugin_server::testing::RequestBuilder;
/// use serde_json::json;
///
/// let request = RequestBuilder::finalize().settings(json!({"domain": "example.org"})).build();
/// assert_eq!(request.subject.name(), "demo-scheduler");
/// assert!(request.uid.starts_with("sha256:"));
/// ```
#[derive(Debug, Clone)]
#[must_use]
pub struct RequestBuilder {
    request: PluginRequest,
}

impl RequestBuilder {
    /// Builds a request for the hook Sync.
    pub fn sync() -> Self {
        Self::of(Hook::Sync)
    }

    /// Builds a request for the hook Finalize.
    pub fn finalize() -> Self {
        Self::of(Hook::Finalize)
    }

    fn of(hook: Hook) -> Self {
        let event = Event::new("", EventReason::Created, "2026-01-01T00:00:00Z");
        let plugin = PluginInfo::new("plugin", "dask-operator", 1, json!({}));
        let (subject, owner) = (Subject::new(Value::Null), Owner::new("", "", Value::Null));
        let request = PluginRequest::new(hook, event, plugin, subject, owner)
            .controller(ControllerInfo::new(env!("CARGO_PKG_VERSION")));
        Self { request }.subject(scheduler_service("demo", "team-a")).owner(dask_cluster("demo", "team-a"))
    }

    /// Sets the subject. Its label `dask.org/component` is the component.
    pub fn subject(mut self, object: Value) -> Self {
        let component =
            object.pointer("/metadata/labels/dask.org~1component").and_then(Value::as_str).map(ToOwned::to_owned);
        self.request.subject = Subject::new(object);
        self.request.subject.component = component;
        let kind = self.request.subject.kind().to_lowercase();
        self.request.event.type_ = match &self.request.subject.component {
            Some(component) => format!("org.dask.kubernetes.{kind}.{component}"),
            None => format!("org.dask.kubernetes.{kind}"),
        };
        self
    }

    /// Sets the Dask resource that owns the children.
    pub fn owner(mut self, object: Value) -> Self {
        self.request.owner = Owner::from_object(object);
        self
    }

    /// Sets `spec.settings` of the plugin resource.
    pub fn settings(mut self, settings: Value) -> Self {
        self.request.plugin.settings = settings;
        self
    }

    /// Adds a child of an earlier response, as it is in the cluster.
    pub fn observed(mut self, key: impl Into<String>, object: Value) -> Self {
        self.request.observed.children.insert(key.into(), ObservedChild::new(object));
        self
    }

    /// Sets the reason for the call.
    pub fn reason(mut self, reason: EventReason) -> Self {
        self.request.event.reason = reason;
        self
    }

    /// Returns the request with the uid that the controller would give it.
    ///
    /// # Panics
    /// Panics if the request has no canonical JSON form.
    pub fn build(mut self) -> PluginRequest {
        self.request.uid =
            digest_of(&self.request, StatusInDigest::Ignored).expect("a request of JSON values has a canonical form");
        self.request
    }
}

impl From<RequestBuilder> for PluginRequest {
    fn from(builder: RequestBuilder) -> Self {
        builder.build()
    }
}

/// Calls a plugin through its real router, without a network.
#[derive(Debug, Clone)]
pub struct TestPlugin {
    router: Router,
}

impl TestPlugin {
    /// Creates the router of `plugin`, see [`router`].
    pub fn new<P: Plugin>(plugin: P) -> Self {
        Self { router: router(plugin) }
    }

    /// Calls the hook Sync and returns the response.
    ///
    /// # Panics
    /// Panics if the controller would refuse the response: its status is not 200, its uid is wrong, a child key is
    /// invalid or occurs twice, or it has too many children.
    pub async fn sync(&self, request: impl Into<PluginRequest>) -> PluginResponse {
        self.call(path::SYNC, request.into()).await
    }

    /// Calls the hook Finalize and returns the response.
    ///
    /// # Panics
    /// Panics like [`TestPlugin::sync`].
    pub async fn finalize(&self, request: impl Into<PluginRequest>) -> PluginResponse {
        self.call(path::FINALIZE, request.into()).await
    }

    async fn call(&self, path: &str, request: PluginRequest) -> PluginResponse {
        let uid = request.uid.clone();
        let body = serde_json::to_vec(&ReviewRequest::new(request)).expect("a request is JSON");
        let request = Request::post(path)
            .header(CONTENT_TYPE, "application/json")
            .body(Body::from(body))
            .expect("the request is complete");
        let Ok(response) = self.router.clone().oneshot(request).await;
        let status = response.status();
        let body =
            to_bytes(response.into_body().0, MAX_RESPONSE_BYTES).await.expect("the response is within the limit");
        let text = String::from_utf8_lossy(&body);
        assert_eq!(status, StatusCode::OK, "{text}");
        let review: ReviewResponse = serde_json::from_slice(&body).expect("the response is a review");
        assert_eq!(review.response.uid, uid, "the response has a wrong uid");
        assert_keys(&review.response);
        review.response
    }
}

fn assert_keys(response: &PluginResponse) {
    let children = response.children.as_deref().unwrap_or_default();
    assert!(children.len() <= MAX_CHILDREN, "too many children");
    let mut seen = BTreeSet::new();
    for child in children {
        let key = &child.key;
        assert!(ChildKey::new(key).is_ok(), "child key {key:?} is invalid");
        assert!(seen.insert(key), "child key {key:?} occurs twice");
    }
}
