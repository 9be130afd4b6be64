use std::fmt;

use axum::Json;
use axum::extract::rejection::JsonRejection;
use axum::http::header::WWW_AUTHENTICATE;
use axum::http::{HeaderValue, Method, StatusCode};
use axum::response::{IntoResponse, Response};
use dask_plugin_protocol::limits::MAX_REQUEST_BYTES;
use dask_plugin_protocol::{Hook, PluginRequest, PluginResponse};
use serde::Serialize;

/// A plugin's explicit no or not yet.
///
/// Either is a proper answer, HTTP 200: the controller keeps the children that are there and shows the
/// message to the user. Reason and message must be the same for the same cause (no times, no addresses,
/// no counters), because each change of them is a change of the Dask resource's status.
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
    /// The plugin refuses, and asking again without a change would not help.
    ///
    /// `reason` is one `CamelCase` word; `message` is a sentence that says what to change.
    pub fn failure(reason: impl Into<String>, message: impl Into<String>) -> Self {
        Self { outcome: Outcome::Failure { reason: reason.into() }, message: message.into(), resync_after_seconds: 0 }
    }

    /// The plugin cannot say yet; the controller asks again.
    pub fn pending(message: impl Into<String>) -> Self {
        Self { outcome: Outcome::Pending, message: message.into(), resync_after_seconds: 0 }
    }

    /// Asks for another call after so many seconds, even if nothing changes.
    #[must_use]
    pub fn resync_after(mut self, seconds: u32) -> Self {
        self.resync_after_seconds = seconds;
        self
    }

    /// Whether this is a "not yet".
    pub fn is_pending(&self) -> bool {
        self.outcome == Outcome::Pending
    }

    /// The sentence for the user.
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

/// Why a call never led to an answer: a mistake of the caller, or a fault in the plugin.
#[derive(Debug, Clone, thiserror::Error)]
pub(crate) enum Rejection {
    #[error("{0}")]
    Unauthorized(String),
    #[error("{0}")]
    CannotVerify(String),
    #[error("there is nothing at {0}")]
    UnknownPath(String),
    #[error("this plugin does not serve the hook {}", .0.as_str())]
    HookNotServed(Hook),
    #[error("{0} is not allowed here")]
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
    #[error("the plugin did not answer in the time that the caller gave it")]
    DeadlineExceeded,
    #[error("the plugin panicked; its log says where")]
    Panicked,
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
            // Not 503: that asks the caller to come back after a fixed time, while a call that took too
            // long deserves the same growing backoff as a timeout that the caller noticed itself.
            Self::DeadlineExceeded => StatusCode::GATEWAY_TIMEOUT,
            Self::Panicked => StatusCode::INTERNAL_SERVER_ERROR,
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
            Self::DeadlineExceeded => "DeadlineExceeded",
            Self::Panicked => "Panicked",
        }
    }
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
        // It rides along to the one place that logs rejections.
        response.extensions_mut().insert(self);
        response
    }
}
