//! Calls a plugin. Limits are strict, redirects and proxies are not used, and only the address that the plugin
//! resource names is contacted.

pub(crate) mod address;
pub(crate) mod answer;
pub(crate) mod breaker;
pub(crate) mod memory_shares;
pub(crate) mod response;
mod route;
pub(crate) mod signature;
pub(crate) mod strict_json;
pub(crate) mod tls;
pub(crate) mod token;
pub(crate) mod traceparent;
pub(crate) mod warnings;

use std::time::Duration;

use jiff::Timestamp;
use reqwest::{Client, RequestBuilder, Response, redirect};

pub(crate) use self::route::{Base, Https, Route};
use self::{
    address::Resolver,
    answer::Answer,
    memory_shares::{Reservation, Shares},
    response::{CallError, RawResponse},
};
use plugin_protocol::{Discovery, Hook, ReviewRequest, headers, limits, path};

/// The host in the URLs of plugins that listen on a Unix socket.
const SOCKET_HOST: &str = "plugin";
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// How many bytes of an error response's body are read. The message that is shown is shorter.
const MAX_ERROR_BYTES: usize = 16 * 1024;
/// How long an idle connection is kept. It is closed before its certificate can expire or is rotated.
const IDLE_TIMEOUT: Duration = Duration::from_mins(1);

/// The pauses before a call is sent again that was not accepted. During a roll-out another endpoint accepts it.
const RECONNECTS: [Duration; 3] = [Duration::from_millis(100), Duration::from_millis(300), Duration::from_millis(900)];

