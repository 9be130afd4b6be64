//! Hooks with HTTPS and credentials.

use std::fs;
use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

use axum::extract::State;
use axum::http::HeaderMap;
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig};
use tempfile::TempDir;
use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use super::*;

/// A certificate and its key as PEM.
struct Pair {
    certificate: String,
    key: KeyPair,
}

/// A certificate authority, which signs itself.
struct Authority {
    certificate: String,
    issuer: Issuer<'static, KeyPair>,
}

impl Authority {
    fn new() -> Self {
        let (params, key) = (authority_params(), KeyPair::generate().unwrap());
        let certificate = params.self_signed(&key).unwrap().pem();
        Self { certificate, issuer: Issuer::new(params, key) }
    }

    fn issue(&self, host: &str) -> Pair {
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new(vec![host.to_owned()]).unwrap();
        Pair { certificate: params.signed_by(&key, &self.issuer).unwrap().pem(), key }
    }
}

fn authority_params() -> CertificateParams {
    let mut params = CertificateParams::new(vec!["127.0.0.1".to_owned()]).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params
}

/// Accepts TLS connections. Failed handshakes are ignored.
struct TlsListener {
    tcp: TcpListener,
    acceptor: TlsAcceptor,
}

impl axum::serve::Listener for TlsListener {
    type Io = TlsStream<TcpStream>;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Self::Io, Self::Addr) {
        loop {
            let (stream, address) = self.tcp.accept().await.unwrap();
            if let Ok(stream) = self.acceptor.accept(stream).await {
                return (stream, address);
            }
        }
    }

    fn local_addr(&self) -> io::Result<Self::Addr> {
        self.tcp.local_addr()
    }
}

/// Serves a hook with this certificate. With `clients`, it requires a certificate that this authority has issued.
async fn serve_https(router: Router, server: &Pair, clients: Option<&Authority>) -> String {
    let builder = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()));
    let builder = builder.with_safe_default_protocol_versions().unwrap();
    let builder = match clients {
        None => builder.with_no_client_auth(),
        Some(authority) => {
            let mut roots = RootCertStore::empty();
            roots.add(CertificateDer::from_pem_slice(authority.certificate.as_bytes()).unwrap()).unwrap();
            let provider = Arc::new(ring::default_provider());
            let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider);
            builder.with_client_cert_verifier(verifier.build().unwrap())
        }
    };
    let chain = vec![CertificateDer::from_pem_slice(server.certificate.as_bytes()).unwrap()];
    let key = PrivateKeyDer::try_from(server.key.serialize_der()).unwrap();
    let acceptor = TlsAcceptor::from(Arc::new(builder.with_single_cert(chain, key).unwrap()));
    let tcp = listener().await;
    let url = format!("https://{}/sync", tcp.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(TlsListener { tcp, acceptor }, router).await });
    url
}

fn accepting() -> Router {
    Router::new().route("/sync", post(|| async { Json(json!({"attachments": []})) }))
}

/// Writes files into a new directory.
fn write(files: &[(&str, &str)]) -> TempDir {
    let dir = TempDir::new().unwrap();
    for (name, content) in files {
        fs::write(dir.path().join(name), content).unwrap();
    }
    dir
}

fn in_dir(dir: &TempDir, name: &str) -> String {
    dir.path().join(name).to_str().unwrap().to_owned()
}

async fn answer_of(url: &str, ca: &Path) -> PluginResponse {
    plugin_from(&[("HOOK_URL", url), ("HOOK_CA_FILE", ca.to_str().unwrap())]).sync(request()).await
}

#[tokio::test]
async fn a_hook_is_trusted_whose_authority_is_in_the_file() {
    let authority = Authority::new();
    let url = serve_https(accepting(), &authority.issue("127.0.0.1"), None).await;
    // A bundle may have other certificates and comments.
    let bundle = format!("# other\n{}\n# ours\n{}", Authority::new().certificate, authority.certificate);
    let dir = write(&[("ca.crt", &bundle)]);
    let response = answer_of(&url, &dir.path().join("ca.crt")).await;
    assert_eq!(response.status, ResponseStatus::Success, "{}", response.message);
}

/// `openssl req -x509` creates such certificates.
#[tokio::test]
async fn a_hook_is_trusted_whose_own_certificate_is_in_the_file() {
    let key = KeyPair::generate().unwrap();
    let server = Pair { certificate: authority_params().self_signed(&key).unwrap().pem(), key };
    let url = serve_https(accepting(), &server, None).await;
    let dir = write(&[("ca.crt", &server.certificate)]);
    let response = answer_of(&url, &dir.path().join("ca.crt")).await;
    assert_eq!(response.status, ResponseStatus::Success, "{}", response.message);
    // The name is verified in any case.
    let response = answer_of(&url.replace("127.0.0.1", "localhost"), &dir.path().join("ca.crt")).await;
    assert_eq!(response.message, "the certificate of the hook is not for the host in HOOK_URL; correct one of them");
}

