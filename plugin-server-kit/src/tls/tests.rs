//! Certificates of the controller, of plugins and of others.

use std::fs;
use std::io;
use std::net::SocketAddr;
use std::os::unix::fs::symlink;

use axum::Router;
use axum::routing::get;
use rcgen::{BasicConstraints, CertificateParams, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::version::{TLS12, TLS13};
use rustls::{ClientConfig, RootCertStore, SupportedProtocolVersion};
use tempfile::TempDir;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::*;
use crate::raw_http::{get_and_close, get_and_keep};
use crate::serve::{Listener, serve};

const SERVICE: &str = "ingress.dask-operator.svc";
const SERVER: ExtendedKeyUsagePurpose = ExtendedKeyUsagePurpose::ServerAuth;
const CLIENT: ExtendedKeyUsagePurpose = ExtendedKeyUsagePurpose::ClientAuth;

struct Identity {
    certificate: String,
    key: String,
}

/// The CA of the controller, which issues certificates for the controller and for plugins.
struct Pki {
    ca: String,
    issuer: Issuer<'static, KeyPair>,
}

impl Pki {
    fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        let ca = params.self_signed(&key).unwrap().pem();
        let issuer = Issuer::new(params, key);
        Self { ca, issuer }
    }

    fn issue(&self, name: &str, usage: ExtendedKeyUsagePurpose) -> Identity {
        let mut params = CertificateParams::new(vec![name.to_owned()]).unwrap();
        params.extended_key_usages = vec![usage];
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap().pem();
        let key = key.serialize_pem();
        Identity { certificate, key }
    }

    fn controller(&self) -> Identity {
        self.issue(CONTROLLER_NAME, CLIENT)
    }

    /// Writes the files of the Secret as the kubelet does: into a new directory, followed by one atomic rename.
    fn mount(&self, dir: &TempDir, version: &str) {
        let server = self.issue(SERVICE, SERVER);
        mount(dir, version, &self.ca, &server);
    }
}

fn mount(dir: &TempDir, version: &str, ca: &str, server: &Identity) {
    let dir = dir.path();
    fs::create_dir(dir.join(version)).unwrap();
    for (file, content) in [("ca.crt", ca), ("tls.crt", server.certificate.as_str()), ("tls.key", server.key.as_str())]
    {
        fs::write(dir.join(version).join(file), content).unwrap();
        if !dir.join(file).is_symlink() {
            symlink(format!("..data/{file}"), dir.join(file)).unwrap();
        }
    }
    symlink(version, dir.join("..data_tmp")).unwrap();
    fs::rename(dir.join("..data_tmp"), dir.join("..data")).unwrap();
}

fn mk_server(tls: Tls) -> SocketAddr {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let router = Router::new().route("/healthz", get(|| async { "ok" }));
    let forever = std::future::pending();
    tokio::spawn(serve(Listener::tls(listener, tls).unwrap(), router, forever));
    address
}

async fn changed_at_last(configs: &mut watch::Receiver<Arc<ServerConfig>>) {
    let changed = tokio::time::timeout(Duration::from_mins(1), configs.changed()).await;
    changed.expect("the new files are noticed").unwrap();
}

struct Client<'a> {
    ca: &'a str,
    identity: Option<Identity>,
    version: &'static SupportedProtocolVersion,
}

impl Client<'_> {
    async fn connect(&self, address: SocketAddr) -> io::Result<TlsStream<TcpStream>> {
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_slice(self.ca.as_bytes()).unwrap()).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(&[self.version])
            .unwrap()
            .with_root_certificates(roots);
        let config = match &self.identity {
            None => builder.with_no_client_auth(),
            Some(identity) => builder
                .with_client_auth_cert(
                    vec![CertificateDer::from_pem_slice(identity.certificate.as_bytes()).unwrap()],
                    PrivateKeyDer::from_pem_slice(identity.key.as_bytes()).unwrap(),
                )
                .unwrap(),
        };
        let stream = TcpStream::connect(address).await?;
        let name = ServerName::try_from(SERVICE).unwrap();
        TlsConnector::from(Arc::new(config)).connect(name, stream).await
    }

    /// Sends a request. In TLS 1.3, the client notices only after its first request that it was refused.
    async fn ask(&self, address: SocketAddr) -> io::Result<String> {
        get_and_close(self.connect(address).await?, "/healthz").await
    }
}

async fn outcome_of(identity: impl Fn(&Pki) -> Option<Identity>) -> Vec<Result<String, String>> {
    let dir = tempfile::tempdir().unwrap();
    let pki = Pki::new();
    pki.mount(&dir, "v1");
    let address = mk_server(Tls::load(dir.path()).await.unwrap());
    let mut outcomes = Vec::new();
    for version in [&TLS12, &TLS13] {
        let client = Client { ca: &pki.ca, identity: identity(&pki), version };
        outcomes.push(client.ask(address).await.map_err(|error| error.to_string()));
    }
    outcomes
}

fn assert_refused(outcomes: &[Result<String, String>], alert: &str) {
    assert_eq!(outcomes.len(), 2);
    for outcome in outcomes {
        let error = outcome.as_ref().unwrap_err();
        assert!(error.contains(alert), "{error}");
    }
}

#[tokio::test]
async fn the_controller_is_served() {
    for outcome in outcome_of(|pki| Some(pki.controller())).await {
        let response = outcome.unwrap();
        assert!(response.starts_with("HTTP/1.1 200 OK"), "{response}");
    }
}

