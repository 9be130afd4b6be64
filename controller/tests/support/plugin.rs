//! A plugin whose responses a test sets. It is served by `plugin-server-kit`, as real plugins are.

use std::{
    future::pending,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU32, AtomicUsize, Ordering},
    },
};

use axum::{
    Router,
    body::{Body, to_bytes},
    extract::{Request, State},
    http::{HeaderMap, StatusCode},
    middleware::{Next, from_fn_with_state},
    response::{IntoResponse as _, Response},
};
use plugin_server_kit::{
    Answer, Plugin, PluginError,
    protocol::{
        Child, Condition, ConditionStatus, Discovery, Hook, PluginRequest, PluginResponse, ReviewRequest,
        ReviewResponse,
    },
    router,
    serve::{Listener, serve},
    tls::Tls,
};
use serde_json::{Value, json};
use tokio::{sync::oneshot, task::JoinHandle};

use super::{
    TestContext, condition,
    controller::{free_port, listen},
    eventually,
};

/// What the plugin does with a call.
#[derive(Clone, Debug)]
pub(crate) enum Reply {
    /// A Success with exactly these children.
    Children(Vec<Child>),
    /// A Success with a child, conditions (type, status) and warnings.
    WithConditions(Child, Vec<(&'static str, ConditionStatus)>, Vec<&'static str>),
    /// A Failure: reason and message.
    Failure(&'static str, &'static str),
    /// A Pending.
    Pending,
    /// The end of the hook Finalize: nothing is held any more.
    Finalized,
    /// An HTTP error.
    Code(u16),
    /// A 200 with this body.
    Text(&'static str),
    /// The right response to another request.
    OtherUid,
    /// No response.
    Hang,
}

/// A call as it arrived.
#[derive(Clone, Debug)]
pub(crate) struct Call {
    pub(crate) headers: HeaderMap,
    pub(crate) query: String,
    pub(crate) request: PluginRequest,
}

type Behaviour = Box<dyn Fn(&PluginRequest) -> Reply + Send + Sync>;

struct Shared {
    behaviour: Mutex<Behaviour>,
    calls: Mutex<Vec<Call>>,
    in_flight: AtomicUsize,
    most_in_flight: AtomicUsize,
    finalizes: AtomicBool,
}

/// A plugin resource in a test's namespace, and the server behind it.
pub(crate) struct TestPlugin {
    pub(crate) name: &'static str,
    context: TestContext,
    port: u16,
    shared: Arc<Shared>,
    touched: AtomicU32,
    server: Option<Server>,
}

struct Server {
    stop: oneshot::Sender<()>,
    task: JoinHandle<()>,
}

impl Drop for Server {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl TestPlugin {
    /// Returns a plugin that answers each call with one ConfigMap. Creates and serves nothing yet.
    pub(crate) fn new(context: &TestContext, name: &'static str) -> Self {
        let shared = Shared {
            behaviour: Mutex::new(Box::new(|_| Reply::Children(vec![config("config", "first")]))),
            calls: Mutex::default(),
            in_flight: AtomicUsize::new(0),
            most_in_flight: AtomicUsize::new(0),
            finalizes: AtomicBool::new(false),
        };
        let (context, port, touched) = (context.clone(), free_port(), AtomicU32::new(0));
        Self { name, context, port, shared: Arc::new(shared), touched, server: None }
    }

    /// Creates the resource of a plugin that answers each call with one ConfigMap, serves it, and waits until it is ready.
    pub(crate) async fn installed(context: &TestContext, name: &'static str) -> Self {
        let mut plugin = Self::new(context, name);
        plugin.install().await;
        plugin
    }

    /// Makes its discovery list the hook Finalize from now on.
    pub(crate) fn serve_finalize(&self) {
        self.shared.finalizes.store(true, Ordering::SeqCst);
    }

    /// Returns the resource. Its subjects are schedulers' Services, its children ConfigMaps and Ingresses.
    pub(crate) fn manifest(&self) -> Value {
        json!({
            "apiVersion": "kubernetes.dask.org/v1alpha1",
            "kind": "DaskOperatorPlugin",
            "metadata": {"name": self.name},
            "spec": {
                "endpoint": {"service": {"name": self.name, "port": self.port}},
                "subjects": [{"kind": "Service", "component": "scheduler"}],
                "children": [
                    {"apiVersion": "v1", "kind": "ConfigMap"},
                    {"apiVersion": "networking.k8s.io/v1", "kind": "Ingress"},
                ],
                "settings": {"domain": "example.org"},
            },
        })
    }

    /// Creates the resource, serves it, and waits until it is ready.
    pub(crate) async fn install(&mut self) {
        let manifest = self.manifest();
        self.install_as(&manifest).await;
    }

    /// Does the same as [`TestPlugin::install`] with another manifest.
    pub(crate) async fn install_as(&mut self, manifest: &Value) {
        self.context.create(manifest).await;
        self.serve().await;
        self.touch_endpoints().await;
        self.until_ready("True", "Ready").await;
    }

    /// Serves HTTPS with the Secret that the controller writes for the plugin, as a pod that mounts it does.
    pub(crate) async fn serve(&mut self) {
        let folder = self.context.folder();
        self.write_certificates(&folder).await;
        let tls = Tls::load(folder).await.unwrap();
        self.serve_on(Listener::tls(listen(self.port).await.into_std().unwrap(), tls).unwrap());
    }

    /// Writes the Secret that the controller creates for the plugin into `folder`, as a kubelet mounts it.
    pub(crate) async fn write_certificates(&self, folder: &std::path::Path) {
        let secret = self.context.appears("Secret", &format!("{}-plugin-tls", self.name)).await;
        for file in ["ca.crt", "tls.crt", "tls.key"] {
            let bytes: k8s_openapi::ByteString = serde_json::from_value(secret["data"][file].clone()).unwrap();
            std::fs::write(folder.join(file), bytes.0).unwrap();
        }
    }

    /// Returns the port that it is served on.
    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    /// Serves plain HTTP, as during development. Returns the URL.
    pub(crate) async fn serve_plain(&mut self) -> String {
        self.serve_on(Listener::tcp(listen(self.port).await.into_std().unwrap()).unwrap());
        format!("http://127.0.0.1:{}", self.port)
    }

    /// Serves a Unix socket of this name in the directory of a sidecar with the plugin's name.
    pub(crate) fn serve_socket(&mut self, file: &str) {
        let folder = self.context.socket_dir().join(self.name);
        std::fs::create_dir_all(&folder).unwrap();
        self.serve_on(Listener::unix(folder.join(file)).unwrap());
    }

    fn serve_on(&mut self, listener: Listener) {
        let programmed = Router::new().fallback_service(router(Programmed(Arc::clone(&self.shared))));
        let programmed: Router = programmed.layer(from_fn_with_state(Arc::clone(&self.shared), intercept));
        let (stop, stopped) = oneshot::channel();
        let task = tokio::spawn(serve(listener, programmed, async move { drop(stopped.await) }));
        self.server = Some(Server { stop, task });
    }

    /// Stops the server; its port refuses connections when this returns.
    pub(crate) async fn stop(&mut self) {
        let mut server = self.server.take().unwrap();
        let (stop, _) = oneshot::channel();
        std::mem::replace(&mut server.stop, stop).send(()).unwrap();
        (&mut server.task).await.unwrap();
    }

    /// Changes the EndpointSlice of the plugin's Service, as Kubernetes does when a pod changes.
    pub(crate) async fn touch_endpoints(&self) {
        let count = self.touched.fetch_add(1, Ordering::Relaxed);
        let slice = json!({
            "apiVersion": "discovery.k8s.io/v1",
            "kind": "EndpointSlice",
            "metadata": {
                "name": self.name,
                "labels": {"kubernetes.io/service-name": self.name},
                "annotations": {"touched": count.to_string()},
            },
            "addressType": "IPv4",
            "endpoints": [],
        });
        self.context.apply(&slice).await;
    }

    /// Sets the function that decides on each call.
    pub(crate) fn respond_with(&self, behaviour: impl Fn(&PluginRequest) -> Reply + Send + Sync + 'static) {
        *self.shared.behaviour.lock().unwrap() = Box::new(behaviour);
    }

    /// Sets the response to each call.
    pub(crate) fn answer(&self, reply: Reply) {
        self.respond_with(move |_| reply.clone());
    }

    /// Returns all calls so far.
    pub(crate) fn calls(&self) -> Vec<Call> {
        self.shared.calls.lock().unwrap().clone()
    }

    /// Returns all calls so far about one subject.
    pub(crate) fn calls_about(&self, subject: &str) -> Vec<Call> {
        let mut calls = self.calls();
        calls.retain(|call| call.request.subject.name() == subject);
        calls
    }

    /// Forgets the calls so far.
    pub(crate) fn forget_calls(&self) {
        self.shared.calls.lock().unwrap().clear();
    }

    /// Returns the number of calls in progress, and its maximum so far.
    pub(crate) fn in_flight(&self) -> (usize, usize) {
        (self.shared.in_flight.load(Ordering::SeqCst), self.shared.most_in_flight.load(Ordering::SeqCst))
    }

    /// Waits until the condition Ready has this status and reason.
    pub(crate) async fn until_ready(&self, status: &str, reason: &str) -> Value {
        self.until(|plugin| condition(plugin, "Ready") == (status, reason)).await
    }

    /// Waits until the resource fulfils `condition`.
    pub(crate) async fn until(&self, condition: impl Fn(&Value) -> bool) -> Value {
        self.context.until("DaskOperatorPlugin", self.name, condition).await
    }

    /// Waits for these counts of subjects.
    pub(crate) async fn until_counts(&self, matched: u32, synced: u32, failing: u32) -> Value {
        let wanted = json!({"matched": matched, "synced": synced, "failing": failing});
        self.until(|plugin| plugin["status"]["subjects"] == wanted).await
    }

    /// Waits until some subject fails for this reason. Returns the failure.
    pub(crate) async fn until_failing(&self, reason: &str) -> Value {
        let plugin = self.until(|plugin| plugin["status"]["failures"][0]["reason"] == reason).await;
        plugin["status"]["failures"][0].clone()
    }

    /// Waits until `condition` holds for the calls so far.
    pub(crate) async fn until_called(&self, what: &str, condition: impl Fn(&[Call]) -> bool) {
        eventually(what, async || {
            let calls = self.calls();
            if condition(&calls) { Ok(()) } else { Err(format!("there were {} calls", calls.len())) }
        })
        .await;
    }
}

/// Returns a ConfigMap with one value.
pub(crate) fn config(key: &str, value: &str) -> Child {
    Child::new(key, json!({"apiVersion": "v1", "kind": "ConfigMap", "data": {"value": value}}))
}

struct Programmed(Arc<Shared>);

impl Plugin for Programmed {
    fn discovery(&self) -> Discovery {
        let discovery = Discovery::new("scripted", "1.0.0");
        if self.0.finalizes.load(Ordering::SeqCst) { discovery.hook(Hook::Finalize) } else { discovery }
    }

    async fn finalize(&self, request: &PluginRequest) -> Result<(), PluginError> {
        let reply = (self.0.behaviour.lock().unwrap())(request);
        match reply {
            Reply::Finalized => Ok(()),
            Reply::Failure(reason, message) => Err(PluginError::failure(reason, message)),
            _ => Err(PluginError::pending("something is still held")),
        }
    }

    async fn sync(&self, request: &PluginRequest) -> Result<Answer, PluginError> {
        let reply = (self.0.behaviour.lock().unwrap())(request);
        match reply {
            Reply::Children(children) => Ok(children.into()),
            Reply::WithConditions(child, conditions, warnings) => {
                let said = |(type_, status): (&str, ConditionStatus)| Condition::new(type_, status, "Because", "so");
                let answer = conditions.into_iter().map(said).fold(Answer::from(child), Answer::condition);
                Ok(warnings.into_iter().fold(answer, Answer::warning))
            }
            Reply::Failure(reason, message) => Err(PluginError::failure(reason, message)),
            _ => Err(PluginError::pending("not yet")),
        }
    }
}

/// Records each call, and sends the responses that the kit cannot produce.
async fn intercept(State(shared): State<Arc<Shared>>, call: Request, next: Next) -> Response {
    if call.method() == axum::http::Method::GET {
        return next.run(call).await;
    }
    let _here = InFlight::enter(&shared);
    let (parts, body) = call.into_parts();
    let body = to_bytes(body, usize::MAX).await.unwrap();
    let review: ReviewRequest = serde_json::from_slice(&body).unwrap();
    let reply = (shared.behaviour.lock().unwrap())(&review.request);
    let query = parts.uri.query().unwrap_or_default().to_owned();
    let recorded = Call { headers: parts.headers.clone(), query, request: review.request.clone() };
    shared.calls.lock().unwrap().push(recorded);
    match reply {
        Reply::Code(code) => StatusCode::from_u16(code).unwrap().into_response(),
        Reply::Text(text) => text.into_response(),
        Reply::OtherUid => {
            let mut response = PluginResponse::success(&review.request, Vec::new());
            "sha256:0".clone_into(&mut response.uid);
            axum::Json(ReviewResponse::new(response)).into_response()
        }
        Reply::Hang => pending().await,
        Reply::Children(_) | Reply::WithConditions(..) | Reply::Failure(..) | Reply::Pending | Reply::Finalized => {
            next.run(Request::from_parts(parts, Body::from(body))).await
        }
    }
}

struct InFlight<'a>(&'a Shared);

impl<'a> InFlight<'a> {
    fn enter(shared: &'a Shared) -> Self {
        let now = shared.in_flight.fetch_add(1, Ordering::SeqCst) + 1;
        shared.most_in_flight.fetch_max(now, Ordering::SeqCst);
        Self(shared)
    }
}

impl Drop for InFlight<'_> {
    fn drop(&mut self) {
        self.0.in_flight.fetch_sub(1, Ordering::SeqCst);
    }
}
