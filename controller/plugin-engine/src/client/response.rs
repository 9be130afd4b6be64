//! Turns the HTTP response of a plugin into an answer or an error. All functions are pure, so that every row of the
//! protocol's table of status codes has a test.

use std::{
    borrow::Cow,
    time::{Duration, SystemTime},
};

use jiff::Timestamp;
use json_measure::{Limits, measure};

use super::{
    answer::{Answer, Review},
    memory_shares::UsedUp,
    strict_json,
};
use plugin_protocol::{Discovery, ResponseStatus, limits};

/// The limits of an answer. As trees, all its values take at most 13 MiB.
const ANSWER: Limits = Limits { bytes: limits::MAX_RESPONSE_BYTES, nodes: 50_000, depth: limits::MAX_JSON_DEPTH };
/// The limits of a discovery.
pub(crate) const DISCOVERY: Limits = Limits { bytes: 64 * 1024, nodes: 2_000, depth: limits::MAX_JSON_DEPTH };
/// The maximum number of bytes in a text, and of entries in a list, of a discovery.
const MAX_DISCOVERY_ENTRY: usize = 128;

/// An HTTP response: status code, `Retry-After`, time of arrival and body.
#[derive(Clone, Debug)]
pub(crate) struct RawResponse {
    pub(crate) code: u16,
    pub(crate) retry_after: Option<String>,
    pub(crate) at: Timestamp,
    pub(crate) body: Vec<u8>,
}

/// The reason why a call returned no usable answer. Children stay as they are.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum CallError {
    /// The plugin could not be reached, or did not answer in time.
    #[error("{0}")]
    Unreachable(String),
    /// The plugin was not called, because the controller has no credentials to present.
    #[error("the controller cannot authenticate itself: {0}")]
    NoCredentials(String),
    /// The plugin asked the controller to call later.
    #[error("the plugin answered {code} and asks the controller to wait")]
    Busy { code: u16, retry_after: Option<Duration> },
    /// The plugin failed.
    #[error("the plugin answered {code}{text}")]
    ServerError { code: u16, text: String },
    /// The plugin refused the controller's credentials.
    #[error("the plugin refused the controller's credentials with {0}")]
    AuthFailed(u16),
    /// The plugin does not serve the path.
    #[error("the plugin does not serve this hook (it answered {0})")]
    NotServed(u16),
    /// The plugin was retired.
    #[error("the plugin reports that it is gone permanently (410)")]
    Gone,
    /// The answer violates the protocol. Calling again is useless until something changes.
    #[error("{0}")]
    Protocol(String),
    /// Other calls about the namespace use all the memory that the namespace may use.
    #[error("{0}")]
    UsedUp(#[from] UsedUp),
}

impl CallError {
    /// Returns one word for conditions and metrics.
    pub(crate) fn reason(&self) -> &'static str {
        match self {
            Self::Unreachable(_) => "Unreachable",
            Self::NoCredentials(_) => "NoCredentials",
            Self::Busy { .. } => "Busy",
            Self::ServerError { .. } => "ServerError",
            Self::AuthFailed(_) => "AuthFailed",
            Self::NotServed(_) => "NotServed",
            Self::Gone => "Gone",
            Self::Protocol(_) => "ProtocolError",
            Self::UsedUp(_) => "MemoryUsedUp",
        }
    }

    /// Returns whether the plugin is probably down. Such errors count for the breaker.
    pub(crate) fn is_transport(&self) -> bool {
        matches!(self, Self::Unreachable(_))
    }

    /// Returns when to call again if nothing changes. `failures` is the number of consecutive failures, including this
    /// one.
    pub(crate) fn retry(&self, failures: usize) -> Option<Duration> {
        const SHORTEST: Duration = Duration::from_secs(1);
        const LONGEST: Duration = Duration::from_mins(10);
        const AUTH: Duration = Duration::from_mins(1);
        match self {
            Self::Busy { retry_after: Some(after), .. } => Some((*after).clamp(SHORTEST, LONGEST)),
            Self::Unreachable(_)
            | Self::NoCredentials(_)
            | Self::ServerError { .. }
            | Self::Busy { .. }
            | Self::UsedUp(_) => Some(full_jitter(failures)),
            Self::AuthFailed(_) | Self::NotServed(_) => Some(AUTH),
            Self::Gone | Self::Protocol(_) => None,
        }
    }
}

/// Returns a random part of an exponential backoff from 1 s to 5 min, so that many subjects do not retry at once.
fn full_jitter(failures: usize) -> Duration {
    use backon::{BackoffBuilder as _, ExponentialBuilder};
    const LONGEST: Duration = Duration::from_mins(5);
    const STEPS: usize = 9;
    let longest = ExponentialBuilder::new()
        .with_min_delay(Duration::from_secs(1))
        .with_max_delay(LONGEST)
        .with_max_times(STEPS)
        .build()
        .nth(failures.saturating_sub(1))
        .unwrap_or(LONGEST);
    longest.mul_f64(fastrand::f64().max(0.1))
}

