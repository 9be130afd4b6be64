//! The public keys of a Kubernetes cluster, as a JSON Web Key Set.

use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use jsonwebtoken::jwk::{Jwk, JwkSet};
use reqwest::{Client, Url, redirect};
use rustls::pki_types::{CertificateDer, pem::PemObject as _};
use rustls::{ClientConfig, RootCertStore};
use tokio::time::Instant;

/// Keys may be withdrawn: they are read again after this time.
const LIFE: Duration = Duration::from_mins(10);
/// A key that is unknown may be new, and keys that could not be read may be there again. But that is not tried at each
/// call, since anybody can make keys up and call.
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
    state: Mutex<State>,
    /// Held while keys are read, which may take a while. Calls with keys that are known do not wait for it.
    reading: tokio::sync::Mutex<()>,
}

#[derive(Debug, Default)]
struct State {
    held: Option<Held>,
    /// When keys were read last, and why that failed.
    tried: Option<(Instant, Option<String>)>,
}

#[derive(Debug)]
struct Held {
    set: JwkSet,
    read: Instant,
}

impl Keys {
    pub(super) fn new(source: KeySource) -> Self {
        Self { source, state: Mutex::default(), reading: tokio::sync::Mutex::default() }
    }

    /// The key with this id; the only one there is if none is named.
    pub(super) async fn find(&self, id: Option<&str>) -> Result<Option<Jwk>, String> {
        if let Some(answer) = self.state().answer(id) {
            return answer;
        }
        let _reading = self.reading.lock().await;
        // Somebody else may have read the keys in the meantime.
        if let Some(answer) = self.state().answer(id) {
            return answer;
        }
        let read = self.read().await.map_err(|why| format!("the cluster's public keys cannot be read: {why}"));
        let (mut state, now) = (self.state(), Instant::now());
        state.tried = Some((now, read.as_ref().err().cloned()));
        let set = read?;
        let found = find(&set, id);
        state.held = Some(Held { set, read: now });
        Ok(found)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn read(&self) -> Result<JwkSet, String> {
        let text = match &self.source {
            KeySource::File(path) => read(path).await?,
            KeySource::Url { url, ca } => fetch(url.clone(), ca.as_deref()).await?,
        };
        serde_json::from_slice(&text).map_err(|error| error.to_string())
    }
}

impl State {
    /// What can be said without reading the keys; `None` if they have to be read.
    fn answer(&self, id: Option<&str>) -> Option<Result<Option<Jwk>, String>> {
        let fresh = self.held.as_ref().filter(|held| held.read.elapsed() < LIFE);
        if let Some(found) = fresh.and_then(|held| find(&held.set, id)) {
            return Some(Ok(Some(found)));
        }
        let (_, failure) = self.tried.as_ref().filter(|(tried, _)| tried.elapsed() < PATIENCE)?;
        Some(failure.clone().map_or(Ok(None), Err))
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

    /// Anybody can make keys up, and the API server may hang.
    #[tokio::test]
    async fn a_call_with_a_known_key_does_not_wait_while_keys_are_read_for_another_one() {
        let keys = Keys::new(KeySource::File(MISSING.into()));
        let read = Instant::now().checked_sub(PATIENCE).unwrap();
        keys.state().held = Some(Held { set: JwkSet { keys: vec![key("known")] }, read });
        let mut unknown = std::pin::pin!(keys.find(Some("unknown")));
        // Begins to read the keys.
        tokio::select! {
            biased;
            _ = &mut unknown => {}
            () = std::future::ready(()) => {}
        }
        let mut known = std::pin::pin!(keys.find(Some("known")));
        let found = tokio::select! {
            biased;
            found = &mut known => found,
            () = std::future::ready(()) => panic!("it waits"),
        };
        assert!(found.unwrap().is_some());
    }

    #[tokio::test(start_paused = true)]
    async fn keys_that_cannot_be_read_are_not_read_at_each_call_and_those_before_count_on() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("jwks.json");
        let keys = Keys::new(KeySource::File(file.clone()));
        assert!(keys.find(Some("a")).await.unwrap_err().contains("cannot be read"));
        let publish = |id: &str| {
            let set = JwkSet { keys: vec![key(id)] };
            std::fs::write(&file, serde_json::to_vec(&set).unwrap()).unwrap();
        };
        publish("a");
        assert!(keys.find(Some("a")).await.is_err(), "they are read again at once");
        tokio::time::advance(PATIENCE).await;
        assert!(keys.find(Some("a")).await.unwrap().is_some());
        tokio::time::advance(PATIENCE).await;
        std::fs::remove_file(&file).unwrap();
        assert!(keys.find(Some("b")).await.is_err());
        publish("b");
        assert!(keys.find(Some("b")).await.is_err(), "they are read again at once");
        assert!(keys.find(Some("a")).await.unwrap().is_some(), "a failure is no withdrawal");
        tokio::time::advance(LIFE).await;
        assert!(keys.find(Some("a")).await.unwrap().is_none(), "it was withdrawn");
    }
}
