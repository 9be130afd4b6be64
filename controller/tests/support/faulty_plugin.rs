//! A plugin that answers properly until it is told to sin. It speaks HTTP byte by byte: most of what it does
//! then, no HTTP library would do.

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
pub(crate) struct Asked {
    pub(crate) path: String,
    /// The `request` of the review; null if it is no review.
    pub(crate) request: Value,
    /// Calls while sinning before this one.
    pub(crate) before: usize,
}

/// What is done with a call.
pub(crate) enum Deed {
    /// These bytes, and the end of the connection.
    Say(Vec<u8>),
    /// These bytes; the connection stays open for more calls.
    SayAndStay(Vec<u8>),
    /// Nothing, ever.
    Hang,
    /// The first bytes, and then one a second of the others.
    Drip(Vec<u8>, Vec<u8>),
    /// The first bytes, and then the others again and again.
    Flood(Vec<u8>, Vec<u8>),
}

/// Where a plugin sins.
#[derive(Clone, Copy)]
pub(crate) enum Way {
    /// In its answers about subjects.
    Answer(fn(&Asked) -> Deed),
    /// In what it says of itself.
    Discovery(fn(&Asked) -> Deed),
    /// It resets connections.
    Reset,
    /// In who it claims to be.
    Identity(Identity),
}

impl Asked {
    pub(crate) fn is_review(&self) -> bool {
        self.path.starts_with("/v1alpha1/sync?")
    }

    /// Why it was asked, and for the how manieth time.
    pub(crate) fn reason(&self) -> String {
        let (reason, attempt) = (&self.request["event"]["reason"], &self.request["attempt"]);
        format!("{} {attempt}", reason.as_str().unwrap_or_default())
    }

    pub(crate) fn subject(&self) -> &str {
        self.request["subject"]["object"]["metadata"]["name"].as_str().unwrap_or_default()
    }
}

/// A 200 with this body.
pub(crate) fn ok(body: impl AsRef<[u8]>) -> Deed {
    http("200 OK", "content-type: application/json\r\n", body)
}

/// An answer with this status, these further header lines and this body.
pub(crate) fn http(status: &str, headers: &str, body: impl AsRef<[u8]>) -> Deed {
    let body = body.as_ref();
    let head = format!("HTTP/1.1 {status}\r\nconnection: close\r\ncontent-length: {}\r\n{headers}\r\n", body.len());
    Deed::Say([head.as_bytes(), body].concat())
}

/// A review with the right uid and `fields`.
pub(crate) fn review(asked: &Asked, fields: &Value) -> Value {
    let mut response = json!({"uid": asked.request["uid"]});
    response.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
    json!({"apiVersion": "plugin.kubernetes.dask.org/v1alpha1", "kind": "PluginReview", "response": response})
}

/// The child that each plugin answers with before it sins.
pub(crate) fn good_child() -> Value {
    json!({"key": "config", "manifest": {"apiVersion": "v1", "kind": "ConfigMap", "data": {"value": "good"}}})
}

/// A Success with the good child and these.
pub(crate) fn success(asked: &Asked, others: Vec<Value>) -> Value {
    let children: Vec<Value> = std::iter::once(good_child()).chain(others).collect();
    review(asked, &json!({"status": "Success", "children": children}))
}

pub(crate) fn discovery() -> Value {
    serde_json::to_value(Discovery::new("sinner", "1.0.0")).unwrap()
}

fn proper(asked: &Asked) -> Deed {
    if asked.is_review() { ok(success(asked, vec![]).to_string()) } else { ok(discovery().to_string()) }
}

struct State {
    way: Way,
    sins: AtomicBool,
    /// Calls while sinning.
    asked: Mutex<Vec<Asked>>,
    tls: Mutex<Option<Arc<ServerConfig>>>,
}

/// A plugin resource, and the server behind it.
pub(crate) struct Sinner {
    pub(crate) name: &'static str,
    context: TestContext,
    state: Arc<State>,
    server: JoinHandle<()>,
}

impl Drop for Sinner {
    fn drop(&mut self) {
        self.server.abort();
    }
}

impl Sinner {
    /// Creates the resource and serves it. With certificates where these are the point, else on a socket.
    pub(crate) async fn install(context: &TestContext, name: &'static str, way: Way) -> Self {
        let (asked, tls) = (Mutex::default(), Mutex::default());
        let state = Arc::new(State { way, sins: AtomicBool::new(false), asked, tls });
        let server = if let Way::Identity(_) = way {
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

    /// From now on it sins. What it says of itself, it is asked about at once.
    pub(crate) async fn begin(&self) {
        if let Way::Identity(identity) = self.state.way {
            let config = identities::server_config(&self.context, self.name, identity).await;
            *self.state.tls.lock().unwrap() = config;
        }
        self.state.sins.store(true, Ordering::SeqCst);
        if let Way::Discovery(_) = self.state.way {
            let patch = json!({"spec": {"settings": {"ask": "again"}}});
            self.context.merge("DaskOperatorPlugin", self.name, patch).await;
        }
    }

    /// Waits until the resource fulfils `condition`.
    pub(crate) async fn until(&self, condition: impl Fn(&Value) -> bool) -> Value {
        self.context.until("DaskOperatorPlugin", self.name, condition).await
    }

    /// All calls while sinning.
    pub(crate) fn asked(&self) -> Vec<Asked> {
        self.state.asked.lock().unwrap().clone()
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
                None if matches!(state.way, Way::Identity(Identity::Mute)) => std::future::pending().await,
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
    while let Some(asked) = state.hear(&mut stream).await? {
        match state.decide(&asked) {
            Deed::SayAndStay(bytes) => stream.write_all(&bytes).await?,
            Deed::Say(bytes) => {
                stream.write_all(&bytes).await?;
                return stream.shutdown().await;
            }
            Deed::Hang => {
                tokio::io::copy(&mut stream, &mut tokio::io::sink()).await?;
            }
            Deed::Drip(first, others) => {
                stream.write_all(&first).await?;
                for byte in others {
                    stream.write_all(&[byte]).await?;
                    stream.flush().await?;
                    tokio::time::sleep(Duration::from_secs(1)).await;
                }
            }
            Deed::Flood(first, again) => {
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
    fn sins(&self) -> bool {
        self.sins.load(Ordering::SeqCst)
    }

    fn decide(&self, asked: &Asked) -> Deed {
        match self.way {
            Way::Answer(sin) if self.sins() && asked.path.starts_with("/v1alpha1/sync?") => sin(asked),
            Way::Discovery(sin) if self.sins() && !asked.is_review() => sin(asked),
            _ => proper(asked),
        }
    }

    /// The next call; `None` if there is none.
    async fn hear(&self, stream: &mut (impl AsyncRead + Unpin)) -> io::Result<Option<Asked>> {
        let mut head = vec![0; 4];
        stream.read_exact(&mut head).await?;
        if head == b"POST" && matches!(self.way, Way::Reset) && self.sins() {
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
        let mut calls = self.asked.lock().unwrap();
        let asked = Asked { path, request: review["request"].take(), before: calls.len() };
        if self.sins() {
            calls.push(asked.clone());
        }
        Ok(Some(asked))
    }
}
