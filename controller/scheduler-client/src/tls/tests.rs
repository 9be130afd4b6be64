//! Tests of TLS with certificates as Dask users create them.

use std::time::Duration;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::{
    ServerConfig,
    server::{WebPkiClientVerifier, danger::ClientCertVerifier},
};
use time::OffsetDateTime;
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

use super::*;
use crate::{Client, Endpoint, codec, message};

struct Pair {
    certificate: String,
    key: String,
}

fn authority() -> CertifiedIssuer<'static, KeyPair> {
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap()
}

/// Returns the parameters of a certificate for a host name that none of the test's hosts has.
fn params() -> CertificateParams {
    CertificateParams::new(["scheduler.example.org".to_owned()]).unwrap()
}

fn signed(params: &CertificateParams, authority: &CertifiedIssuer<'static, KeyPair>) -> Pair {
    let key = KeyPair::generate().unwrap();
    let certificate = params.signed_by(&key, authority).unwrap().pem();
    Pair { certificate, key: key.serialize_pem() }
}

fn self_signed(params: &CertificateParams) -> Pair {
    let key = KeyPair::generate().unwrap();
    Pair { certificate: params.self_signed(&key).unwrap().pem(), key: key.serialize_pem() }
}

fn expired(mut params: CertificateParams) -> CertificateParams {
    params.not_before = OffsetDateTime::UNIX_EPOCH;
    params.not_after = OffsetDateTime::UNIX_EPOCH + Duration::from_hours(1);
    params
}

fn client_verifier(ca: &str) -> Arc<dyn ClientCertVerifier> {
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(certificates(ca.as_bytes()).unwrap());
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider).build().unwrap()
}

/// Starts a scheduler that answers one call with the number 2, and trusts clients of `ca`. Returns its port.
async fn serve(server: &Pair, ca: &str) -> u16 {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_client_cert_verifier(client_verifier(ca))
        .with_single_cert(
            certificates(server.certificate.as_bytes()).unwrap(),
            PrivateKeyDer::from_pem_slice(server.key.as_bytes()).unwrap(),
        )
        .unwrap();
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        use tokio::io::AsyncWriteExt as _;
        let (stream, _) = listener.accept().await.unwrap();
        let Ok(mut stream) = TlsAcceptor::from(Arc::new(config)).accept(stream).await else { return };
        let mut received = Vec::new();
        for answer in [message::handshake().unwrap(), vec![2]] {
            stream.write_all(&codec::encode(&answer)).await.unwrap();
            codec::read(&mut stream, &mut received).await.unwrap();
        }
        // This reads until the client has closed the connection.
        _ = codec::read(&mut stream, &mut received).await;
    });
    port
}

/// Returns what a client that trusts `ca` receives from the scheduler at `port`.
async fn ask(port: u16, ca: &str, client: &Pair) -> Result<u64, Error> {
    let tls = tls_config(ca.as_bytes(), client.certificate.as_bytes(), client.key.as_bytes()).unwrap();
    let endpoint =
        Endpoint { host: "127.0.0.1".to_owned(), port, http_port: None, http_prefix: String::new(), tls: Some(tls) };
    Client::new(endpoint).desired_workers().await
}

#[tokio::test]
async fn a_scheduler_of_the_same_authority_is_trusted_whatever_its_name() {
    let authority = authority();
    let (server, client) = (signed(&params(), &authority), signed(&params(), &authority));
    let port = serve(&server, &authority.pem()).await;
    assert_eq!(ask(port, &authority.pem(), &client).await, Ok(2));
}

/// Dask's `Security.temporary()` does not mark its certificate as an authority's. OpenSSL does.
#[tokio::test]
async fn one_self_signed_certificate_for_all_is_trusted() {
    let mut authority = params();
    authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let (ca, client) = (self::authority(), params());
    let client = signed(&client, &ca);
    for params in [params(), authority] {
        let server = self_signed(&params);
        let port = serve(&server, &ca.pem()).await;
        assert_eq!(ask(port, &server.certificate, &client).await, Ok(2));
    }
}

#[tokio::test]
async fn other_schedulers_are_not_trusted() {
    let (authority, other) = (authority(), self::authority());
    let old = self_signed(&expired(params()));
    let client = signed(&params(), &authority);
    let table = [
        ("of another authority", signed(&params(), &other), authority.pem()),
        ("self-signed", self_signed(&params()), authority.pem()),
        ("expired", signed(&expired(params()), &authority), authority.pem()),
        ("expired and self-signed", Pair { certificate: old.certificate.clone(), key: old.key }, old.certificate),
    ];
    for (what, server, ca) in table {
        let port = serve(&server, &authority.pem()).await;
        let error = ask(port, &ca, &client).await.unwrap_err();
        assert_eq!(error.category(), "SchedulerTls", "{what}: {error}");
    }
}

#[tokio::test]
async fn a_scheduler_that_does_not_trust_us_is_an_error_of_tls() {
    let (authority, other) = (authority(), self::authority());
    let port = serve(&signed(&params(), &authority), &authority.pem()).await;
    let error = ask(port, &authority.pem(), &signed(&params(), &other)).await.unwrap_err();
    assert_eq!(error.category(), "SchedulerTls", "{error}");
}

#[test]
fn what_is_no_certificate_or_no_key_of_it_is_an_error() {
    let (one, other) = (self_signed(&params()), self_signed(&params()));
    let table = [
        ("no authority", "", one.certificate.as_str(), one.key.as_str()),
        ("no certificate", &one.certificate, "nothing", &one.key),
        ("no key", &one.certificate, &one.certificate, ""),
        ("another key", &one.certificate, &one.certificate, &other.key),
    ];
    for (what, ca, certificate, key) in table {
        let error = tls_config(ca.as_bytes(), certificate.as_bytes(), key.as_bytes()).unwrap_err();
        assert_eq!(error.category(), "SchedulerCertificates", "{what}: {error}");
    }
}