#[tokio::test]
async fn a_client_without_a_certificate_is_refused() {
    let outcomes = outcome_of(|_| None).await;
    assert_refused(&outcomes, "CertificateRequired");
}

#[tokio::test]
async fn a_client_of_another_ca_is_refused_although_it_has_the_right_name() {
    let outcomes = outcome_of(|_| Some(Pki::new().controller())).await;
    // Both CAs have the same name, so only the signature differs.
    assert_refused(&outcomes, "DecryptError");
}

/// Each plugin has a server certificate of this CA, which must not let it call other plugins.
#[tokio::test]
async fn a_server_certificate_of_the_same_ca_is_refused() {
    let outcomes = outcome_of(|pki| Some(pki.issue(CONTROLLER_NAME, SERVER))).await;
    assert_refused(&outcomes, "UnsupportedCertificate");
}

#[tokio::test]
async fn a_client_certificate_of_the_same_ca_with_another_name_is_refused() {
    let outcomes = outcome_of(|pki| Some(pki.issue(SERVICE, CLIENT))).await;
    assert_refused(&outcomes, "BadCertificate");
}

#[tokio::test]
async fn new_files_apply_to_new_connections_and_old_connections_continue() {
    let dir = tempfile::tempdir().unwrap();
    let (old, new) = (Pki::new(), Pki::new());
    old.mount(&dir, "v1");
    let tls = Tls::load_and_poll(dir.path().to_owned(), Duration::from_millis(1)).await.unwrap();
    let mut configs = tls.configs.clone();
    let address = mk_server(tls);
    let old_client = Client { ca: &old.ca, identity: Some(old.controller()), version: &TLS13 };
    let mut established = old_client.connect(address).await.unwrap();
    get_and_keep(&mut established, "/healthz", "ok").await.unwrap();

    new.mount(&dir, "v2");
    changed_at_last(&mut configs).await;

    let new_client = Client { ca: &new.ca, identity: Some(new.controller()), version: &TLS13 };
    assert!(new_client.ask(address).await.unwrap().ends_with("ok"));
    assert!(old_client.ask(address).await.is_err());
    get_and_keep(&mut established, "/healthz", "ok").await.unwrap();
}

#[tokio::test]
async fn unusable_files_are_reported_once_and_the_next_usable_files_are_loaded() {
    let dir = tempfile::tempdir().unwrap();
    let pki = Pki::new();
    pki.mount(&dir, "v1");
    let mut source = Source::new(dir.path().to_owned());
    assert!(source.changed().await.unwrap().is_some());
    assert!(source.changed().await.unwrap().is_none(), "nothing changed");

    let mixed = Identity { certificate: pki.issue(SERVICE, SERVER).certificate, key: pki.issue(SERVICE, SERVER).key };
    mount(&dir, "v2", &pki.ca, &mixed);
    let error = source.changed().await.unwrap_err().to_string();
    assert!(error.starts_with("tls.key is not usable: "), "{error}");
    assert!(source.changed().await.unwrap().is_none(), "reported twice");

    pki.mount(&dir, "v3");
    assert!(source.changed().await.unwrap().is_some());
}

#[tokio::test(start_paused = true)]
async fn unusable_files_do_not_replace_the_configuration_in_use() {
    let dir = tempfile::tempdir().unwrap();
    let pki = Pki::new();
    pki.mount(&dir, "v1");
    let tls = Tls::load(dir.path()).await.unwrap();
    let mut configs = tls.configs.clone();
    let before = tls.current();

    mount(&dir, "v2", "not a certificate", &pki.issue(SERVICE, SERVER));
    let changed = tokio::time::timeout(POLL * 3, configs.changed()).await;
    assert!(changed.is_err(), "unusable files changed the configuration");
    assert!(Arc::ptr_eq(&before, &tls.current()));

    pki.mount(&dir, "v3");
    changed_at_last(&mut configs).await;
    assert!(!Arc::ptr_eq(&before, &tls.current()));
}

#[tokio::test]
async fn each_unusable_file_is_named() {
    let pki = Pki::new();
    let good = pki.issue(SERVICE, SERVER);
    let cases = [
        ("", good.certificate.as_str(), good.key.as_str(), "ca.crt is not usable: it has no certificate"),
        (&pki.ca, "", &good.key, "tls.crt is not usable: it has no certificate"),
        (&pki.ca, &good.certificate, "", "tls.key is not usable: "),
    ];
    for (ca, certificate, key, sentence) in cases {
        let dir = tempfile::tempdir().unwrap();
        let server = Identity { certificate: certificate.to_owned(), key: key.to_owned() };
        mount(&dir, "v1", ca, &server);
        let error = Tls::load(dir.path()).await.unwrap_err().to_string();
        assert!(error.starts_with(sentence), "{error}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_plugin_that_starts_before_its_certificate_is_written_waits_for_it() {
    let dir = tempfile::tempdir().unwrap();
    let mut waiting = std::pin::pin!(Tls::wait_for_files(dir.path()));
    let a_minute = Duration::from_mins(1);
    assert!(tokio::time::timeout(a_minute, &mut waiting).await.is_err());

    Pki::new().mount(&dir, "v1");
    assert!(tokio::time::timeout(a_minute, waiting).await.is_ok());
}

#[test]
fn a_repeated_error_is_logged_once() {
    let error = |cause: &str| TlsError::Invalid { file: "ca.crt", cause: cause.to_owned() };
    let mut errors = ErrorLog::default();
    let logged = ["a", "a", "b", "a"].map(|cause| errors.is_new(&error(cause)));
    assert_eq!(logged, [true, false, true, true]);
}
