//! Calls a plugin: strict limits, no redirects, no proxies, and no address but the one that the resource
//! names.

use std::{net::IpAddr, path::PathBuf, sync::Arc, time::Duration};

use plugin_protocol::{Discovery, Hook, PluginResponse, ReviewRequest, headers, limits, path};
use reqwest::{Client, RequestBuilder, Response, redirect};
use rustls::{
    ClientConfig, RootCertStore,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _},
};

use super::{
    certificates::Pair,
    outcome::{self, CallError, RawAnswer},
    trace,
};

/// The name in URLs of plugins that listen on a socket.
const SOCKET_HOST: &str = "plugin";
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// Idle connections go before a certificate can expire under them, and before a rotated one is wanted.
const IDLE_TIMEOUT: Duration = Duration::from_mins(1);

/// Where and how a plugin is reached.
#[derive(Clone, PartialEq, Eq)]
pub(super) enum Route {
    /// A Service by https, both sides with certificates of the controller's own authority.
    Service { host: String, port: u16, path: String, ca: String, identity: Pair, address: Option<IpAddr> },
    /// A Unix socket in the pod.
    Socket(PathBuf),
}

/// Why a route cannot be used.
#[derive(Debug, thiserror::Error)]
pub(super) enum RouteError {
    #[error("the certificates cannot be used: {0}")]
    Certificates(String),
    #[error("the HTTP client cannot be built: {0}")]
    Client(#[from] reqwest::Error),
}

/// Calls one plugin.
#[derive(Clone)]
pub(super) struct Caller {
    route: Route,
    http: Client,
    base: String,
    timeout: Duration,
}

impl std::fmt::Debug for Caller {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Caller").field("base", &self.base).finish_non_exhaustive()
    }
}

impl Route {
    /// The endpoint, for people.
    pub(super) fn describe(&self) -> String {
        match self {
            Self::Service { host, port, path, .. } => format!("https://{host}:{port}{path}"),
            Self::Socket(path) => format!("unix:{}", path.display()),
        }
    }
}

impl Caller {
    /// A caller over `route`; each call may take `timeout`.
    pub(super) fn new(route: &Route, timeout: Duration) -> Result<Self, RouteError> {
        let builder = Client::builder()
            .redirect(redirect::Policy::none())
            .no_proxy()
            .http1_only()
            .connect_timeout(CONNECT_TIMEOUT)
            .pool_idle_timeout(IDLE_TIMEOUT)
            .timeout(timeout)
            .user_agent(concat!("dask-operator/", env!("CARGO_PKG_VERSION")));
        let (builder, base) = match route {
            Route::Service { host, port, path, ca, identity, address } => {
                let builder = builder.https_only(true).tls_backend_preconfigured(tls_config(ca, identity)?);
                let builder = match address {
                    Some(address) => builder.resolve(host, (*address, *port).into()),
                    None => builder,
                };
                (builder, format!("https://{host}:{port}{}", path.trim_end_matches('/')))
            }
            // The HTTP client asks for a TLS configuration even where no TLS is spoken.
            Route::Socket(path) => {
                let unused = ClientConfig::builder_with_provider(provider())
                    .with_safe_default_protocol_versions()
                    .map_err(|error| RouteError::Certificates(error.to_string()))?
                    .with_root_certificates(RootCertStore::empty())
                    .with_no_client_auth();
                let builder = builder.unix_socket(path.clone()).tls_backend_preconfigured(unused);
                (builder, format!("http://{SOCKET_HOST}"))
            }
        };
        Ok(Self { route: route.clone(), http: builder.build()?, base, timeout })
    }

    /// Whether this caller, with its open connections, still serves.
    pub(super) fn serves(&self, route: &Route, timeout: Duration) -> bool {
        self.route == *route && self.timeout == timeout
    }

    /// Asks the plugin who it is.
    pub(super) async fn discover(&self) -> Result<Discovery, CallError> {
        let raw = self.send(self.http.get(self.url(path::DISCOVERY))).await?;
        outcome::check_code(&raw)?;
        outcome::parse(&raw.body)
    }

