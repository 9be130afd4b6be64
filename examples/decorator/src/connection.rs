//! Connections to the hook: HTTP clients that trust the certificates in files.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use reqwest::redirect::{Attempt, Policy};
use reqwest::{Client, Url};
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::ServerCertVerifier;
use rustls::crypto::{CryptoProvider, ring};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConfig, RootCertStore};

use crate::files::{self, FileError};
use crate::verifier::IssuedOrTrusted;

/// The maximum number of redirects of one call, as in Go's HTTP client.
const MAX_REDIRECTS: usize = 10;

/// The files with certificates for HTTPS.
#[derive(Debug, Clone, Default)]
pub(crate) struct TlsFiles {
    /// The certificates that are trusted. Without it, those of the system are trusted.
    pub(crate) ca: Option<PathBuf>,
    /// The directory of `tls.crt` and `tls.key`, which the plugin presents.
    pub(crate) identity: Option<PathBuf>,
}

/// The error for a client that cannot be created.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ConnectionError {
    /// A file cannot be used.
    #[error(transparent)]
    File(#[from] FileError),
    /// The TLS library refuses the configuration.
    #[error("failed to configure TLS: {0}")]
    Tls(#[from] rustls::Error),
    /// The TLS library refuses the trusted certificates.
    #[error("failed to configure TLS: {0}")]
    Verifier(#[from] rustls::client::VerifierBuilderError),
    /// The HTTP library refuses the configuration.
    #[error("failed to create an HTTP client: {0}")]
    Client(#[from] reqwest::Error),
}

/// Connections to one hook. The certificates are read for each call, and connections are reused while they are the same.
#[derive(Debug)]
pub(crate) struct Connections {
    https: bool,
    files: TlsFiles,
    last: Mutex<Option<Last>>,
}

#[derive(Debug)]
struct Last {
    certificates: Certificates,
    client: Client,
}

/// The content of the files.
#[derive(Debug, Default, PartialEq, Eq)]
struct Certificates {
    ca: Option<PemFile>,
    identity: Option<Identity>,
}

#[derive(Debug, PartialEq, Eq)]
struct Identity {
    certificate: PemFile,
    key: PemFile,
}

#[derive(PartialEq, Eq)]
struct PemFile {
    path: PathBuf,
    pem: Vec<u8>,
}

/// Shows no key.
impl std::fmt::Debug for PemFile {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.path.fmt(f)
    }
}

impl Connections {
    /// Creates connections to the server of `url`.
    pub(crate) fn new(url: &Url, files: TlsFiles) -> Self {
        Self { https: url.scheme() == "https", files, last: Mutex::default() }
    }

    /// Returns a client with the certificates that are in the files now.
    pub(crate) async fn client(&self) -> Result<Client, ConnectionError> {
        let certificates = if self.https { self.files.read().await? } else { Certificates::default() };
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(last) = last.as_ref().filter(|last| last.certificates == certificates) {
            return Ok(last.client.clone());
        }
        let client = Client::builder()
            .redirect(Policy::custom(|attempt| if is_followed(&attempt) { attempt.follow() } else { attempt.stop() }))
            // The environment of the pod must not send the calls to another server.
            .no_proxy()
            .tls_backend_preconfigured(self.tls(&certificates)?)
            .build()?;
        *last = Some(Last { certificates, client: client.clone() });
        Ok(client)
    }

    fn tls(&self, certificates: &Certificates) -> Result<ClientConfig, ConnectionError> {
        let provider = Arc::new(ring::default_provider());
        let builder =
            ClientConfig::builder_with_provider(Arc::clone(&provider)).with_safe_default_protocol_versions()?;
        let builder = match (&certificates.ca, self.https) {
            // reqwest requires a configuration of TLS for HTTP, too.
            (_, false) => builder.with_root_certificates(RootCertStore::empty()),
            (None, true) => builder.with_root_certificates(system_roots()),
            (Some(ca), true) => builder.dangerous().with_custom_certificate_verifier(verifier(ca, provider)?),
        };
        let Some(identity) = &certificates.identity else { return Ok(builder.with_no_client_auth()) };
        let chain = certificates_in(&identity.certificate.pem).collect();
        let PemFile { path, pem } = &identity.key;
        let key = PrivateKeyDer::from_pem_slice(pem)
            .map_err(|error| FileError::invalid(path, format!("is not a private key: {error}")))?;
        Ok(builder.with_client_auth_cert(chain, key)?)
    }
}

impl TlsFiles {
    async fn read(&self) -> Result<Certificates, FileError> {
        let mut certificates = Certificates::default();
        if let Some(ca) = &self.ca {
            certificates.ca = Some(PemFile { path: ca.clone(), pem: files::read(ca).await? });
        }
        if let Some(dir) = &self.identity {
            let current = files::current(dir).await;
            let read = async |file| {
                let pem = files::read(&current.join(file)).await?;
                Ok(PemFile { path: dir.join(file), pem })
            };
            certificates.identity = Some(Identity { certificate: read("tls.crt").await?, key: read("tls.key").await? });
        }
        Ok(certificates)
    }
}

/// Returns whether a redirect stays at the same server. Otherwise a hook could make the plugin send the object to any
/// server that it can reach.
fn is_followed(attempt: &Attempt<'_>) -> bool {
    let same = attempt.previous().first().is_some_and(|first| first.origin() == attempt.url().origin());
    same && attempt.previous().len() <= MAX_REDIRECTS
}

/// Returns the certificates of the system. An image without any has the public ones, which are part of the program.
fn system_roots() -> RootCertStore {
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    if roots.is_empty() {
        roots.extend(webpki_roots::TLS_SERVER_ROOTS.iter().cloned());
    }
    roots
}

fn verifier(ca: &PemFile, provider: Arc<CryptoProvider>) -> Result<Arc<dyn ServerCertVerifier>, ConnectionError> {
    let trusted: Vec<_> = certificates_in(&ca.pem).collect();
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(trusted.iter().cloned());
    if roots.is_empty() {
        return Err(FileError::invalid(&ca.path, "has no certificate in PEM format").into());
    }
    let issued = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider).build()?;
    Ok(Arc::new(IssuedOrTrusted::new(issued, trusted)))
}

/// Returns the certificates in `pem`. Other sections and invalid ones are ignored, as in Go.
fn certificates_in(pem: &[u8]) -> impl Iterator<Item = CertificateDer<'static>> {
    CertificateDer::pem_slice_iter(pem).filter_map(Result::ok)
}
