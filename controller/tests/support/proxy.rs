//! A reverse proxy between one controller and the API server. It records the calls of the controller, makes one of them fail
//! once, and can drop all packets.

use std::{
    collections::{BTreeMap, BTreeSet},
    io,
    net::{Ipv4Addr, SocketAddr},
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard},
    time::{Duration, Instant},
};

use http::{Method, Request, Response, StatusCode, Uri, header};
use http_body_util::BodyExt as _;
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use kube::{Client, client::Body};
use serde_json::json;
use tokio::{
    net::{TcpListener, TcpStream},
    sync::watch,
    task::AbortHandle,
};

/// How one call fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// The API server refuses with this code and reason, without doing anything.
    Refused(u16, &'static str),
    /// The connection ends before the API server has seen the request.
    Reset,
    /// No response comes for as long as the controller waits.
    Hang,
    /// The first event of a watch says that its resource version has expired, so that the controller lists again.
    Expired,
    /// The API server carries out the call and responds with 500.
    LostError,
    /// The API server carries out the call, and the connection ends before its response.
    LostAnswer,
}

impl Fault {
    /// What may happen to any call.
    pub(crate) const OF_ANY: [Self; 6] = [
        Self::Hang,
        Self::Refused(500, "InternalError"),
        Self::Refused(403, "Forbidden"),
        Self::Refused(409, "Conflict"),
        Self::Refused(429, "TooManyRequests"),
        Self::Reset,
    ];
    /// What may also happen to a call that changes something.
    pub(crate) const OF_WRITES: [Self; 2] = [Self::LostError, Self::LostAnswer];
    /// What may also happen to a call that creates something.
    pub(crate) const OF_CREATES: [Self; 1] = [Self::Refused(409, "AlreadyExists")];
    /// What may happen when a watch is begun.
    pub(crate) const OF_WATCHES: [Self; 5] = [
        Self::Refused(500, "InternalError"),
        Self::Refused(403, "Forbidden"),
        Self::Refused(410, "Expired"),
        Self::Refused(429, "TooManyRequests"),
        Self::Reset,
    ];
}

/// A kind of call: the RBAC verb, the resource, and its subresource, such as `patch daskclusters/status`.
pub(crate) type Call = String;

/// The call that fails: the `nth` of its kind, counted from 1.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Target {
    pub(crate) call: Call,
    pub(crate) nth: usize,
    pub(crate) fault: Fault,
}

/// The proxy. It stops listening when dropped.
pub(crate) struct FaultProxy {
    shared: Arc<Shared>,
    address: SocketAddr,
    accepting: AbortHandle,
}

struct Shared {
    client: Client,
    target: Option<Target>,
    calls: Mutex<Calls>,
    hidden: Mutex<Option<&'static str>>,
    blackholed: watch::Sender<bool>,
}

/// The calls of the controller so far.
#[derive(Default)]
struct Calls {
    counts: BTreeMap<Call, usize>,
    /// Without watches.
    in_flight: usize,
    last_end: Option<Instant>,
    has_failed: bool,
    /// Calls to which the API server itself responded with 403.
    forbidden: BTreeSet<Call>,
    /// Calls about more than one namespace.
    cluster_wide: BTreeSet<Call>,
    /// Requests for hidden paths.
    hidden: usize,
}

impl FaultProxy {
    /// Starts a proxy to the API server of `client`, with the rights of `client`, that makes `target` fail.
    pub(crate) async fn start(client: Client, target: Option<Target>) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let shared = Shared {
            client,
            target,
            calls: Mutex::default(),
            hidden: Mutex::default(),
            blackholed: watch::Sender::new(false),
        };
        let shared = Arc::new(shared);
        let (blackholed, answering) = (shared.blackholed.subscribe(), Arc::clone(&shared));
        let answer = move |request| answer(Arc::clone(&answering), request);
        let accepting = tokio::spawn(serve(listener, blackholed, answer)).abort_handle();
        Self { shared, address, accepting }
    }

    /// Writes a kubeconfig whose server is this proxy.
    pub(crate) fn kubeconfig(&self, folder: &Path) -> PathBuf {
        write_kubeconfig(self.address, folder)
    }

    /// Returns how often each call was made.
    pub(crate) fn calls(&self) -> BTreeMap<Call, usize> {
        self.shared.calls().counts.clone()
    }

    /// Returns the calls that the API server itself forbade.
    pub(crate) fn forbidden(&self) -> BTreeSet<Call> {
        self.shared.calls().forbidden.clone()
    }

    /// Returns the calls that were not about one namespace, API discovery included.
    pub(crate) fn cluster_wide(&self) -> BTreeSet<Call> {
        self.shared.calls().cluster_wide.clone()
    }

    /// Responds with 404 to paths that begin with `path`, as if the API were not installed.
    pub(crate) fn hide(&self, path: &'static str) {
        *self.shared.hidden.lock().unwrap() = Some(path);
    }

    /// Returns the number of requests for hidden paths.
    pub(crate) fn hidden_requests(&self) -> usize {
        self.shared.calls().hidden
    }

    /// Serves all paths again.
    pub(crate) fn show(&self) {
        *self.shared.hidden.lock().unwrap() = None;
    }

    /// Returns whether the call that fails was made.
    pub(crate) fn has_failed(&self) -> bool {
        self.shared.calls().has_failed
    }

    /// Returns how long no call other than a watch was in progress.
    pub(crate) fn quiet_for(&self) -> Duration {
        let calls = self.shared.calls();
        let is_quiet = calls.in_flight == 0;
        calls.last_end.filter(|_| is_quiet).map(|end| end.elapsed()).unwrap_or_default()
    }

    /// Accepts connections without responding. Existing ones stay open and never carry data again, as if a firewall had
    /// forgotten them.
    pub(crate) fn blackhole(&self) {
        self.shared.blackholed.send_replace(true);
    }

    /// New connections work again.
    pub(crate) fn restore(&self) {
        self.shared.blackholed.send_replace(false);
    }
}

