//! A plugin with certificates of its own that records each request unparsed.

use std::{
    convert::Infallible,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
};

use axum::http::{HeaderMap, Request, Response};
use http_body_util::BodyExt as _;
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use plugin_server_kit::protocol::{Discovery, PluginResponse, ReviewRequest, ReviewResponse};
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};
use rustls::{
    RootCertStore, ServerConfig,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _},
    server::WebPkiClientVerifier,
};
use tokio::{
    net::{TcpListener, TcpStream},
    task::{JoinHandle, JoinSet},
};
use tokio_rustls::TlsAcceptor;

use super::{
    controller::{free_port, listen},
    plugin::config,
};

/// A certificate and its key, as PEM.
#[derive(Clone)]
pub(crate) struct Leaf {
    pub(crate) certificate: String,
    pub(crate) key: String,
}

/// A certificate authority.
pub(crate) struct Ca {
    issuer: Issuer<'static, KeyPair>,
    pub(crate) pem: String,
}

impl Ca {
    pub(crate) fn new(name: &str) -> Self {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::CommonName, name);
        let key = KeyPair::generate().unwrap();
        let pem = params.self_signed(&key).unwrap().pem();
        Self { issuer: Issuer::new(params, key), pem }
    }

    /// Issues a certificate for `name`.
    pub(crate) fn leaf(&self, name: &str) -> Leaf {
        self.leaf_until(name, 2050)
    }

    /// Issues a certificate for `name` that is valid until the first day of `year`.
    pub(crate) fn leaf_until(&self, name: &str, year: i32) -> Leaf {
        let mut params = CertificateParams::new([name.to_owned()]).unwrap();
        params.not_before = rcgen::date_time_ymd(2020, 1, 1);
        params.not_after = rcgen::date_time_ymd(year, 1, 1);
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap().pem();
        Leaf { certificate, key: key.serialize_pem() }
    }

    fn roots(&self) -> Arc<RootCertStore> {
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_slice(self.pem.as_bytes()).unwrap()).unwrap();
        Arc::new(roots)
    }
}

/// A server's side of TLS; with `clients`, only clients with a certificate of this authority may connect.
pub(crate) fn tls(leaf: &Leaf, clients: Option<&Ca>) -> Arc<ServerConfig> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ServerConfig::builder_with_provider(Arc::clone(&provider)).with_safe_default_protocol_versions();
    let builder = match clients {
        Some(ca) => {
            let verifier = WebPkiClientVerifier::builder_with_provider(ca.roots(), provider).build().unwrap();
            builder.unwrap().with_client_cert_verifier(verifier)
        }
        None => builder.unwrap().with_no_client_auth(),
    };
    let chain = vec![CertificateDer::from_pem_slice(leaf.certificate.as_bytes()).unwrap()];
    let key = PrivateKeyDer::from_pem_slice(leaf.key.as_bytes()).unwrap();
    Arc::new(builder.with_single_cert(chain, key).unwrap())
}

/// A request as it arrived.
#[derive(Clone, Debug)]
pub(crate) struct Seen {
    pub(crate) path: String,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Vec<u8>,
}

impl Seen {
    pub(crate) fn is_discovery(&self) -> bool {
        self.body.is_empty()
    }

    /// The token in `authorization`.
    pub(crate) fn bearer(&self) -> Option<&str> {
        self.headers.get("authorization")?.to_str().ok()?.strip_prefix("Bearer ")
    }
}

type Behaviour = Box<dyn Fn(&Seen) -> Response<String> + Send + Sync>;

struct Shared {
    tls: Mutex<Arc<ServerConfig>>,
    behaviour: Mutex<Behaviour>,
    seen: Mutex<Vec<Seen>>,
    connections: Mutex<JoinSet<()>>,
    attempts: AtomicUsize,
}

/// The server. It ends when dropped.
pub(crate) struct HttpsPlugin {
    pub(crate) port: u16,
    shared: Arc<Shared>,
    task: JoinHandle<()>,
}

impl Drop for HttpsPlugin {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl HttpsPlugin {
    /// Serves on a port of its own, and answers each call with one ConfigMap.
    pub(crate) async fn serve(tls: Arc<ServerConfig>) -> Self {
        let port = free_port();
        let shared = Arc::new(Shared {
            tls: Mutex::new(tls),
            behaviour: Mutex::new(Box::new(well)),
            seen: Mutex::default(),
            connections: Mutex::default(),
            attempts: AtomicUsize::new(0),
        });
        let task = tokio::spawn(accept(listen(port).await, Arc::clone(&shared)));
        Self { port, shared, task }
    }

    /// Starts again with other certificates, as far as clients can tell.
    pub(crate) fn restart(&self, tls: Arc<ServerConfig>) {
        *self.shared.tls.lock().unwrap() = tls;
        self.shared.connections.lock().unwrap().abort_all();
    }

    /// From now on, requests are answered so.
    pub(crate) fn behave(&self, behaviour: impl Fn(&Seen) -> Response<String> + Send + Sync + 'static) {
        *self.shared.behaviour.lock().unwrap() = Box::new(behaviour);
    }

    /// All requests so far.
    pub(crate) fn seen(&self) -> Vec<Seen> {
        self.shared.seen.lock().unwrap().clone()
    }

    /// How often somebody has connected, whatever became of it.
    pub(crate) fn attempts(&self) -> usize {
        self.shared.attempts.load(Ordering::SeqCst)
    }
}

async fn accept(listener: TcpListener, shared: Arc<Shared>) {
    loop {
        let (stream, _) = listener.accept().await.unwrap();
        shared.attempts.fetch_add(1, Ordering::SeqCst);
        let tls = Arc::clone(&shared.tls.lock().unwrap_or_else(PoisonError::into_inner));
        let connection = handle(stream, TlsAcceptor::from(tls), Arc::clone(&shared));
        shared.connections.lock().unwrap().spawn(connection);
    }
}

/// A handshake or a connection that breaks off is the client's matter.
async fn handle(stream: TcpStream, acceptor: TlsAcceptor, shared: Arc<Shared>) {
    let Ok(stream) = acceptor.accept(stream).await else { return };
    let service = service_fn(|request| answer(request, Arc::clone(&shared)));
    drop(http1::Builder::new().serve_connection(TokioIo::new(stream), service).await);
}

async fn answer(request: Request<Incoming>, shared: Arc<Shared>) -> Result<Response<String>, Infallible> {
    let (parts, body) = request.into_parts();
    let body = body.collect().await.unwrap().to_bytes().to_vec();
    let seen = Seen { path: parts.uri.path().to_owned(), headers: parts.headers, body };
    let response = (shared.behaviour.lock().unwrap())(&seen);
    shared.seen.lock().unwrap().push(seen);
    Ok(response)
}

/// The answer of a plugin that works.
pub(crate) fn well(seen: &Seen) -> Response<String> {
    if seen.is_discovery() {
        return Response::new(serde_json::to_string(&Discovery::new("custom", "1.0.0")).unwrap());
    }
    let review: ReviewRequest = serde_json::from_slice(&seen.body).unwrap();
    let response = PluginResponse::success(&review.request, vec![config("config", "first")]);
    Response::new(serde_json::to_string(&ReviewResponse::new(response)).unwrap())
}
