//! The public keys of a Kubernetes cluster, as a JSON Web Key Set.

use std::path::{Path, PathBuf};
use std::time::Duration;

use jsonwebtoken::jwk::{Jwk, JwkSet};
use reqwest::{Client, Url, redirect};
use rustls::pki_types::{CertificateDer, pem::PemObject as _};
use rustls::{ClientConfig, RootCertStore};
use tokio::sync::Mutex;
use tokio::time::Instant;

/// Keys may be withdrawn: they are read again after this time.
const LIFE: Duration = Duration::from_mins(10);
/// A key that is unknown may be new; but not at each call, since anybody can make keys up.
const PATIENCE: Duration = Duration::from_secs(10);
const FETCH_TIMEOUT: Duration = Duration::from_secs(5);
/// Where pods find their own ServiceAccount's files.
const SERVICE_ACCOUNT: &str = "/var/run/secrets/kubernetes.io/serviceaccount";

/// Where the public keys of a Kubernetes cluster are: what `kubectl get --raw /openid/v1/jwks` prints.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum KeySource {
    /// A file.
    File(PathBuf),
    /// An address, by https.
    Url {
        /// Such as `https://kubernetes.default.svc/openid/v1/jwks`.
        url: Url,
        /// The authorities that are trusted, as PEM. Without it the pod's own ServiceAccount volume is used: its
        /// `ca.crt`, and its `token` as the credential.
        ca: Option<PathBuf>,
    },
}

/// Keys that are read when they are needed.
#[derive(Debug)]
pub(super) struct Keys {
    source: KeySource,
    held: Mutex<Option<Held>>,
}

#[derive(Debug)]
struct Held {
    set: JwkSet,
    read: Instant,
}

impl Keys {
    pub(super) fn new(source: KeySource) -> Self {
        Self { source, held: Mutex::default() }
    }

    /// The key with this id; the only one there is if none is named.
    pub(super) async fn find(&self, id: Option<&str>) -> Result<Option<Jwk>, String> {
        let mut held = self.held.lock().await;
        if let Some(known) = held.as_ref() {
            let found = find(&known.set, id);
            let age = known.read.elapsed();
            if age < PATIENCE || (found.is_some() && age < LIFE) {
                return Ok(found);
            }
        }
        let set = self.read().await.map_err(|why| format!("the cluster's public keys cannot be read: {why}"))?;
        let found = find(&set, id);
        *held = Some(Held { set, read: Instant::now() });
        Ok(found)
    }

    async fn read(&self) -> Result<JwkSet, String> {
        let text = match &self.source {
            KeySource::File(path) => read(path).await?,
            KeySource::Url { url, ca } => fetch(url.clone(), ca.as_deref()).await?,
        };
        serde_json::from_slice(&text).map_err(|error| error.to_string())
    }
}

fn find(set: &JwkSet, id: Option<&str>) -> Option<Jwk> {
    match (id, set.keys.as_slice()) {
        (Some(id), _) => set.find(id).cloned(),
        (None, [only]) => Some(only.clone()),
        (None, _) => None,
    }
}

async fn read(path: &Path) -> Result<Vec<u8>, String> {
    tokio::fs::read(path).await.map_err(|error| format!("{}: {error}", path.display()))
}

async fn fetch(url: Url, ca: Option<&Path>) -> Result<Vec<u8>, String> {
    let own = Path::new(SERVICE_ACCOUNT);
    let (authorities, token) = match ca {
        Some(ca) => (read(ca).await?, None),
        None => (read(&own.join("ca.crt")).await?, Some(read(&own.join("token")).await?)),
    };
    let client = Client::builder()
        .https_only(true)
        .redirect(redirect::Policy::none())
        .no_proxy()
        .timeout(FETCH_TIMEOUT)
        .tls_backend_preconfigured(trusting(&authorities)?)
        .build()
        .map_err(|error| error.to_string())?;
    let mut request = client.get(url);
    if let Some(token) = token {
        request = request.bearer_auth(String::from_utf8_lossy(&token).trim());
    }
    let answer = request.send().await.and_then(reqwest::Response::error_for_status);
    let body = answer.map_err(|error| error.to_string())?.bytes().await;
    body.map(|body| body.to_vec()).map_err(|error| error.to_string())
}

fn trusting(authorities: &[u8]) -> Result<ClientConfig, String> {
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(authorities) {
        let certificate = certificate.map_err(|error| format!("the authorities are no PEM: {error}"))?;
        roots.add(certificate).map_err(|error| error.to_string())?;
    }
    let provider = rustls::crypto::ring::default_provider();
    let config = ClientConfig::builder_with_provider(provider.into())
        .with_safe_default_protocol_versions()
        .map_err(|error| error.to_string())?;
    Ok(config.with_root_certificates(roots).with_no_client_auth())
}