impl Drop for FaultProxy {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

impl Shared {
    fn calls(&self) -> MutexGuard<'_, Calls> {
        self.calls.lock().unwrap()
    }
}

/// Writes a kubeconfig for `server`, without credentials and without TLS.
pub(crate) fn write_kubeconfig(server: SocketAddr, folder: &Path) -> PathBuf {
    let config = json!({
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "proxy", "cluster": {"server": format!("http://{server}")}}],
        "users": [{"name": "nobody", "user": {}}],
        "contexts": [{"name": "proxy", "context": {"cluster": "proxy", "user": "nobody"}}],
        "current-context": "proxy",
    });
    let path = folder.join("kubeconfig");
    std::fs::write(&path, config.to_string()).unwrap();
    path
}

/// Serves all connections of `listener`. While packets are dropped, connections stay open and are never served again. An error
/// ends its connection.
pub(crate) async fn serve<Sent, Answering>(
    listener: TcpListener,
    blackholed: watch::Receiver<bool>,
    answer: impl Fn(Request<Incoming>) -> Answering + Clone + Send + 'static,
) where
    Sent: hyper::body::Body<Data: Send, Error: Into<Box<dyn std::error::Error + Send + Sync>>> + Send + 'static,
    Answering: Future<Output = io::Result<Response<Sent>>> + Send + 'static,
{
    loop {
        let (stream, _) = listener.accept().await.unwrap();
        tokio::spawn(serve_connection(stream, blackholed.clone(), answer.clone()));
    }
}

async fn serve_connection<Sent, Answering>(
    stream: TcpStream,
    mut blackholed: watch::Receiver<bool>,
    answer: impl Fn(Request<Incoming>) -> Answering,
) where
    Sent: hyper::body::Body<Error: Into<Box<dyn std::error::Error + Send + Sync>>> + 'static,
    Answering: Future<Output = io::Result<Response<Sent>>>,
{
    let connection = http1::Builder::new().serve_connection(TokioIo::new(stream), service_fn(answer));
    tokio::pin!(connection);
    tokio::select! {
        biased;
        () = async { drop(blackholed.wait_for(|blackholed| *blackholed).await) } => std::future::pending().await,
        // Failures are the controller's to report.
        _ = &mut connection => {}
    }
}

async fn answer(shared: Arc<Shared>, request: Request<Incoming>) -> Result<Response<Body>, io::Error> {
    let call = call_of(request.method(), request.uri());
    if shared.hidden.lock().unwrap().is_some_and(|hidden| request.uri().path().starts_with(hidden)) {
        shared.calls().hidden += 1;
        return Ok(refusal(404, "NotFound"));
    }
    let _in_progress = InProgress::begin(&shared, &call);
    if !is_in_namespace(request.uri()) {
        shared.calls().cluster_wide.insert(call.clone());
    }
    let Some(fault) = shared.take_fault(&call) else {
        let response = forward(&shared.client, request).await?;
        if response.status() == StatusCode::FORBIDDEN {
            shared.calls().forbidden.insert(call);
        }
        return Ok(response);
    };
    match fault {
        Fault::Refused(code, reason) => Ok(refusal(code, reason)),
        Fault::Reset => Err(io::ErrorKind::ConnectionReset.into()),
        // It ends when the controller closes the connection.
        Fault::Hang => std::future::pending().await,
        Fault::Expired => Ok(expiry()),
        Fault::LostError => forward(&shared.client, request).await.map(|_| refusal(500, "InternalError")),
        Fault::LostAnswer => {
            forward(&shared.client, request).await?;
            Err(io::ErrorKind::ConnectionReset.into())
        }
    }
}

