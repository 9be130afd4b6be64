//! A fake Dask scheduler: its RPC and HTTP API over state that a test sets.

use std::{
    collections::BTreeSet,
    future::pending,
    sync::{Arc, Mutex},
};

use axum::{
    Json, Router,
    extract::State as Shared,
    routing::{get, post},
};
use dask_scheduler_client::{Endpoint, codec, message};
use serde_json::{Value, json};
use tokio::{
    io::AsyncWriteExt as _,
    net::{TcpListener, TcpStream},
    task::JoinHandle,
};

/// A worker that is connected to the scheduler.
#[derive(Clone, Debug)]
pub(crate) struct FakeWorker {
    pub(crate) name: String,
    pub(crate) address: String,
    pub(crate) processing: u64,
}

/// A call as it arrived.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct SchedulerCall {
    /// The op, or the path.
    pub(crate) op: String,
    pub(crate) arguments: Value,
}

/// The state and the behaviour of the scheduler.
#[derive(Debug)]
pub(crate) struct SchedulerState {
    /// In the order of their registration.
    pub(crate) workers: Vec<FakeWorker>,
    pub(crate) desired_workers: u64,
    pub(crate) idle_since: Option<f64>,
    /// Addresses of workers whose data cannot be moved, so that they are not retired.
    pub(crate) refusing: BTreeSet<String>,
    /// Completes the handshake and then never responds.
    pub(crate) hang: bool,
    /// Carries out this call without responding.
    pub(crate) mute: Option<String>,
    /// Fails each call with this exception.
    pub(crate) exception: Option<String>,
    /// Whether the HTTP API is switched on.
    pub(crate) http_api: bool,
    calls: Vec<SchedulerCall>,
    registered: u16,
}

type Handle = Arc<Mutex<SchedulerState>>;

/// A scheduler on loopback, until it is dropped.
pub(crate) struct FakeScheduler {
    state: Handle,
    port: u16,
    http_port: u16,
    http_prefix: &'static str,
    rpc: JoinHandle<()>,
    http: JoinHandle<()>,
}

impl Drop for FakeScheduler {
    fn drop(&mut self) {
        self.rpc.abort();
        self.http.abort();
    }
}

impl FakeScheduler {
    /// Starts a scheduler without workers that has been idle since 1000 s after the epoch.
    pub(crate) async fn start() -> Self {
        Self::start_below("").await
    }

    /// Like [`FakeScheduler::start`], with `--dashboard-prefix`.
    pub(crate) async fn start_below(http_prefix: &'static str) -> Self {
        let state = Arc::new(Mutex::new(SchedulerState {
            workers: Vec::new(),
            desired_workers: 0,
            idle_since: Some(1000.0),
            refusing: BTreeSet::new(),
            hang: false,
            mute: None,
            exception: None,
            http_api: false,
            calls: Vec::new(),
            registered: 0,
        }));
        let (rpc, http) = (listen().await, listen().await);
        let (port, http_port) = (rpc.local_addr().unwrap().port(), http.local_addr().unwrap().port());
        let rpc = tokio::spawn(serve(rpc, state.clone()));
        let router = if http_prefix.is_empty() {
            router(state.clone())
        } else {
            Router::new().nest(http_prefix, router(state.clone()))
        };
        let http = tokio::spawn(async move { axum::serve(http, router).await.unwrap() });
        Self { state, port, http_port, http_prefix, rpc, http }
    }

    /// Returns the port of the RPC.
    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    /// Returns the port of the dashboard.
    pub(crate) fn http_port(&self) -> u16 {
        self.http_port
    }

    /// Returns the endpoint of both.
    pub(crate) fn endpoint(&self) -> Endpoint {
        Endpoint {
            host: "127.0.0.1".to_owned(),
            port: self.port,
            http_port: Some(self.http_port),
            http_prefix: self.http_prefix.to_owned(),
            tls: None,
        }
    }

