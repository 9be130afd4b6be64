//! The public keys of a Kubernetes cluster, as a JSON Web Key Set.

use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use jsonwebtoken::jwk::{Jwk, JwkSet};
use reqwest::{Client, Url, redirect};
use rustls::pki_types::{CertificateDer, pem::PemObject as _};
use rustls::{ClientConfig, RootCertStore};
use tokio::time::Instant;

/// The time after which keys are read again, because they may have been withdrawn.
const MAX_AGE: Duration = Duration::from_mins(10);
/// The minimum time between two reads. An unknown key may be new, and unreadable keys may have become readable. But a
/// read at each call would let any caller with an invented key cause reads.
const MIN_INTERVAL: Duration = Duration::from_secs(10);
const FETCH_TIMEOUT: Duration = Duration::from_secs(5);
/// The directory with the files of a pod's own ServiceAccount.
const SERVICE_ACCOUNT: &str = "/var/run/secrets/kubernetes.io/serviceaccount";

/// The source of the public keys of a Kubernetes cluster: the JSON that `kubectl get --raw /openid/v1/jwks` prints.
///
/// ```
/// use dask_plugin_server::credentials::KeySource;
///
/// let file = KeySource::file("/etc/plugin-keys/jwks.json");
/// let url = KeySource::url("https://kubernetes.default.svc/openid/v1/jwks", None)?;
/// assert!(KeySource::url("http://kubernetes.default.svc/openid/v1/jwks", None).is_err());
/// # Ok::<(), dask_plugin_server::credentials::InvalidKeyUrl>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeySource(Kind);

#[derive(Debug, Clone, PartialEq, Eq)]
enum Kind {
    File(PathBuf),
    Url { url: Url, ca: Option<PathBuf> },
}

/// The error for a URL that does not have the scheme https.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not an https URL")]
pub struct InvalidKeyUrl(String);

impl KeySource {
    /// Reads the keys from a file.
    pub fn file(path: impl Into<PathBuf>) -> Self {
        Self(Kind::File(path.into()))
    }

    /// Fetches the keys from an https URL.
    ///
    /// `ca` is a PEM file with the CA certificates that are trusted. Without it, the ServiceAccount volume of the pod
    /// is used: its `ca.crt`, and its `token` as the credential.
    pub fn url(url: &str, ca: Option<PathBuf>) -> Result<Self, InvalidKeyUrl> {
        let parsed = Url::parse(url).ok().filter(|url| url.scheme() == "https");
        parsed.map(|url| Self(Kind::Url { url, ca })).ok_or_else(|| InvalidKeyUrl(url.to_owned()))
    }
}

/// Keys that are read when they are needed.
#[derive(Debug)]
pub(super) struct Keys {
    source: KeySource,
    state: Mutex<State>,
    /// Locked while keys are read, which may take seconds. Calls with known keys do not wait for it.
    reading: tokio::sync::Mutex<()>,
}

#[derive(Debug, Default)]
struct State {
    cached: Option<Cached>,
    last_read: Option<LastRead>,
}

/// The result of the last attempt to read the keys.
#[derive(Debug)]
struct LastRead {
    time: Instant,
    error: Option<String>,
}

#[derive(Debug)]
struct Cached {
    set: JwkSet,
    time: Instant,
}

impl Keys {
    pub(super) fn new(source: KeySource) -> Self {
        Self { source, state: Mutex::default(), reading: tokio::sync::Mutex::default() }
    }