    /// Asks the plugin about a subject, by the hook that the request names.
    pub(super) async fn call(&self, review: &ReviewRequest) -> Result<PluginResponse, CallError> {
        let request = &review.request;
        let body = serde_json::to_vec(review).map_err(|error| CallError::Protocol(error.to_string()))?;
        if body.len() > limits::MAX_REQUEST_BYTES {
            let message =
                format!("the request would have {} bytes, and may have {}", body.len(), limits::MAX_REQUEST_BYTES);
            return Err(CallError::Protocol(message));
        }
        let source = format!(
            "/apis/kubernetes.dask.org/v1alpha1/namespaces/{}/daskoperatorplugins/{}",
            request.plugin.namespace, request.plugin.name
        );
        let call = self
            .http
            .post(self.url(match request.hook {
                Hook::Finalize => path::FINALIZE,
                _ => path::SYNC,
            }))
            .header(http::header::CONTENT_TYPE, "application/json")
            .header(headers::CE_SPECVERSION, headers::CE_SPECVERSION_VALUE)
            .header(headers::CE_ID, &request.uid)
            .header(headers::CE_TYPE, &request.event.type_)
            .header(headers::CE_SOURCE, source)
            .header(headers::CE_SUBJECT, format!("{}/{}", request.subject.namespace(), request.subject.name()))
            .header(headers::CE_TIME, &request.event.time)
            .header(headers::TRACEPARENT, trace::traceparent())
            .body(body);
        let raw = self.send(call).await?;
        outcome::interpret(&raw, &request.uid)
    }

    fn url(&self, path: &str) -> String {
        format!("{}{path}?timeout={}s", self.base, self.timeout.as_secs())
    }

    async fn send(&self, request: RequestBuilder) -> Result<RawAnswer, CallError> {
        let response = request.send().await.map_err(|error| unreachable(&error))?;
        let code = response.status().as_u16();
        let retry_after = response.headers().get(http::header::RETRY_AFTER);
        let retry_after = retry_after.and_then(|value| value.to_str().ok()).map(str::to_owned);
        Ok(RawAnswer { code, retry_after, body: read(response).await? })
    }
}

/// Reads at most [`limits::MAX_RESPONSE_BYTES`], whatever the plugin claims or sends.
async fn read(mut response: Response) -> Result<Vec<u8>, CallError> {
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(|error| unreachable(&error))? {
        if body.len() + chunk.len() > limits::MAX_RESPONSE_BYTES {
            let message = format!("the answer has more than {} bytes", limits::MAX_RESPONSE_BYTES);
            return Err(CallError::Protocol(message));
        }
        body.extend_from_slice(&chunk);
    }
    Ok(body)
}

/// The innermost cause says what happened; addresses in the outer ones change from call to call, and
/// messages must not.
fn unreachable(error: &reqwest::Error) -> CallError {
    if error.is_timeout() {
        return CallError::Unreachable("the plugin did not answer in time".to_owned());
    }
    let mut cause: &dyn std::error::Error = error;
    while let Some(source) = cause.source() {
        cause = source;
    }
    let step = if error.is_connect() { "connect to" } else { "talk to" };
    CallError::Unreachable(format!("failed to {step} the plugin: {cause}"))
}

fn provider() -> Arc<rustls::crypto::CryptoProvider> {
    Arc::new(rustls::crypto::ring::default_provider())
}

fn tls_config(ca: &str, identity: &Pair) -> Result<ClientConfig, RouteError> {
    let invalid = |error: &dyn std::fmt::Display| RouteError::Certificates(error.to_string());
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(ca.as_bytes()) {
        let certificate = certificate.map_err(|error| invalid(&error))?;
        roots.add(certificate).map_err(|error| invalid(&error))?;
    }
    let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(identity.certificate.as_bytes()).collect();
    let key = PrivateKeyDer::from_pem_slice(identity.key.as_bytes()).map_err(|error| invalid(&error))?;
    ClientConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .map_err(|error| invalid(&error))?
        .with_root_certificates(roots)
        .with_client_auth_cert(chain.map_err(|error| invalid(&error))?, key)
        .map_err(|error| invalid(&error))
}
