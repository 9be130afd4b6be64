//! For a plugin's own tests (feature `testing`): build a request, ask the real router, look at the answer.
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

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::http::header::CONTENT_TYPE;
use axum::http::{Request, StatusCode};
use dask_plugin_protocol::limits::{MAX_CHILDREN, MAX_RESPONSE_BYTES};
use dask_plugin_protocol::{
    ChildKey, ControllerInfo, Event, EventReason, Hook, Observed, ObservedChild, Owner, PluginInfo, PluginRequest,
    PluginResponse, ReviewRequest, ReviewResponse, StatusInDigest, Subject, digest_of, path,
};
use serde_json::{Value, json};
use tower::ServiceExt as _;

use crate::{Plugin, router};

/// The scheduler's Service of the cluster `cluster`, as the controller makes it.
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

/// A DaskCluster without much in it.
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

/// A request like those of the controller: about the scheduler's Service of the cluster `demo` in the
/// namespace `team-a`, until told otherwise.
#[derive(Debug, Clone)]
#[must_use]
pub struct RequestBuilder {
    request: PluginRequest,
}

impl RequestBuilder {
    /// A call to the hook Sync.
    pub fn sync() -> Self {
        Self::of(Hook::Sync)
    }

    /// A call to the hook Finalize.
    pub fn finalize() -> Self {
        Self::of(Hook::Finalize)
    }

    fn of(hook: Hook) -> Self {
        let request = PluginRequest {
            uid: String::new(),
            hook,
            attempt: 1,
            dry_run: false,
            event: Event {
                type_: String::new(),
                reason: EventReason::Created,
                time: "2026-01-01T00:00:00Z".to_owned(),
            },
            plugin: PluginInfo {
                name: "plugin".to_owned(),
                namespace: "dask-operator".to_owned(),
                generation: 1,
                settings: json!({}),
            },
            controller: ControllerInfo { version: env!("CARGO_PKG_VERSION").to_owned(), capabilities: Vec::new() },
            subject: Subject { component: None, object: Value::Null },
            owner: Owner { api_version: String::new(), kind: String::new(), object: Value::Null },
            observed: Observed::default(),
        };
        Self { request }.subject(scheduler_service("demo", "team-a")).owner(dask_cluster("demo", "team-a"))
    }

    /// The object that children are wanted for; its label `dask.org/component` tells the component.
    pub fn subject(mut self, object: Value) -> Self {
        let component =
            object.pointer("/metadata/labels/dask.org~1component").and_then(Value::as_str).map(ToOwned::to_owned);
        self.request.subject = Subject { component, object };
        let kind = self.request.subject.kind().to_lowercase();
        self.request.event.type_ = match &self.request.subject.component {
            Some(component) => format!("org.dask.kubernetes.{kind}.{component}"),
            None => format!("org.dask.kubernetes.{kind}"),
        };
        self
    }

    /// The Dask resource that will own the children.
    pub fn owner(mut self, object: Value) -> Self {
        let text = |field: &str| object[field].as_str().unwrap_or_default().to_owned();
        self.request.owner = Owner { api_version: text("apiVersion"), kind: text("kind"), object };
        self
    }

    /// `spec.settings` of the plugin resource.
    pub fn settings(mut self, settings: Value) -> Self {
        self.request.plugin.settings = settings;
        self
    }

    /// Adds a child of an earlier answer, as it is in the cluster.
    pub fn observed(mut self, key: impl Into<String>, object: Value) -> Self {
        let child = ObservedChild { object };
        self.request.observed.children.insert(key.into(), child);
        self
    }

    /// Why the call is made.
    pub fn reason(mut self, reason: EventReason) -> Self {
        self.request.event.reason = reason;
        self
    }

    /// The request, with the uid that the controller would give it.
    ///
    /// # Panics
    /// If the request has no canonical JSON form.
    pub fn build(mut self) -> PluginRequest {
        self.request.uid = digest_of(&self.request, StatusInDigest::Ignored)
            .expect("a request that is made of JSON has a canonical form");
        self.request
    }
}

impl From<RequestBuilder> for PluginRequest {
    fn from(builder: RequestBuilder) -> Self {
        builder.build()
    }
}

/// A plugin behind its real router, without a network.
#[derive(Debug, Clone)]
pub struct TestPlugin {
    router: Router,
}

impl TestPlugin {
    /// Puts `plugin` behind [`router`].
    pub fn new<P: Plugin>(plugin: P) -> Self {
        Self { router: router(plugin) }
    }

    /// The answer of the hook Sync.
    ///
    /// # Panics
    /// If the controller would refuse the answer: another status than 200, another uid, an invalid or
    /// repeated child key, too many children.
    pub async fn sync(&self, request: impl Into<PluginRequest>) -> PluginResponse {
        self.call(path::SYNC, request.into()).await
    }

    /// The answer of the hook Finalize.
    ///
    /// # Panics
    /// As [`TestPlugin::sync`].
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
        let body = to_bytes(response.into_body(), MAX_RESPONSE_BYTES).await.expect("the answer is within the limit");
        let text = String::from_utf8_lossy(&body);
        assert_eq!(status, StatusCode::OK, "{text}");
        let review: ReviewResponse = serde_json::from_slice(&body).expect("the answer is a review");
        assert_eq!(review.response.uid, uid, "the answer has another uid");
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
        assert!(seen.insert(key), "child key {key:?} is there twice");
    }
}
