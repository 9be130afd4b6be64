//! Plugins that require credentials.

use std::{
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use axum::{
    Router,
    body::{Body, to_bytes},
    extract::{Request, State},
    response::Response,
};
use dask_plugin_sanity::{args::Args, report::Report, run};
use dask_plugin_server::{
    Metrics,
    credentials::{Credentials, SignatureVerifier},
    router, router_with,
    serve::{Listener, serve},
    tls::{CONTROLLER_NAME, Tls},
};
use rcgen::{BasicConstraints, CertificateParams, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair};
use rustls::{
    ServerConfig,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _},
};
use standardwebhooks::Webhook;
use tempfile::TempDir;
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::{TlsAcceptor, server::TlsStream};
use tower::ServiceExt as _;

use crate::{
    CREDENTIALS, listen, mk_args,
    plugins::{Good, good, reply},
};

/// The checks that a plugin without verification fails.
const OPEN: &[&str] = &["missing-credentials", "forged-credentials"];
const FORGED: &[&str] = &["forged-credentials"];

const SECRET: &str = "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD";
const TOKEN: &str = "eyJhbGciOiJFUzI1NiJ9.eyJzdWIiOiJkYXNrLW9wZXJhdG9yIn0.c2lnbmF0dXJl";

/// Decides whether a request reaches the conforming plugin.
type Guard = fn(&Request<Vec<u8>>) -> bool;

#[derive(Clone)]
struct Guarded {
    guard: Guard,
    /// Whether all requests are refused after the first refusal.
    locks: bool,
    locked: Arc<AtomicBool>,
}

fn guarded(guard: Guard, locks: bool) -> Router {
    async fn ask(State(state): State<Guarded>, request: Request) -> Response {
        let (parts, body) = request.into_parts();
        // The conforming plugin refuses a body that is too large.
        let body = to_bytes(body, usize::MAX).await.unwrap().to_vec();
        let whole = Request::from_parts(parts, body);
        let is_locked = state.locks && state.locked.load(Ordering::SeqCst);
        if is_locked || !(state.guard)(&whole) {
            state.locked.store(true, Ordering::SeqCst);
            return reply(401, "{}");
        }
        good().oneshot(whole.map(Body::from)).await.unwrap()
    }
    Router::new().fallback(ask).with_state(Guarded { guard, locks, locked: Arc::default() })
}

fn token_of(request: &Request<Vec<u8>>) -> &str {
    let header = request.headers().get("authorization").map_or("", |value| value.to_str().unwrap());
    header.strip_prefix("Bearer ").unwrap_or_default()
}

#[tokio::test]
async fn tokens_are_sent_and_a_plugin_that_does_not_verify_them_is_detected() {
    let dir = tempfile::tempdir().unwrap();
    let token_file = dir.path().join("token");
    std::fs::write(&token_file, format!("{TOKEN}\n")).unwrap();
    let after_a_lock = ["credentials-kept", "alive-afterwards", "finalize-served", "finalize-idempotent"];
    let plugins: [(Router, &[&str]); 6] = [
        (guarded(|request| token_of(request) == TOKEN, false), &[]),
        (guarded(|request| token_of(request) == TOKEN, true), &after_a_lock),
        (guarded(|_| true, false), OPEN),
        (guarded(|request| !token_of(request).is_empty(), false), FORGED),
        (guarded(|request| token_of(request).split('.').nth(1) == TOKEN.split('.').nth(1), false), FORGED),
        (guarded(|request| token_of(request) == TOKEN || token_of(request).ends_with('.'), false), FORGED),
    ];
    for (number, (plugin, failed)) in plugins.into_iter().enumerate() {
        let args = Args { token_file: Some(token_file.clone()), ..mk_args(listen(plugin).await, &dir) };
        let report = run(&args).await.unwrap();
        assert_eq!(report.failed(), failed, "plugin {number}: {}", report.text());
        assert!(report.skipped().is_empty(), "{}", report.text());
    }
}

#[tokio::test]
async fn a_plugin_that_never_responds_to_refused_callers_is_detected() {
    async fn hang(request: Request) -> Response {
        if request.headers().get("authorization").is_none_or(|value| value != &format!("Bearer {TOKEN}")) {
            std::future::pending::<()>().await;
        }
        good().oneshot(request).await.unwrap()
    }
    let dir = tempfile::tempdir().unwrap();
    let token_file = dir.path().join("token");
    std::fs::write(&token_file, TOKEN).unwrap();
    let endpoint = listen(Router::new().fallback(hang)).await;
    let only = CREDENTIALS.map(str::to_owned).to_vec();
    let args = Args { token_file: Some(token_file), timeout: 1, only, ..mk_args(endpoint, &dir) };
    let report = run(&args).await.unwrap();
    assert_eq!(report.failed(), OPEN, "{}", report.text());
}