    /// Stops listening for RPC, as a scheduler behind a wrong port or a firewall.
    pub(crate) async fn close_rpc(&mut self) {
        self.rpc.abort();
        (&mut self.rpc).await.unwrap_err();
    }

    /// Changes the state.
    pub(crate) fn set(&self, change: impl FnOnce(&mut SchedulerState)) {
        change(&mut self.state.lock().unwrap());
    }

    /// Connects an idle worker, and returns its address.
    pub(crate) fn register(&self, name: &str) -> String {
        let mut state = self.state.lock().unwrap();
        state.registered += 1;
        let address = format!("tcp://127.0.0.1:{}", 40000 + state.registered);
        state.workers.push(FakeWorker { name: name.to_owned(), address: address.clone(), processing: 0 });
        address
    }

    /// Disconnects the workers of this name.
    pub(crate) fn unregister(&self, name: &str) {
        self.state.lock().unwrap().workers.retain(|worker| worker.name != name);
    }

    /// Gives the workers of this name that many tasks.
    pub(crate) fn load(&self, name: &str, processing: u64) {
        let mut state = self.state.lock().unwrap();
        state.workers.iter_mut().filter(|worker| worker.name == name).for_each(|worker| worker.processing = processing);
    }

    /// Returns the names of the registered workers.
    pub(crate) fn workers(&self) -> Vec<String> {
        self.state.lock().unwrap().workers.iter().map(|worker| worker.name.clone()).collect()
    }

    /// Returns the calls so far.
    pub(crate) fn calls(&self) -> Vec<SchedulerCall> {
        self.state.lock().unwrap().calls.clone()
    }

    /// Returns the number of calls so far.
    pub(crate) fn asked(&self) -> usize {
        self.state.lock().unwrap().calls.len()
    }

    /// Returns the arguments of the calls so far of one op.
    pub(crate) fn calls_of(&self, op: &str) -> Vec<Value> {
        self.calls().into_iter().filter(|call| call.op == op).map(|call| call.arguments).collect()
    }
}

impl SchedulerState {
    fn record(&mut self, op: &str, arguments: &Value) {
        self.calls.push(SchedulerCall { op: op.to_owned(), arguments: arguments.clone() });
    }

    fn answer(&mut self, op: &str, arguments: &Value) -> Value {
        if let Some(exception) = &self.exception {
            return json!({"status": "uncaught-error", "exception_text": exception, "traceback_text": ""});
        }
        match op {
            "identity" => json!({"type": "Scheduler", "id": "Scheduler-fake", "workers": self.identities()}),
            "workers_to_close" => json!(self.closing_order(arguments["n"].as_u64().unwrap())),
            "retire_workers" => self.retire(&arguments["workers"]),
            "adaptive_target" => json!(self.desired_workers),
            "check_idle" => json!(self.idle_since),
            _ => Value::Null,
        }
    }

    fn identities(&self) -> Value {
        let identity = |worker: &FakeWorker| (worker.address.clone(), identity(worker, "running"));
        Value::Object(self.workers.iter().map(identity).collect())
    }

    /// Orders idle workers first, and younger ones before older ones.
    fn closing_order(&self, n: u64) -> Vec<&str> {
        let mut workers: Vec<_> = self.workers.iter().rev().collect();
        workers.sort_by_key(|worker| worker.processing > 0);
        workers.into_iter().take(usize::try_from(n).unwrap()).map(|worker| worker.address.as_str()).collect()
    }

    fn retire(&mut self, addresses: &Value) -> Value {
        let wanted = |worker: &FakeWorker| {
            addresses.as_array().unwrap().contains(&json!(worker.address)) && !self.refusing.contains(&worker.address)
        };
        let (retired, kept) = self.workers.drain(..).partition::<Vec<_>, _>(wanted);
        self.workers = kept;
        Value::Object(retired.iter().map(|worker| (worker.address.clone(), identity(worker, "closed"))).collect())
    }