    /// Returns the key with this id. Without an id, returns the only key if there is exactly one.
    pub(super) async fn find(&self, id: Option<&str>) -> Result<Option<Jwk>, String> {
        if let Some(found) = self.state().lookup(id) {
            return found;
        }
        let _reading = self.reading.lock().await;
        // Another call may have read the keys in the meantime.
        if let Some(found) = self.state().lookup(id) {
            return found;
        }
        let read = self.read().await.map_err(|why| format!("failed to read the public keys of the cluster: {why}"));
        let (mut state, now) = (self.state(), Instant::now());
        state.last_read = Some(LastRead { time: now, error: read.as_ref().err().cloned() });
        let set = read?;
        let found = find(&set, id);
        state.cached = Some(Cached { set, time: now });
        Ok(found)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn read(&self) -> Result<JwkSet, String> {
        let text = match &self.source.0 {
            Kind::File(path) => read(path).await?,
            Kind::Url { url, ca } => fetch(url.clone(), ca.as_deref()).await?,
        };
        serde_json::from_slice(&text).map_err(|error| error.to_string())
    }
}

impl State {
    /// Looks the key up without reading the keys. Returns `None` if they have to be read.
    fn lookup(&self, id: Option<&str>) -> Option<Result<Option<Jwk>, String>> {
        let fresh = self.cached.as_ref().filter(|cached| cached.time.elapsed() < MAX_AGE);
        if let Some(found) = fresh.and_then(|cached| find(&cached.set, id)) {
            return Some(Ok(Some(found)));
        }
        let last = self.last_read.as_ref().filter(|last| last.time.elapsed() < MIN_INTERVAL)?;
        Some(last.error.clone().map_or(Ok(None), Err))
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

/// Fetches the keys. The token of the pod is sent only to the API server, which its own CA certificate identifies.
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

/// Returns a TLS configuration that trusts only these CA certificates.
fn trusting(authorities: &[u8]) -> Result<ClientConfig, String> {
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(authorities) {
        let certificate = certificate.map_err(|error| format!("the CA certificates are not PEM: {error}"))?;
        roots.add(certificate).map_err(|error| error.to_string())?;
    }
    let provider = rustls::crypto::ring::default_provider();
    let config = ClientConfig::builder_with_provider(provider.into())
        .with_safe_default_protocol_versions()
        .map_err(|error| error.to_string())?;
    Ok(config.with_root_certificates(roots).with_no_client_auth())
}

#[cfg(test)]
mod tests {
    use jsonwebtoken::{Algorithm, EncodingKey};

    use super::*;

    const MISSING: &str = "/nonexistent/jwks.json";

    fn key(id: &str) -> Jwk {
        let pair = rcgen::KeyPair::generate().unwrap();
        let mut key =
            Jwk::from_encoding_key(&EncodingKey::from_ec_der(&pair.serialize_der()), Algorithm::ES256).unwrap();
        key.common.key_id = Some(id.to_owned());
        key
    }

    /// Any caller can invent a key, and the API server may hang.
    #[tokio::test]
    async fn a_call_with_a_known_key_does_not_wait_while_keys_are_read_for_another_one() {
        let keys = Keys::new(KeySource::file(MISSING));
        let time = Instant::now().checked_sub(MIN_INTERVAL).unwrap();
        keys.state().cached = Some(Cached { set: JwkSet { keys: vec![key("known")] }, time });
        let mut unknown = std::pin::pin!(keys.find(Some("unknown")));
        // Starts to read the keys.
        tokio::select! {
            biased;
            _ = &mut unknown => {}
            () = std::future::ready(()) => {}
        }
        let mut known = std::pin::pin!(keys.find(Some("known")));
        let found = tokio::select! {
            biased;
            found = &mut known => found,
            () = std::future::ready(()) => panic!("the call waits"),
        };
        assert!(found.unwrap().is_some());
    }

    #[tokio::test(start_paused = true)]
    async fn unreadable_keys_are_not_read_at_each_call_and_cached_keys_stay_valid() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("jwks.json");
        let keys = Keys::new(KeySource::file(&file));
        assert!(keys.find(Some("a")).await.unwrap_err().contains("failed to read"));
        let publish = |id: &str| {
            let set = JwkSet { keys: vec![key(id)] };
            std::fs::write(&file, serde_json::to_vec(&set).unwrap()).unwrap();
        };
        publish("a");
        assert!(keys.find(Some("a")).await.is_err(), "the keys are read again too soon");
        tokio::time::advance(MIN_INTERVAL).await;
        assert!(keys.find(Some("a")).await.unwrap().is_some());
        tokio::time::advance(MIN_INTERVAL).await;
        std::fs::remove_file(&file).unwrap();
        assert!(keys.find(Some("b")).await.is_err());
        publish("b");
        assert!(keys.find(Some("b")).await.is_err(), "the keys are read again too soon");
        assert!(keys.find(Some("a")).await.unwrap().is_some(), "a failed read does not withdraw keys");
        tokio::time::advance(MAX_AGE).await;
        assert!(keys.find(Some("a")).await.unwrap().is_none(), "the key was withdrawn");
    }
}