#[tokio::test]
async fn signatures_are_sent_and_a_plugin_that_does_not_verify_them_is_detected() {
    fn verify_except_time(request: &Request<Vec<u8>>) -> bool {
        let header = |name| request.headers().get(name).map(|value| value.to_str().unwrap());
        let (Some(id), Some(at)) = (header("webhook-id"), header("webhook-timestamp")) else { return false };
        let good = Webhook::new(SECRET).unwrap().sign(id, at.parse().unwrap(), request.body()).unwrap();
        header("webhook-signature") == Some(good.as_str())
    }
    let dir = tempfile::tempdir().unwrap();
    let secret = dir.path().join("secret");
    std::fs::write(&secret, SECRET).unwrap();
    let credentials = Credentials::none().signature(SignatureVerifier::from_file(&secret));
    let plugins: [(Router, &[&str]); 4] = [
        (Router::new().fallback_service(router_with(Good, credentials, Metrics::default())), &[]),
        (good(), OPEN),
        (guarded(|request| request.headers().contains_key("webhook-signature"), false), FORGED),
        (guarded(verify_except_time, false), FORGED),
    ];
    for (number, (plugin, failed)) in plugins.into_iter().enumerate() {
        let args = Args { hmac_file: Some(secret.clone()), ..mk_args(listen(plugin).await, &dir) };
        let report = run(&args).await.unwrap();
        assert_eq!(report.failed(), failed, "plugin {number}: {}", report.text());
    }
}

/// Writes PEM files of a CA, a server for `localhost` and the controller.
fn make_certificates(dir: &Path) {
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let key = KeyPair::generate().unwrap();
    std::fs::write(dir.join("ca.crt"), params.self_signed(&key).unwrap().pem()).unwrap();
    let issuer = Issuer::new(params, key);
    for (file, name, usage) in [
        ("tls", "localhost", ExtendedKeyUsagePurpose::ServerAuth),
        ("controller", CONTROLLER_NAME, ExtendedKeyUsagePurpose::ClientAuth),
    ] {
        let mut params = CertificateParams::new(vec![name.to_owned()]).unwrap();
        params.extended_key_usages = vec![usage];
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &issuer).unwrap().pem();
        std::fs::write(dir.join(format!("{file}.crt")), certificate).unwrap();
        std::fs::write(dir.join(format!("{file}.key")), key.serialize_pem()).unwrap();
    }
}

async fn run_with_certificate(port: u16, dir: &TempDir) -> Report {
    let file = |name: &str| Some(dir.path().join(name));
    let (ca, cert, key) = (file("ca.crt"), file("controller.crt"), file("controller.key"));
    let connect_to = Some("127.0.0.1".parse().unwrap());
    let args = Args { ca, cert, key, connect_to, ..mk_args(format!("https://localhost:{port}"), dir) };
    run(&args).await.unwrap()
}

#[tokio::test]
async fn a_plugin_that_serves_only_the_controller_passes_with_the_certificate_of_the_controller() {
    let dir = tempfile::tempdir().unwrap();
    make_certificates(dir.path());
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let tls = Tls::load(dir.path()).await.unwrap();
    let listener = Listener::tls(listener.into_std().unwrap(), tls).unwrap();
    tokio::spawn(serve(listener, router(Good), std::future::pending()));
    let report = run_with_certificate(port, &dir).await;
    assert!(report.results.iter().all(|result| result.finding.is_none()), "{}", report.text());
}

/// HTTPS without client certificates.
struct OpenTls(TcpListener, TlsAcceptor);

impl axum::serve::Listener for OpenTls {
    type Io = TlsStream<TcpStream>;
    type Addr = std::net::SocketAddr;

    async fn accept(&mut self) -> (Self::Io, Self::Addr) {
        loop {
            let (stream, address) = self.0.accept().await.unwrap();
            if let Ok(stream) = self.1.accept(stream).await {
                return (stream, address);
            }
        }
    }

    fn local_addr(&self) -> std::io::Result<Self::Addr> {
        self.0.local_addr()
    }
}

#[tokio::test]
async fn a_plugin_that_requires_no_client_certificate_is_detected() {
    let dir = tempfile::tempdir().unwrap();
    make_certificates(dir.path());
    let certificate = CertificateDer::from_pem_file(dir.path().join("tls.crt")).unwrap();
    let key = PrivateKeyDer::from_pem_file(dir.path().join("tls.key")).unwrap();
    let config = ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certificate], key)
        .unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let listener = OpenTls(listener, TlsAcceptor::from(Arc::new(config)));
    tokio::spawn(async move { axum::serve(listener, good()).await.unwrap() });
    let report = run_with_certificate(port, &dir).await;
    assert_eq!(report.failed(), OPEN, "{}", report.text());
}