/// The reason why a route cannot be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RouteError {
    #[error(transparent)]
    Tls(#[from] tls::Error),
    #[error("the HTTP client cannot be built: {0}")]
    Client(#[from] reqwest::Error),
}

/// Calls one plugin.
#[derive(Clone)]
pub(crate) struct Caller {
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

impl Caller {
    /// Returns a caller for `route`. Each call times out after `timeout`.
    pub(crate) fn new(route: &Route, timeout: Duration) -> Result<Self, RouteError> {
        let builder = Client::builder()
            .redirect(redirect::Policy::none())
            .no_proxy()
            .http1_only()
            .connect_timeout(CONNECT_TIMEOUT)
            .pool_idle_timeout(IDLE_TIMEOUT)
            .timeout(timeout)
            .user_agent(concat!("dask-operator/", env!("CARGO_PKG_VERSION")));
        let (builder, base) = match route {
            Route::Https(https) => {
                let dns = Resolver::Dns { absolute: https.base.absolute };
                let config = tls::config(&https.roots, https.identity.as_ref())?;
                let builder = builder
                    .https_only(true)
                    .tls_backend_preconfigured(config)
                    .dns_resolver(https.address.map_or(dns, Resolver::Pinned));
                (builder, https.base.url())
            }
            Route::Socket(path) => {
                let builder = builder.unix_socket(path.clone()).tls_backend_preconfigured(tls::unused()?);
                (builder, format!("http://{SOCKET_HOST}"))
            }
            Route::Dev(base) => (builder.tls_backend_preconfigured(tls::unused()?), base.url_by("http")),
        };
        Ok(Self { route: route.clone(), http: builder.build()?, base, timeout })
    }

    /// Returns whether this caller, with its open connections, can still be used for `route` and `timeout`.
    pub(crate) fn serves(&self, route: &Route, timeout: Duration) -> bool {
        self.route == *route && self.timeout == timeout
    }

    /// Queries the plugin's discovery endpoint.
    pub(crate) async fn discover(&self) -> Result<Discovery, CallError> {
        let call = self.http.get(self.url(path::DISCOVERY));
        let mut memory = Shares::unlimited().of("");
        let mut body = Body { most: response::DISCOVERY.bytes, memory: &mut memory };
        let raw = self.send(call, signature::DISCOVERY_ID, Vec::new(), &mut body).await?;
        response::parse_discovery(&raw)
    }

    /// Calls the hook that the request names. The body of the response is read into `memory`.
    pub(crate) async fn call(&self, review: &ReviewRequest, memory: &mut Reservation) -> Result<Answer, CallError> {
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
            .header(headers::TRACEPARENT, traceparent::traceparent());
        let mut answer = Body { most: limits::MAX_RESPONSE_BYTES, memory };
        let raw = self.send(call, &request.uid, body, &mut answer).await?;
        response::interpret(&raw, &request.uid)
    }

    fn url(&self, path: &str) -> String {
        format!("{}{path}?timeout={}s", self.base, self.timeout.as_secs())
    }

    /// Sends `request` with the route's credentials and reads the response into `answer`. `id` is the message id that
    /// is signed.
    async fn send(
        &self,
        request: RequestBuilder,
        id: &str,
        body: Vec<u8>,
        answer: &mut Body<'_>,
    ) -> Result<RawResponse, CallError> {
        let (tokens, signer) = match &self.route {
            Route::Https(https) => (https.tokens.as_ref(), https.signer.as_ref()),
            Route::Socket(_) | Route::Dev(_) => (None, None),
        };
        let no_credentials = |error: &dyn std::fmt::Display| CallError::NoCredentials(error.to_string());
        let token = match tokens {
            Some(tokens) => Some((tokens, tokens.get().await.map_err(|error| no_credentials(&error))?)),
            None => None,
        };
        let mut request = request;
        if let Some((_, token)) = &token {
            request = request.bearer_auth(token);
        }
        if let Some(signer) = signer {
            let lines = signer.headers(id, Timestamp::now(), &body).map_err(|error| no_credentials(&error))?;
            request = lines.into_iter().fold(request, |request, (name, value)| request.header(name, value));
        }
        let is_hook = !body.is_empty();
        // A GET request with a body, even an empty one, would have a Content-Length header.
        let request = if body.is_empty() { request } else { request.body(body) };
        let pauses: &[Duration] = if is_hook { &RECONNECTS } else { &[] };
        let response = transmit(request, pauses).await.map_err(|error| unreachable(&error))?;
        let code = response.status().as_u16();
        if let (401, Some((tokens, token))) = (code, &token) {
            tokens.refused(token).await;
        }
        let retry_after = response.headers().get(http::header::RETRY_AFTER);
        let retry_after = retry_after.and_then(|value| value.to_str().ok()).map(str::to_owned);
        Ok(RawResponse { code, retry_after, at: Timestamp::now(), body: answer.read(response).await? })
    }
}

/// Sends `request`, and again after each of `pauses` if no connection could be made. A connection that the plugin closes
/// without a response is replaced once: it closes idle ones when it ends, and requests may be repeated.
async fn transmit(request: RequestBuilder, pauses: &[Duration]) -> reqwest::Result<Response> {
    let mut closed = false;
    for pause in pauses {
        let Some(copy) = request.try_clone() else { break };
        match copy.send().await {
            Err(error) if is_refused(&error) || (is_closed(&error) && !std::mem::replace(&mut closed, true)) => {
                tokio::time::sleep(*pause).await;
            }
            result => return result,
        }
    }
    request.send().await
}

/// Returns whether no connection could be made, although another attempt may succeed: not because of a certificate, and
/// not only after the time limit.
fn is_refused(error: &reqwest::Error) -> bool {
    error.is_connect() && !error.is_timeout() && certificate_problem(error).is_none()
}

/// Returns whether the connection ended before there was a response.
fn is_closed(error: &reqwest::Error) -> bool {
    error.is_request() && !error.is_connect() && !error.is_timeout()
}

/// The limits for the body of a response.
struct Body<'a> {
    /// The maximum size in bytes.
    most: usize,
    memory: &'a mut Reservation,
}

impl Body<'_> {
    /// Reads at most `most` bytes, regardless of the Content-Length header and of how much the plugin sends.
    async fn read(&mut self, mut response: Response) -> Result<Vec<u8>, CallError> {
        // The status code of an error decides what to do. The start of its body is enough for a message.
        let is_error = response.status() != http::StatusCode::OK;
        let most = if is_error { MAX_ERROR_BYTES } else { self.most };
        let mut body = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(|error| unreachable(&error))? {
            if body.len() + chunk.len() > most {
                if is_error {
                    break;
                }
                return Err(CallError::Protocol(format!("the response has more than {most} bytes")));
            }
            self.memory.grow(chunk.len())?;
            body.extend_from_slice(&chunk);
        }
        Ok(body)
    }
}

/// Returns the error of a failed request, with the innermost cause as its message. The outer causes contain addresses
/// that change from call to call, and messages have to stay the same.
fn unreachable(error: &reqwest::Error) -> CallError {
    if error.is_timeout() {
        return CallError::Unreachable("the plugin did not respond in time".to_owned());
    }
    let step = if error.is_connect() { "connect to" } else { "talk to" };
    if let Some(problem) = certificate_problem(error) {
        return CallError::Unreachable(format!("failed to {step} the plugin: {problem}"));
    }
    let mut cause: &(dyn std::error::Error + 'static) = error;
    while let Some(source) = cause.source() {
        cause = source;
    }
    CallError::Unreachable(format!("failed to {step} the plugin: {cause}"))
}

/// Returns what is wrong with the plugin's certificate, if that is the cause of `error`.
fn certificate_problem(error: &reqwest::Error) -> Option<String> {
    let error: &(dyn std::error::Error + 'static) = error;
    std::iter::successors(Some(error), |error| error.source()).find_map(tls::certificate_problem)
}
