//! A plugin that responds correctly until a test makes it misbehave. It writes HTTP byte by byte, because HTTP
//! libraries do not produce most of the faulty responses.

use std::{
    io,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use plugin_server_kit::protocol::Discovery;
use serde_json::{Value, json};
use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _},
    net::{TcpListener, TcpStream, UnixListener},
    task::JoinHandle,
};
use tokio_rustls::{TlsAcceptor, rustls::ServerConfig};

use super::{
    TestContext,
    controller::{free_port, listen},
    identities::{self, Identity},
};

/// For each answer, in seconds: on a busy machine those that come at once have to be read in this time, too.
const TIMEOUT: u32 = 6;

/// A call as it arrived.
#[derive(Clone, Debug)]
pub(crate) struct ReceivedCall {
    pub(crate) path: String,
    /// The `request` of the review; null if it is no review.
    pub(crate) request: Value,
    /// The number of calls since it began to misbehave, before this one.
    pub(crate) before: usize,
}

/// How a call is answered.
pub(crate) enum Reply {
    /// Sends these bytes and closes the connection.
    Send(Vec<u8>),
    /// Sends these bytes and keeps the connection open for more calls.
    SendAndKeepOpen(Vec<u8>),
    /// Never responds.
    Hang,
    /// Sends the first bytes at once, and the others at one byte a second.
    Drip(Vec<u8>, Vec<u8>),
    /// Sends the first bytes once, and repeats the others without end.
    Flood(Vec<u8>, Vec<u8>),
}

/// Where a plugin misbehaves.
#[derive(Clone, Copy)]
pub(crate) enum FaultMode {
    /// In its responses about subjects.
    Answer(fn(&ReceivedCall) -> Reply),
    /// In its discovery document.
    Discovery(fn(&ReceivedCall) -> Reply),
    /// It resets connections.
    Reset,
    /// In its certificate.
    Identity(Identity),
}

impl ReceivedCall {
    pub(crate) fn is_review(&self) -> bool {
        self.path.starts_with("/v1alpha1/sync?")
    }

    /// Returns the reason and the attempt of the call.
    pub(crate) fn reason(&self) -> String {
        let (reason, attempt) = (&self.request["event"]["reason"], &self.request["attempt"]);
        format!("{} {attempt}", reason.as_str().unwrap_or_default())
    }

    pub(crate) fn subject(&self) -> &str {
        self.request["subject"]["object"]["metadata"]["name"].as_str().unwrap_or_default()
    }
}

/// A 200 with this body.
pub(crate) fn ok(body: impl AsRef<[u8]>) -> Reply {
    http("200 OK", "content-type: application/json\r\n", body)
}

/// An answer with this status, these further header lines and this body.
pub(crate) fn http(status: &str, headers: &str, body: impl AsRef<[u8]>) -> Reply {
    let body = body.as_ref();
    let head = format!("HTTP/1.1 {status}\r\nconnection: close\r\ncontent-length: {}\r\n{headers}\r\n", body.len());
    Reply::Send([head.as_bytes(), body].concat())
}

/// A review with the right uid and `fields`.
pub(crate) fn review(call: &ReceivedCall, fields: &Value) -> Value {
    let mut response = json!({"uid": call.request["uid"]});
    response.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
    json!({"apiVersion": "plugin.kubernetes.dask.org/v1alpha1", "kind": "PluginReview", "response": response})
}

/// Returns the child that each plugin wants before it misbehaves.
pub(crate) fn good_child() -> Value {
    json!({"key": "config", "manifest": {"apiVersion": "v1", "kind": "ConfigMap", "data": {"value": "good"}}})
}

/// A Success with the good child and these.
pub(crate) fn success(call: &ReceivedCall, others: Vec<Value>) -> Value {
    let children: Vec<Value> = std::iter::once(good_child()).chain(others).collect();
    review(call, &json!({"status": "Success", "children": children}))
}

pub(crate) fn discovery() -> Value {
    serde_json::to_value(Discovery::new("faulty", "1.0.0")).unwrap()
}

fn correct_reply(call: &ReceivedCall) -> Reply {
    if call.is_review() { ok(success(call, vec![]).to_string()) } else { ok(discovery().to_string()) }
}

struct State {
    mode: FaultMode,
    misbehaves: AtomicBool,
    /// Calls since it began to misbehave.
    calls: Mutex<Vec<ReceivedCall>>,
    tls: Mutex<Option<Arc<ServerConfig>>>,
}

/// A plugin resource, and the server behind it.
pub(crate) struct FaultyPlugin {
    pub(crate) name: &'static str,
    context: TestContext,
    state: Arc<State>,
    server: JoinHandle<()>,
}

impl Drop for FaultyPlugin {
    fn drop(&mut self) {
        self.server.abort();
    }
}

impl FaultyPlugin {
    /// Creates the resource and serves it. With certificates where these are the point, else on a socket.
    pub(crate) async fn install(context: &TestContext, name: &'static str, mode: FaultMode) -> Self {
        let (calls, tls) = (Mutex::default(), Mutex::default());
        let state = Arc::new(State { mode, misbehaves: AtomicBool::new(false), calls, tls });
        let server = if let FaultMode::Identity(_) = mode {
            let port = free_port();
            context.create(&manifest(name, &json!({"service": {"name": name, "port": port}}))).await;
            *state.tls.lock().unwrap() = identities::server_config(context, name, Identity::Proper).await;
            tokio::spawn(serve_tls(listen(port).await, Arc::clone(&state)))
        } else {
            let socket = format!("{name}.sock");
            let folder = context.socket_dir().join(name);
            std::fs::create_dir_all(&folder).unwrap();
            let listener = UnixListener::bind(folder.join(&socket)).unwrap();
            context.create(&manifest(name, &json!({"socket": socket}))).await;
            tokio::spawn(serve_socket(listener, Arc::clone(&state)))
        };
        Self { name, context: context.clone(), state, server }
    }