/// Counts a call until it is answered or the controller gives up.
struct InProgress<'a>(Option<&'a Shared>);

impl<'a> InProgress<'a> {
    fn begin(shared: &'a Shared, call: &Call) -> Self {
        if call.starts_with("watch ") {
            return Self(None);
        }
        shared.calls().in_flight += 1;
        Self(Some(shared))
    }
}

impl Drop for InProgress<'_> {
    fn drop(&mut self) {
        if let Some(shared) = self.0 {
            let mut calls = shared.calls();
            calls.in_flight -= 1;
            calls.last_end = Some(Instant::now());
        }
    }
}

impl Shared {
    /// Counts `call`. Returns its fault, if it is the one that fails.
    fn take_fault(&self, call: &Call) -> Option<Fault> {
        let mut calls = self.calls();
        let count = calls.counts.entry(call.clone()).or_default();
        *count += 1;
        let nth = *count;
        let target = self.target.as_ref().filter(|target| target.call == *call && target.nth == nth)?;
        calls.has_failed = true;
        Some(target.fault)
    }
}

pub(crate) async fn forward(client: &Client, request: Request<Incoming>) -> Result<Response<Body>, io::Error> {
    let (head, body) = request.into_parts();
    let body = body.collect().await.map_err(io::Error::other)?.to_bytes();
    let path = head.uri.path_and_query().map_or("/", |path| path.as_str());
    let mut request = Request::new(Body::from(body));
    *request.method_mut() = head.method;
    *request.uri_mut() = path.parse().unwrap();
    for name in [header::ACCEPT, header::CONTENT_TYPE] {
        if let Some(value) = head.headers.get(&name) {
            request.headers_mut().insert(name, value.clone());
        }
    }
    let mut response = client.send(request).await.map_err(io::Error::other)?;
    for name in [header::CONNECTION, header::TRANSFER_ENCODING] {
        response.headers_mut().remove(name);
    }
    Ok(response)
}

/// Returns the response of an API server that refuses.
pub(crate) fn refusal(code: u16, reason: &str) -> Response<Body> {
    let status = json!({
        "kind": "Status",
        "apiVersion": "v1",
        "metadata": {},
        "status": "Failure",
        "message": "a test makes this call fail",
        "reason": reason,
        "code": code,
    });
    let mut response = Response::new(Body::from(status.to_string().into_bytes()));
    *response.status_mut() = StatusCode::from_u16(code).unwrap();
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, "application/json".parse().unwrap());
    if code == 429 {
        headers.insert(header::RETRY_AFTER, "1".parse().unwrap());
    }
    response
}

/// Returns a watch whose first event is that it has expired.
fn expiry() -> Response<Body> {
    let status = json!({"kind": "Status", "apiVersion": "v1", "status": "Failure", "reason": "Expired", "code": 410});
    let event = json!({"type": "ERROR", "object": status});
    let mut response = Response::new(Body::from(format!("{event}\n").into_bytes()));
    response.headers_mut().insert(header::CONTENT_TYPE, "application/json".parse().unwrap());
    response
}

/// Returns whether the call is about objects of one namespace.
fn is_in_namespace(uri: &Uri) -> bool {
    let parts: Vec<&str> = uri.path().split('/').filter(|part| !part.is_empty()).collect();
    matches!(parts.as_slice(), ["api", _, "namespaces", _, _, ..] | ["apis", _, _, "namespaces", _, _, ..])
}

/// Returns the kind of call. Other paths than `/api/v1/...` and `/apis/{group}/{version}/...` are kept as they are.
pub(crate) fn call_of(method: &Method, uri: &Uri) -> Call {
    let parts: Vec<&str> = uri.path().split('/').filter(|part| !part.is_empty()).collect();
    let rest = match parts.as_slice() {
        ["api", _, rest @ ..] | ["apis", _, _, rest @ ..] => rest,
        _ => &[],
    };
    let rest = match rest {
        ["namespaces", _, rest @ ..] if !rest.is_empty() => rest,
        rest => rest,
    };
    let has = |parameter: &str| uri.query().unwrap_or_default().split('&').any(|pair| pair == parameter);
    match (method, rest) {
        (_, []) => format!("{} {}", method.as_str().to_lowercase(), uri.path()),
        (&Method::GET, [resource]) if has("watch=true") || has("watch=1") => format!("watch {resource}"),
        (&Method::GET, [resource]) => format!("list {resource}"),
        (&Method::GET, [resource, _]) => format!("get {resource}"),
        (&Method::POST, [resource]) => format!("create {resource}"),
        (_, [resource, _, sub @ ..]) if !sub.is_empty() => {
            format!("{} {resource}/{}", method.as_str().to_lowercase(), sub.join("/"))
        }
        (_, [resource, ..]) => format!("{} {resource}", method.as_str().to_lowercase()),
    }
}
