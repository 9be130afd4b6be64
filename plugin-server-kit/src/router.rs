//! The routes of a plugin: discovery, the hooks and the health check.

use std::any::Any;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::rejection::JsonRejection;
use axum::extract::{DefaultBodyLimit, Request, State};
use axum::http::{HeaderMap, Method, Uri};
use axum::middleware::{Next, from_fn, from_fn_with_state};
use axum::response::{IntoResponse as _, Response};
use axum::routing::{get, post};
use axum::{Extension, Json};
use dask_plugin_protocol::limits::MAX_REQUEST_BYTES;
use dask_plugin_protocol::{
    Discovery, Hook, PluginRequest, PluginResponse, ReviewRequest, ReviewResponse, headers, path,
};
use futures::FutureExt as _;
use tracing::Instrument as _;

use crate::credentials::{Credentials, authenticate};
use crate::deadline::with_time_limit;
use crate::error::Rejection;
use crate::metrics::{Metrics, Outcome, count};
use crate::{Answer, Plugin, PluginError, Router};

/// The path of the liveness probe.
pub(crate) const HEALTHZ: &str = "/healthz";

/// The timeout of a call that has none in its query: the maximum of `timeoutSeconds`.
const LONGEST_TIMEOUT: Duration = Duration::from_secs(30);

/// Creates the HTTP service of a plugin: discovery, the hooks, and `GET /healthz`.
///
/// An error that occurs outside of the plugin's code has the body
/// `{"error": "<category>", "message": "<sentence>"}`. The existing children stay.
///
/// | status | category | cause |
/// |---|---|---|
/// | 400 | `BrokenBody` | the body ended early |
/// | 401 | `Unauthorized` | the credentials of the caller are missing or invalid, see [`crate::credentials`] |
/// | 404 | `UnknownPath`, `HookNotServed` | the path does not exist, or discovery does not list the hook |
/// | 405 | `MethodNotAllowed` | the path does not support the method |
/// | 413 | `RequestTooLarge` | the body is larger than [`MAX_REQUEST_BYTES`] |
/// | 415 | `UnsupportedContentType` | the content type of the body is not JSON |
/// | 422 | `InvalidJson`, `InvalidRequest`, `HookMismatch`, `InvalidTimeout` | the body is not a review of this version; the message names the field |
/// | 500 | `PluginFailed` | the plugin panicked; other calls and the server continue. The message of the panic is only in the log, because it may contain data |
/// | 503 | `CannotVerify` | the credentials cannot be verified now, because a secret or key is unreadable |
/// | 504 | `DeadlineExceeded` | the timeout of the call (`?timeout=10s`, by default 30 s) has passed; the future of the plugin was dropped. The message names the timeout |
///
/// ```
/// use dask_plugin_server::Body;
/// use http::{Request, StatusCode};
/// use tower_service::Service as _;
/// # use dask_plugin_server::{Answer, Plugin, PluginError, protocol::{Discovery, PluginRequest}};
/// # struct MyPlugin;
/// # impl Plugin for MyPlugin {
/// #     fn discovery(&self) -> Discovery { Discovery::new("mine", "1.0.0") }
/// #     async fn sync(&self, _: &PluginRequest) -> Result<Answer, PluginError> { Ok(Answer::none()) }
/// # }
/// # #[tokio::main(flavor = "current_thread")] async fn main() {
/// let request = Request::get("/v1alpha1/discovery").body(Body::empty()).unwrap();
/// let Ok(response) = dask_plugin_server::router(MyPlugin).call(request).await;
/// assert_eq!(response.status(), StatusCode::OK);
/// # }
/// ```
pub fn router<P: Plugin>(plugin: P) -> Router {
    router_with(plugin, Credentials::none(), Metrics::default())
}

/// Like [`router`], but requires `credentials` from callers and counts calls in `metrics`.
///
/// ```no_run
/// use dask_plugin_server::{Metrics, credentials::Credentials, router_with};
/// # use dask_plugin_server::{Answer, Plugin, PluginError, protocol::{Discovery, PluginRequest}};
/// # struct MyPlugin;
/// # impl Plugin for MyPlugin {
/// #     fn discovery(&self) -> Discovery { Discovery::new("mine", "1.0.0") }
/// #     async fn sync(&self, _: &PluginRequest) -> Result<Answer, PluginError> { Ok(Answer::none()) }
/// # }
/// let metrics = Metrics::default();
/// let router = router_with(MyPlugin, Credentials::none(), metrics.clone());
/// ```
pub fn router_with<P: Plugin>(plugin: P, credentials: Credentials, metrics: Metrics) -> Router {
    let authenticated = from_fn_with_state(Arc::new(credentials), authenticate);
    let discovery = axum::Router::new().route(path::DISCOVERY, get(discovery::<P>)).layer(authenticated.clone());
    let hooks = axum::Router::new()
        .route(path::SYNC, post(sync::<P>))
        .route(path::FINALIZE, post(finalize::<P>))
        .layer(authenticated)
        .layer(from_fn(with_deadline));
    let routes = axum::Router::new()
        .route(HEALTHZ, get(healthz))
        .merge(discovery)
        .merge(hooks)
        .fallback(unknown_path)
        .method_not_allowed_fallback(method_not_allowed)
        .layer(from_fn(catch_panic))
        .layer(from_fn(log_rejection))
        .layer(from_fn_with_state(metrics, count))
        .layer(DefaultBodyLimit::max(MAX_REQUEST_BYTES))
        .with_state(Arc::new(plugin));
    Router(routes)
}

pub(crate) async fn healthz() -> &'static str {
    "ok"
}

