//! Errors of calls of the hook, as they are reported to the controller.
//!
//! Metacontroller retries after each of them. The plugin is pending, so that the controller calls again with exponential
//! backoff. Messages do not contain addresses or times of this side, so that the same cause has the same message.

use std::error::Error;
use std::io;

use dask_plugin_server::PluginError;
use dask_plugin_server::protocol::limits::MAX_RESPONSE_BYTES;
use reqwest::StatusCode;
use rustls::CertificateError;

use crate::connection::ConnectionError;
use crate::files::FileError;

/// The number of seconds after which a hook with an invalid response is called again. Metacontroller retries, too, because
/// the hook may have been corrected.
pub(crate) const RETRY_SECONDS: u32 = 60;

/// The maximum number of bytes of the hook's text in a message.
const MAX_SHOWN: usize = 256;

/// The reason why a call returned no response.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CallError {
    /// A file with a token or a certificate cannot be used.
    #[error("the plugin cannot call the hook: {0}")]
    Connection(#[from] ConnectionError),
    /// The hook does not listen.
    #[error("the hook cannot be reached; check that it runs, and check HOOK_URL")]
    Unreachable,
    /// The certificate of the hook is not accepted.
    #[error("the certificate of the hook {0}")]
    Certificate(String),
    /// The TLS handshake failed for another reason.
    #[error("the TLS connection to the hook failed: {0}")]
    Tls(String),
    /// The hook closed the connection.
    #[error("the hook closed the connection during its response; see its log")]
    Closed,
    /// The hook did not respond in the time that the controller waits.
    #[error("the hook did not respond in time; see its log, and timeoutSeconds of the plugin resource")]
    TimedOut,
    /// The hook redirects to another server, or too often.
    #[error("the hook returned {status} to {}, which is not followed; correct HOOK_URL", excerpt(location))]
    Redirect { status: StatusCode, location: String },
    /// The hook returned an error.
    #[error("the hook returned {status}{}", shown(body))]
    Status { status: StatusCode, body: String, retry_after: u32 },
    /// The body is larger than the protocol of plugins allows.
    #[error("the response of the hook is larger than {MAX_RESPONSE_BYTES} bytes; make it smaller")]
    TooLarge,
}

impl From<FileError> for CallError {
    fn from(error: FileError) -> Self {
        Self::Connection(error.into())
    }
}

impl From<reqwest::Error> for CallError {
    fn from(error: reqwest::Error) -> Self {
        match tls_error(&error) {
            Some(rustls::Error::InvalidCertificate(problem)) => Self::Certificate(certificate_problem(problem)),
            Some(other) => Self::Tls(other.to_string()),
            None if error.is_connect() => Self::Unreachable,
            None => Self::Closed,
        }
    }
}

impl From<CallError> for PluginError {
    fn from(error: CallError) -> Self {
        let message = error.to_string();
        match error {
            CallError::TooLarge => Self::failure("AnswerTooLarge", message).resync_after(RETRY_SECONDS),
            CallError::Status { retry_after, .. } => Self::pending(message).resync_after(retry_after),
            _ => Self::pending(message),
        }
    }
}

/// Returns the beginning of a text of the hook, in one line.
pub(crate) fn excerpt(text: &str) -> String {
    let words = text.split(|c: char| c.is_whitespace() || c.is_control()).filter(|word| !word.is_empty());
    let line = words.collect::<Vec<_>>().join(" ");
    if line.len() <= MAX_SHOWN { line } else { format!("{}…", &line[..line.floor_char_boundary(MAX_SHOWN)]) }
}

fn shown(body: &str) -> String {
    match excerpt(body).as_str() {
        "" => "; see its log".to_owned(),
        body => format!(": {body}"),
    }
}

/// Returns the TLS error in the causes of `error`. An I/O error does not return the wrapped error as its source.
fn tls_error<'e>(error: &'e (dyn Error + 'static)) -> Option<&'e rustls::Error> {
    if let Some(found) = error.downcast_ref() {
        return Some(found);
    }
    let wrapped = error.downcast_ref::<io::Error>().and_then(io::Error::get_ref);
    let wrapped = wrapped.and_then(|inner| tls_error(inner));
    wrapped.or_else(|| error.source().and_then(tls_error))
}

/// Returns a sentence without the time of the attempt, which the messages of rustls contain.
fn certificate_problem(problem: &CertificateError) -> String {
    match problem {
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => "has expired; renew it".to_owned(),
        CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => "is not valid yet".to_owned(),
        // A new authority may have the name of the old one.
        CertificateError::UnknownIssuer | CertificateError::BadSignature => {
            "is of an authority that is not trusted; check HOOK_CA_FILE".to_owned()
        }
        CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
            "is not for the host in HOOK_URL; correct one of them".to_owned()
        }
        other => format!("is refused: {other}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_excerpt_is_one_short_line() {
        assert_eq!(excerpt(" a\n\tb\u{0}\u{1b}[31m c "), "a b [31m c");
        let long = excerpt(&"é".repeat(300));
        assert_eq!(long, format!("{}…", "é".repeat(MAX_SHOWN / 2)));
    }
}
