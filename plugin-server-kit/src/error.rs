//! Errors: refusals of the plugin, and calls that are rejected before they reach it.

use std::fmt;
use std::time::Duration;

use axum::Json;
use axum::extract::rejection::JsonRejection;
use axum::http::header::{CONNECTION, WWW_AUTHENTICATE};
use axum::http::{HeaderValue, Method, StatusCode};
use axum::response::{IntoResponse, Response};
use dask_plugin_protocol::limits::MAX_REQUEST_BYTES;
use dask_plugin_protocol::{Hook, PluginRequest, PluginResponse};
use serde::Serialize;

/// The error of a plugin that refuses or has no result yet.
///
/// Both are regular responses with the HTTP status 200. The controller keeps the existing children and shows the
/// message to the user. The same cause must always have the same reason and message (no times, no addresses, no
/// counters), because each change of them changes the status of the Dask resource.
///
/// ```
/// use dask_plugin_server::PluginError;
/// let no = PluginError::failure("NoDashboardPort", "the Service has no port named http-dashboard");
/// assert_eq!(no.to_string(), "NoDashboardPort: the Service has no port named http-dashboard");
/// let not_yet = PluginError::pending("the gateway has no address yet").resync_after(15);
/// assert!(not_yet.is_pending());
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PluginError {
    outcome: Outcome,
    message: String,
    resync_after_seconds: u32,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Outcome {
    Failure { reason: String },
    Pending,
}

impl PluginError {
    /// Refuses. A retry without a change would have the same result.
    ///
    /// `reason` is one `CamelCase` word. `message` is a sentence that tells the user what to change.
    pub fn failure(reason: impl Into<String>, message: impl Into<String>) -> Self {
        Self { outcome: Outcome::Failure { reason: reason.into() }, message: message.into(), resync_after_seconds: 0 }
    }

    /// Has no result yet. The controller calls again.
    pub fn pending(message: impl Into<String>) -> Self {
        Self { outcome: Outcome::Pending, message: message.into(), resync_after_seconds: 0 }
    }

    /// Asks for another call after this number of seconds, even if nothing changes.
    #[must_use]
    pub fn resync_after(mut self, seconds: u32) -> Self {
        self.resync_after_seconds = seconds;
        self
    }

    /// Returns whether the plugin has no result yet.
    pub fn is_pending(&self) -> bool {
        self.outcome == Outcome::Pending
    }

    /// Returns the sentence for the user.
    pub fn message(&self) -> &str {
        &self.message
    }

    pub(crate) fn into_response(self, request: &PluginRequest) -> PluginResponse {
        match self.outcome {
            Outcome::Failure { reason } => PluginResponse::failure(request, reason, self.message),
            Outcome::Pending => PluginResponse::pending(request, self.message),
        }
        .resync_after(self.resync_after_seconds)
    }
}

impl fmt::Display for PluginError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.outcome {
            Outcome::Failure { reason } => write!(f, "{reason}: {}", self.message),
            Outcome::Pending => write!(f, "pending: {}", self.message),
        }
    }
}

impl std::error::Error for PluginError {}

/// A call without a response of the plugin: the caller made a mistake, or the plugin failed.
#[derive(Debug, Clone, thiserror::Error)]
#[cfg_attr(
    not(any(feature = "token", feature = "signature")),
    expect(dead_code, reason = "without verifiers, no caller is unauthorized")
)]
pub(crate) enum Rejection {
    #[error("{0}")]
    Unauthorized(String),
    #[error("{0}")]
    CannotVerify(String),
    #[error("the path {0} does not exist")]
    UnknownPath(String),
    #[error("this plugin does not serve the hook {}", .0.as_str())]
    HookNotServed(Hook),
    #[error("the method {0} is not allowed for this path")]
    MethodNotAllowed(Method),
    #[error("the body must have the content type application/json")]
    UnsupportedContentType,
    #[error("the body is larger than {MAX_REQUEST_BYTES} bytes")]
    RequestTooLarge,
    #[error("{0}")]
    InvalidJson(String),
    #[error("{0}")]
    InvalidRequest(String),
    #[error("request.hook is {}, but the path is that of {}", .sent.as_str(), .served.as_str())]
    HookMismatch { sent: Hook, served: Hook },
    #[error("the timeout {0:?} in the query is not a number of seconds such as 10s")]
    InvalidTimeout(String),
    #[error("failed to read the body: {0}")]
    BrokenBody(String),
    #[error(
        "the plugin did not answer within {}; make it faster, or raise spec.timeoutSeconds of the plugin resource \
         (at most 30)",
        seconds(*.0)
    )]
    DeadlineExceeded(Duration),
    #[error("the plugin panicked; see its log")]
    PluginFailed,
}