/// Returns the answer to the request with `uid`.
pub(crate) fn interpret(raw: &RawResponse, uid: &str) -> Result<Answer, CallError> {
    check_code(raw)?;
    let Review { response, .. } = parse(&raw.body, &ANSWER)?;
    if response.uid != uid {
        return Err(CallError::Protocol("the response has a different uid than the request".to_owned()));
    }
    complete(response.into())
}

/// Returns the answer in the body of a 200, regardless of the request's uid.
pub(crate) fn parse_response(body: &[u8]) -> Result<Answer, CallError> {
    let Review { response, .. } = parse(body, &ANSWER)?;
    complete(response.into())
}

fn complete(answer: Answer) -> Result<Answer, CallError> {
    if answer.status == ResponseStatus::Success && answer.children.is_none() {
        let message =
            "the response has the status Success and no children; an empty list deletes all children".to_owned();
        return Err(CallError::Protocol(message));
    }
    Ok(answer)
}

/// Returns the plugin's discovery. It is written into the status of the plugin resource, which must stay small.
pub(crate) fn parse_discovery(raw: &RawResponse) -> Result<Discovery, CallError> {
    check_code(raw)?;
    let discovery: Discovery = parse(&raw.body, &DISCOVERY)?;
    let lists = [&discovery.protocol_versions, &discovery.capabilities];
    let long_text = lists
        .into_iter()
        .flatten()
        .chain([&discovery.name, &discovery.version])
        .any(|text| text.len() > MAX_DISCOVERY_ENTRY);
    let long_list =
        lists.iter().any(|list| list.len() > MAX_DISCOVERY_ENTRY) || discovery.hooks.len() > MAX_DISCOVERY_ENTRY;
    if long_text || long_list {
        let message = format!("the discovery response has a text or list that is longer than {MAX_DISCOVERY_ENTRY}");
        return Err(CallError::Protocol(message));
    }
    Ok(discovery)
}

/// Parses the JSON body of a 200. The size is checked before a tree is built.
fn parse<'a, T: serde::Deserialize<'a>>(body: &'a [u8], limits: &Limits) -> Result<T, CallError> {
    let refuse = |problem: &str, cause: &dyn std::fmt::Display| {
        CallError::Protocol(limits::cut_message(&format!("the response {problem}: {cause}")).to_owned())
    };
    measure(body).check(limits).map_err(|excess| refuse("is too large", &excess))?;
    strict_json::check(body).map_err(|error| refuse("is not JSON", &error))?;
    serde_json::from_slice(body).map_err(|error| refuse("is malformed", &error))
}

/// Returns an error for every status code other than 200.
pub(crate) fn check_code(raw: &RawResponse) -> Result<(), CallError> {
    let code = raw.code;
    Err(match code {
        200 => return Ok(()),
        300..=399 => CallError::Protocol(format!("the plugin answered {code}; redirects are not followed")),
        401 | 403 => CallError::AuthFailed(code),
        404 | 405 => CallError::NotServed(code),
        410 => CallError::Gone,
        413 | 415 | 422 => {
            CallError::Protocol(format!("the plugin refused the request with {code}{}", text(&raw.body)))
        }
        429 | 503 => CallError::Busy { code, retry_after: retry_after(raw) },
        408 | 500..=599 => CallError::ServerError { code, text: text(&raw.body) },
        _ => CallError::Protocol(format!("the plugin answered {code}{}", text(&raw.body))),
    })
}

/// Returns the pause in a `Retry-After` header: seconds, or a date. A date in the past means no pause.
fn retry_after(raw: &RawResponse) -> Option<Duration> {
    let text = raw.retry_after.as_deref()?.trim();
    if let Ok(seconds) = text.parse() {
        return Some(Duration::from_secs(seconds));
    }
    let date = httpdate::parse_http_date(text).ok()?;
    Some(date.duration_since(SystemTime::from(raw.at)).unwrap_or_default())
}

/// The error body of both libraries for plugins.
#[derive(serde::Deserialize)]
struct ErrorBody {
    error: String,
    message: String,
}

/// Returns the start of an error body for a message.
fn text(body: &[u8]) -> String {
    let text = match serde_json::from_slice(body) {
        Ok(ErrorBody { error, message }) => Cow::Owned(format!("{error}: {message}")),
        Err(_) => String::from_utf8_lossy(body),
    };
    let line = text.split_whitespace().collect::<Vec<_>>().join(" ");
    if line.is_empty() { String::new() } else { format!(": {}", limits::cut_message(&line)) }
}

#[cfg(test)]
mod tests;