async fn discovery<P: Plugin>(State(plugin): State<Arc<P>>) -> Json<Discovery> {
    Json(plugin.discovery())
}

async fn sync<P: Plugin>(
    State(plugin): State<Arc<P>>,
    headers: HeaderMap,
    body: Result<Json<ReviewRequest>, JsonRejection>,
) -> Result<Answered, Rejection> {
    let request = review_of(&*plugin, Hook::Sync, body)?;
    let call = async {
        let outcome = plugin.sync(&request).await;
        let answer = outcome.map(|answer: Answer| answer.into_response(&request));
        envelope(&request, answer)
    };
    Ok(call.instrument(call_span(&request, &headers)).await)
}

async fn finalize<P: Plugin>(
    State(plugin): State<Arc<P>>,
    headers: HeaderMap,
    body: Result<Json<ReviewRequest>, JsonRejection>,
) -> Result<Answered, Rejection> {
    let request = review_of(&*plugin, Hook::Finalize, body)?;
    let call = async {
        let outcome = plugin.finalize(&request).await;
        let answer = outcome.map(|()| PluginResponse::success(&request, Vec::new()).finalized());
        envelope(&request, answer)
    };
    Ok(call.instrument(call_span(&request, &headers)).await)
}

/// Returns the request in `body` if it is for the hook `served` and the plugin serves that hook.
fn review_of<P: Plugin>(
    plugin: &P,
    served: Hook,
    body: Result<Json<ReviewRequest>, JsonRejection>,
) -> Result<PluginRequest, Rejection> {
    if !plugin.discovery().hooks.contains(&served) {
        return Err(Rejection::HookNotServed(served));
    }
    let Json(ReviewRequest { request, .. }) = body?;
    let sent = request.hook;
    if sent != served {
        return Err(Rejection::HookMismatch { sent, served });
    }
    Ok(request)
}

/// A response, and its outcome for the metrics.
type Answered = (Extension<Outcome>, Json<ReviewResponse>);

/// Logs the outcome of a call and wraps its response.
fn envelope(request: &PluginRequest, answer: Result<PluginResponse, PluginError>) -> Answered {
    let response = answer.unwrap_or_else(|error| error.into_response(request));
    tracing::info!(
        status = ?response.status,
        reason = response.reason,
        children = response.children.as_ref().map_or(0, Vec::len),
        "answered"
    );
    (Extension(response.status.into()), Json(ReviewResponse::new(response)))
}

/// Returns the span of a call, whose fields are added to each line of the log.
fn call_span(request: &PluginRequest, headers: &HeaderMap) -> tracing::Span {
    let traceparent = headers.get(headers::TRACEPARENT).and_then(|value| value.to_str().ok());
    tracing::info_span!(
        "call",
        hook = request.hook.as_str(),
        plugin = request.plugin.name,
        subject.kind = request.subject.kind(),
        subject.namespace = request.subject.namespace(),
        subject.name = request.subject.name(),
        uid = request.uid,
        attempt = request.attempt,
        traceparent,
    )
}

async fn unknown_path(uri: Uri) -> Rejection {
    Rejection::UnknownPath(uri.path().to_owned())
}

async fn method_not_allowed(method: Method) -> Rejection {
    Rejection::MethodNotAllowed(method)
}

/// Drops a call, including the reading of its body, when the timeout of the caller has passed.
async fn with_deadline(request: Request, next: Next) -> Result<Response, Rejection> {
    let timeout = timeout_in(request.uri().query())?;
    // Slightly early, so that the caller still reads the response instead of closing the connection.
    let deadline = timeout * 19 / 20;
    with_time_limit(deadline, next.run(request)).await.map_err(|_elapsed| Rejection::DeadlineExceeded(timeout))
}

/// Returns the timeout in `?timeout=10s`, which has the format of admission webhooks.
fn timeout_in(query: Option<&str>) -> Result<Duration, Rejection> {
    let pairs = query.unwrap_or_default().split('&');
    let Some(text) =
        pairs.filter_map(|pair| pair.split_once('=')).find_map(|(name, value)| (name == "timeout").then_some(value))
    else {
        return Ok(LONGEST_TIMEOUT);
    };
    let seconds = text
        .strip_suffix('s')
        .and_then(|number| number.parse::<u32>().ok())
        .filter(|seconds| *seconds > 0)
        .ok_or_else(|| Rejection::InvalidTimeout(text.to_owned()))?;
    Ok(Duration::from_secs(seconds.into()).min(LONGEST_TIMEOUT))
}

/// Turns a panic of the plugin into an error response.
async fn catch_panic(request: Request, next: Next) -> Response {
    // Unwind safe: a panic leaves no state of this crate inconsistent, and the plugin sees only `&self`.
    let call = AssertUnwindSafe(next.run(request)).catch_unwind();
    call.await.unwrap_or_else(|panic| {
        tracing::error!(panic = panic_message(&*panic), "the plugin panicked");
        Rejection::PluginFailed.into_response()
    })
}

fn panic_message(panic: &(dyn Any + Send)) -> &str {
    panic
        .downcast_ref::<&'static str>()
        .copied()
        .or_else(|| panic.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("the panic has no message")
}

/// Logs rejected calls. Only the controller calls a plugin, so a rejection is a bug on one of the two sides.
async fn log_rejection(request: Request, next: Next) -> Response {
    let path = request.uri().path().to_owned();
    let response = next.run(request).await;
    if let Some(rejection) = response.extensions().get::<Rejection>() {
        tracing::warn!(path, error.category = rejection.category(), error = %rejection, "rejected a call");
    }
    response
}

#[cfg(test)]
#[cfg(feature = "metrics")]
mod tests;