impl Rejection {
    pub(crate) fn status(&self) -> StatusCode {
        match self {
            Self::Unauthorized(_) => StatusCode::UNAUTHORIZED,
            Self::CannotVerify(_) => StatusCode::SERVICE_UNAVAILABLE,
            Self::UnknownPath(_) | Self::HookNotServed(_) => StatusCode::NOT_FOUND,
            Self::MethodNotAllowed(_) => StatusCode::METHOD_NOT_ALLOWED,
            Self::UnsupportedContentType => StatusCode::UNSUPPORTED_MEDIA_TYPE,
            Self::RequestTooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            Self::InvalidJson(_) | Self::InvalidRequest(_) | Self::HookMismatch { .. } | Self::InvalidTimeout(_) => {
                StatusCode::UNPROCESSABLE_ENTITY
            }
            Self::BrokenBody(_) => StatusCode::BAD_REQUEST,
            // Not 503, after which the controller retries at a fixed interval. A timeout should lead to the same
            // exponential backoff, regardless of the side that notices it.
            Self::DeadlineExceeded(_) => StatusCode::GATEWAY_TIMEOUT,
            Self::PluginFailed => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }

    pub(crate) fn category(&self) -> &'static str {
        match self {
            Self::Unauthorized(_) => "Unauthorized",
            Self::CannotVerify(_) => "CannotVerify",
            Self::UnknownPath(_) => "UnknownPath",
            Self::HookNotServed(_) => "HookNotServed",
            Self::MethodNotAllowed(_) => "MethodNotAllowed",
            Self::UnsupportedContentType => "UnsupportedContentType",
            Self::RequestTooLarge => "RequestTooLarge",
            Self::InvalidJson(_) => "InvalidJson",
            Self::InvalidRequest(_) => "InvalidRequest",
            Self::HookMismatch { .. } => "HookMismatch",
            Self::InvalidTimeout(_) => "InvalidTimeout",
            Self::BrokenBody(_) => "BrokenBody",
            Self::DeadlineExceeded(_) => "DeadlineExceeded",
            Self::PluginFailed => "PluginFailed",
        }
    }
}

/// Returns a duration as text such as `10 s`.
fn seconds(limit: Duration) -> String {
    format!("{} s", limit.as_secs())
}

impl From<JsonRejection> for Rejection {
    fn from(rejection: JsonRejection) -> Self {
        match rejection {
            JsonRejection::MissingJsonContentType(_) => Self::UnsupportedContentType,
            JsonRejection::JsonSyntaxError(error) => Self::InvalidJson(error.body_text()),
            JsonRejection::JsonDataError(error) => Self::InvalidRequest(error.body_text()),
            other if other.status() == StatusCode::PAYLOAD_TOO_LARGE => Self::RequestTooLarge,
            other => Self::BrokenBody(other.body_text()),
        }
    }
}

#[derive(Serialize)]
struct ErrorBody {
    error: &'static str,
    message: String,
}

impl IntoResponse for Rejection {
    fn into_response(self) -> Response {
        let body = ErrorBody { error: self.category(), message: self.to_string() };
        let mut response = (self.status(), Json(body)).into_response();
        if matches!(self, Self::Unauthorized(_)) {
            response.headers_mut().insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        if matches!(self, Self::RequestTooLarge) {
            // The rest of the body is not read, so the connection ends with this response.
            response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
        }
        // For the middlewares that log and count rejections.
        response.extensions_mut().insert(self);
        response
    }
}