    /// Makes it misbehave from now on. A changed setting makes the controller discover it again at once.
    pub(crate) async fn begin(&self) {
        if let FaultMode::Identity(identity) = self.state.mode {
            let config = identities::server_config(&self.context, self.name, identity).await;
            *self.state.tls.lock().unwrap() = config;
        }
        self.state.misbehaves.store(true, Ordering::SeqCst);
        if let FaultMode::Discovery(_) = self.state.mode {
            let patch = json!({"spec": {"settings": {"ask": "again"}}});
            self.context.merge("DaskOperatorPlugin", self.name, patch).await;
        }
    }

    /// Waits until the resource fulfils `condition`.
    pub(crate) async fn until(&self, condition: impl Fn(&Value) -> bool) -> Value {
        self.context.until("DaskOperatorPlugin", self.name, condition).await
    }

    /// Returns the calls since it began to misbehave.
    pub(crate) fn calls(&self) -> Vec<ReceivedCall> {
        self.state.calls.lock().unwrap().clone()
    }
}

fn manifest(name: &str, endpoint: &Value) -> Value {
    json!({
        "apiVersion": "kubernetes.dask.org/v1alpha1",
        "kind": "DaskOperatorPlugin",
        "metadata": {"name": name},
        "spec": {
            "endpoint": endpoint,
            "timeoutSeconds": TIMEOUT,
            "subjects": [{"kind": "Service", "component": "scheduler"}],
            "children": [{"apiVersion": "v1", "kind": "ConfigMap"}, {"apiVersion": "v1", "kind": "Service"}],
        },
    })
}

async fn serve_socket(listener: UnixListener, state: Arc<State>) {
    while let Ok((stream, _)) = listener.accept().await {
        tokio::spawn(converse(stream, Arc::clone(&state)));
    }
}

async fn serve_tls(listener: TcpListener, state: Arc<State>) {
    while let Ok((stream, _)) = listener.accept().await {
        let (tls, state) = (state.tls.lock().unwrap().clone(), Arc::clone(&state));
        tokio::spawn(async move {
            match tls {
                Some(tls) => converse(TlsAcceptor::from(tls).accept(stream).await?, state).await,
                None if matches!(state.mode, FaultMode::Identity(Identity::Mute)) => std::future::pending().await,
                None => plain(stream).await,
            }
        });
    }
}

/// What a server without TLS says to a greeting that it does not understand.
async fn plain(mut stream: TcpStream) -> io::Result<()> {
    stream.read_u8().await?;
    stream.write_all(b"HTTP/1.1 400 Bad Request\r\nconnection: close\r\n\r\n").await?;
    stream.shutdown().await
}

async fn converse(mut stream: impl AsyncRead + AsyncWrite + Unpin, state: Arc<State>) -> io::Result<()> {
    while let Some(call) = state.receive(&mut stream).await? {
        match state.decide(&call) {
            Reply::SendAndKeepOpen(bytes) => stream.write_all(&bytes).await?,
            Reply::Send(bytes) => {
                stream.write_all(&bytes).await?;
                return stream.shutdown().await;
            }
            Reply::Hang => {
                tokio::io::copy(&mut stream, &mut tokio::io::sink()).await?;
            }
            Reply::Drip(first, others) => {
                stream.write_all(&first).await?;
                for byte in others {
                    stream.write_all(&[byte]).await?;
                    stream.flush().await?;
                    tokio::time::sleep(Duration::from_secs(1)).await;
                }
            }
            Reply::Flood(first, again) => {
                stream.write_all(&first).await?;
                loop {
                    stream.write_all(&again).await?;
                }
            }
        }
    }
    Ok(())
}

impl State {
    fn misbehaves(&self) -> bool {
        self.misbehaves.load(Ordering::SeqCst)
    }

    fn decide(&self, call: &ReceivedCall) -> Reply {
        match self.mode {
            FaultMode::Answer(misbehave) if self.misbehaves() && call.path.starts_with("/v1alpha1/sync?") => {
                misbehave(call)
            }
            FaultMode::Discovery(misbehave) if self.misbehaves() && !call.is_review() => misbehave(call),
            _ => correct_reply(call),
        }
    }

    /// The next call; `None` if there is none.
    async fn receive(&self, stream: &mut (impl AsyncRead + Unpin)) -> io::Result<Option<ReceivedCall>> {
        let mut head = vec![0; 4];
        stream.read_exact(&mut head).await?;
        if head == b"POST" && matches!(self.mode, FaultMode::Reset) && self.misbehaves() {
            // What was sent and is never read makes the kernel reset the connection.
            return Ok(None);
        }
        while !head.ends_with(b"\r\n\r\n") {
            head.push(stream.read_u8().await?);
        }
        let head = String::from_utf8(head).unwrap();
        let path = head.split(' ').nth(1).unwrap().to_owned();
        let length = head.lines().find_map(|line| line.to_lowercase().strip_prefix("content-length: ")?.parse().ok());
        let mut body = vec![0; length.unwrap_or(0)];
        stream.read_exact(&mut body).await?;
        let mut review: Value = serde_json::from_slice(&body).unwrap_or_default();
        let mut calls = self.calls.lock().unwrap();
        let call = ReceivedCall { path, request: review["request"].take(), before: calls.len() };
        if self.misbehaves() {
            calls.push(call.clone());
        }
        Ok(Some(call))
    }
}