#[tokio::test]
async fn a_hook_with_another_certificate_is_retried_and_the_message_says_why() {
    let authority = Authority::new();
    let trusted = serve_https(accepting(), &authority.issue("127.0.0.1"), None).await;
    let misnamed = serve_https(accepting(), &authority.issue("example.org"), None).await;
    let key = KeyPair::generate().unwrap();
    let mut expired = CertificateParams::new(vec!["127.0.0.1".to_owned()]).unwrap();
    expired.not_after = rcgen::date_time_ymd(2020, 1, 1);
    let expired = Pair { certificate: expired.signed_by(&key, &authority.issuer).unwrap().pem(), key };
    let expired = serve_https(accepting(), &expired, None).await;
    let (ours, other) = (authority.certificate.clone(), Authority::new().certificate);
    let dir = write(&[("ours", &ours), ("other", &other), ("empty", "no certificate")]);
    let empty = format!("the plugin cannot call the hook: {} has no certificate in PEM format", in_dir(&dir, "empty"));
    let missing = format!(
        "the plugin cannot call the hook: failed to read {}: No such file or directory (os error 2)",
        in_dir(&dir, "missing")
    );
    for (url, ca, message) in [
        (&trusted, "other", "the certificate of the hook is of an authority that is not trusted; check HOOK_CA_FILE"),
        (&misnamed, "ours", "the certificate of the hook is not for the host in HOOK_URL; correct one of them"),
        (&expired, "ours", "the certificate of the hook has expired; renew it"),
        (&trusted, "empty", &empty),
        (&trusted, "missing", &missing),
    ] {
        let response = answer_of(url, &dir.path().join(ca)).await;
        assert_eq!((response.status, response.message.as_str()), (ResponseStatus::Pending, message));
    }
    // Without a file, the authorities of the system are trusted.
    let response = plugin_from(&[("HOOK_URL", &trusted)]).sync(request()).await;
    assert_eq!(response.status, ResponseStatus::Pending);
    assert!(response.message.contains("not trusted"), "{}", response.message);
}

#[tokio::test]
async fn a_replaced_authority_is_used_for_the_next_call() {
    let authority = Authority::new();
    let url = serve_https(accepting(), &authority.issue("127.0.0.1"), None).await;
    let dir = write(&[("ca.crt", &Authority::new().certificate)]);
    let plugin = plugin_from(&[("HOOK_URL", &url), ("HOOK_CA_FILE", &in_dir(&dir, "ca.crt"))]);
    assert_eq!(plugin.sync(request()).await.status, ResponseStatus::Pending);
    fs::write(dir.path().join("ca.crt"), &authority.certificate).unwrap();
    assert_eq!(plugin.sync(request()).await.status, ResponseStatus::Success);
}

#[tokio::test]
async fn a_hook_may_require_a_client_certificate() {
    let authority = Authority::new();
    let url = serve_https(accepting(), &authority.issue("127.0.0.1"), Some(&authority)).await;
    let client = authority.issue("plugin");
    let key = client.key.serialize_pem();
    let dir = write(&[("ca.crt", &authority.certificate), ("tls.crt", &client.certificate), ("tls.key", &key)]);
    let ca = in_dir(&dir, "ca.crt");
    let without = plugin_from(&[("HOOK_URL", &url), ("HOOK_CA_FILE", &ca)]).sync(request()).await;
    assert_eq!(without.status, ResponseStatus::Pending);
    let with = [("HOOK_URL", &*url), ("HOOK_CA_FILE", &*ca), ("HOOK_CLIENT_TLS_DIR", dir.path().to_str().unwrap())];
    let with = plugin_from(&with).sync(request()).await;
    assert_eq!(with.status, ResponseStatus::Success, "{}", with.message);
}

/// Returns a hook that requires this header `Authorization`.
fn requiring(authorization: &'static str) -> Router {
    async fn check(State(expected): State<&'static str>, headers: HeaderMap) -> (StatusCode, Json<Value>) {
        let is_allowed = headers.get("authorization").is_some_and(|value| value == expected);
        let status = if is_allowed { StatusCode::OK } else { StatusCode::UNAUTHORIZED };
        (status, Json(json!({"attachments": []})))
    }
    Router::new().route("/sync", post(check)).with_state(authorization)
}

#[tokio::test]
async fn a_token_is_sent_and_read_again_after_its_rotation() {
    let authority = Authority::new();
    let url = serve_https(requiring("Bearer second"), &authority.issue("127.0.0.1"), None).await;
    let dir = write(&[("ca.crt", &authority.certificate), ("token", "first\n")]);
    let plugin = plugin_from(&[
        ("HOOK_URL", &url),
        ("HOOK_CA_FILE", &in_dir(&dir, "ca.crt")),
        ("HOOK_TOKEN_FILE", &in_dir(&dir, "token")),
    ]);
    let refused = plugin.sync(request()).await;
    assert_eq!(refused.status, ResponseStatus::Pending);
    assert!(refused.message.starts_with("the hook returned 401 Unauthorized"), "{}", refused.message);
    fs::write(dir.path().join("token"), "second\n").unwrap();
    assert_eq!(plugin.sync(request()).await.status, ResponseStatus::Success);
    fs::write(dir.path().join("token"), "\n").unwrap();
    let message = format!("the plugin cannot call the hook: {} is empty", in_dir(&dir, "token"));
    assert_eq!(plugin.sync(request()).await.message, message);
}

#[tokio::test]
async fn the_finalize_hook_gets_the_same_credentials() {
    let url = serve_hook(requiring("Token t")).await + "/sync";
    let dir = write(&[("token", "t")]);
    let plugin = plugin_from(&[
        ("FINALIZE_URL", &url),
        ("HOOK_TOKEN_TYPE", "Token"),
        ("HOOK_TOKEN_FILE", &in_dir(&dir, "token")),
    ]);
    let response = plugin.finalize(RequestBuilder::finalize().settings(settings())).await;
    assert_eq!(response.message, "the hook has not finalized yet");
}

#[tokio::test]
async fn a_name_and_a_password_are_sent_as_basic_authentication() {
    let url = serve_hook(requiring("Basic YW5uYTpzZWNyZXQ=")).await + "/sync";
    let dir = write(&[("username", "anna"), ("password", "secret\n")]);
    let plugin = plugin_from(&[("HOOK_URL", &url), ("HOOK_BASIC_AUTH_DIR", dir.path().to_str().unwrap())]);
    assert_eq!(plugin.sync(request()).await.status, ResponseStatus::Success);
}
