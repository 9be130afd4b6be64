//! Errors of calls to a scheduler.

use std::{io, time::Duration};

/// A failed call to a scheduler. `Display` gives one sentence for conditions.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// No process listens at the address, or it cannot be reached.
    #[error("failed to connect to the scheduler at {address}: {cause}")]
    Connect {
        /// Host and port.
        address: String,
        /// The operating system's message.
        cause: String,
    },
    /// The scheduler did not answer in time.
    #[error("no answer from the scheduler to {step} within {} s", .limit.as_secs())]
    Timeout {
        /// The step that got no answer.
        step: &'static str,
        /// The time limit.
        limit: Duration,
    },
    /// The answer is not one that a scheduler gives.
    #[error("failed to understand the scheduler: {0}")]
    Protocol(String),
    /// HTTP answered with another status than 200.
    #[error("{}", refused(*.status, .path))]
    Status {
        /// The status.
        status: u16,
        /// The path of the request.
        path: String,
    },
    /// The RPC could not be reached, and HTTP answered with another status than 200.
    #[error("{rpc}; {}", refused(*.status, .path))]
    RpcAndHttp {
        /// The error of the RPC.
        rpc: Box<Self>,
        /// The status.
        status: u16,
        /// The path of the request.
        path: String,
    },
    /// The scheduler failed to execute the call.
    #[error("the scheduler failed: {exception_text}")]
    Scheduler {
        /// The text of the Python exception.
        exception_text: String,
    },
    /// The scheduler is not trusted, does not trust the client, or does not use TLS.
    #[error("failed to agree on TLS with the scheduler: {0}")]
    Tls(String),
    /// The certificates or the key cannot be read or used.
    #[error("the certificates for the scheduler cannot be used: {0}")]
    Certificates(String),
}

impl Error {
    /// Returns the error for an established connection that broke. In TLS 1.3, a client learns only then that the
    /// server does not trust it.
    pub fn broken(error: &io::Error) -> Self {
        if let Some(inner) = error.get_ref()
            && inner.is::<rustls::Error>()
        {
            return Self::Tls(error.to_string());
        }
        Self::Protocol(format!("the connection broke: {error}"))
    }

    /// Returns a constant word for conditions. A scheduler that is gone may alternate between refusing connections and
    /// timing out. Both have one word, because each change of a condition is a write.
    pub fn reason(&self) -> &'static str {
        match self {
            Self::Connect { .. } | Self::Timeout { .. } => "SchedulerUnreachable",
            Self::RpcAndHttp { rpc, .. } => rpc.reason(),
            other => other.category(),
        }
    }

    /// Returns whether no connection was made, or no answer came in time.
    pub fn is_unreachable(&self) -> bool {
        self.reason() == "SchedulerUnreachable"
    }

    /// Returns a constant word for metrics and Event reasons.
    pub fn category(&self) -> &'static str {
        match self {
            Self::Connect { .. } => "SchedulerUnreachable",
            Self::Timeout { .. } => "SchedulerTimeout",
            Self::Protocol(_) | Self::Status { .. } => "SchedulerProtocol",
            Self::RpcAndHttp { rpc, .. } => rpc.category(),
            Self::Scheduler { .. } => "SchedulerFailed",
            Self::Tls(_) => "SchedulerTls",
            Self::Certificates(_) => "SchedulerCertificates",
        }
    }
}

/// Returns the part of a message about an answer of HTTP.
fn refused(status: u16, path: &str) -> String {
    let advice = match status {
        404 => ": the scheduler's dashboard has another prefix, or its HTTP API is not enabled",
        _ => "",
    };
    format!("HTTP answered with {status} to {path}{advice}")
}