    fn counts(&self) -> Value {
        let processing: u64 = self.workers.iter().map(|worker| worker.processing).sum();
        json!({
            "processing": processing,
            "waiting": 0,
            "unrunnable": 0,
            "workers": self.workers.len(),
            "desired_workers": self.desired_workers,
        })
    }
}

fn identity(worker: &FakeWorker, status: &str) -> Value {
    json!({
        "type": "Worker",
        "name": worker.name,
        "status": status,
        "nthreads": 1,
        "metrics": {"task_counts": {"executing": worker.processing, "memory": 7}},
    })
}

async fn listen() -> TcpListener {
    TcpListener::bind(("127.0.0.1", 0)).await.unwrap()
}

async fn serve(listener: TcpListener, state: Handle) {
    loop {
        let (stream, _) = listener.accept().await.unwrap();
        tokio::spawn(converse(stream, state.clone()));
    }
}

/// Ends when the client violates the protocol or disconnects.
async fn converse(mut stream: TcpStream, state: Handle) -> Option<()> {
    let mut received = Vec::new();
    stream.write_all(&codec::encode(&message::handshake().unwrap())).await.ok()?;
    let hello: Value = message::decode(&codec::read(&mut stream, &mut received).await.ok()?).ok()?;
    hello["python"].as_array()?;
    loop {
        let mut arguments: Value = message::decode(&codec::read(&mut stream, &mut received).await.ok()?).ok()?;
        let request = arguments.as_object_mut()?;
        let op = request.remove("op")?.as_str()?.to_owned();
        let (reply, close) = (request.remove("reply")? == true, request.remove("close")? == true);
        if hangs(&state, &op, &arguments) {
            pending::<()>().await;
        }
        let answer = state.lock().unwrap().answer(&op, &arguments);
        if state.lock().unwrap().mute.as_ref() == Some(&op) {
            pending::<()>().await;
        }
        if reply {
            stream.write_all(&codec::encode(&message::encode(&answer).unwrap())).await.ok()?;
        }
        if close {
            return Some(());
        }
    }
}

fn hangs(state: &Handle, op: &str, arguments: &Value) -> bool {
    let mut state = state.lock().unwrap();
    state.record(op, arguments);
    state.hang
}

/// Serves the HTTP API, which responds only while it is switched on.
fn router(state: Handle) -> Router {
    let api = |op: &'static str, wrap: fn(Value) -> Value| {
        get(async move |Shared(state): Shared<Handle>| by_http(&state, op, &json!({})).map(wrap).map(Json))
    };
    let retire = async |Shared(state): Shared<Handle>, Json(body): Json<Value>| {
        by_http(&state, "retire_workers", &body).map(Json)
    };
    let counts = async |Shared(state): Shared<Handle>| {
        let mut state = state.lock().unwrap();
        state.record("/json/counts.json", &json!({}));
        Json(state.counts())
    };
    let listed = |identity: Value| {
        let entry = |(address, worker): (&String, &Value)| json!({"address": address, "name": worker["name"]});
        let workers: Vec<_> = identity["workers"].as_object().unwrap().iter().map(entry).collect();
        json!({"num_workers": workers.len(), "workers": workers})
    };
    Router::new()
        .route("/json/counts.json", get(counts))
        .route("/api/v1/get_workers", api("identity", listed))
        .route("/api/v1/adaptive_target", api("adaptive_target", |workers| json!({"workers": workers})))
        .route("/api/v1/check_idle", api("check_idle", |since| json!({"idle_since": since})))
        .route("/api/v1/retire_workers", post(retire))
        .with_state(state)
}

fn by_http(state: &Handle, op: &str, arguments: &Value) -> Result<Value, axum::http::StatusCode> {
    let mut state = state.lock().unwrap();
    if !state.http_api {
        return Err(axum::http::StatusCode::NOT_FOUND);
    }
    state.record(&format!("/api/v1/{op}"), arguments);
    Ok(state.answer(op, arguments))
}
