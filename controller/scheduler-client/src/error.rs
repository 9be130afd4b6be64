use std::{io, time::Duration};

/// A failed conversation with a scheduler. `Display` is one sentence for conditions.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// Nothing listens there, or there is no way to it.
    #[error("failed to connect to the scheduler at {address}: {cause}")]
    Connect {
        /// Host and port.
        address: String,
        /// What the operating system said.
        cause: String,
    },
    /// No answer came.
    #[error("no answer from the scheduler to {step} within {} s", .limit.as_secs())]
    Timeout {
        /// What was asked.
        step: &'static str,
        /// How long was waited.
        limit: Duration,
    },
    /// What came is not what a scheduler says.
    #[error("failed to understand the scheduler: {0}")]
    Protocol(String),
    /// The scheduler failed to do what it was asked.
    #[error("the scheduler failed: {exception_text}")]
    Scheduler {
        /// The Python exception.
        exception_text: String,
    },
    /// The scheduler is not trusted, or does not trust us, or speaks no TLS.
    #[error("failed to agree on TLS with the scheduler: {0}")]
    Tls(String),
    /// What was given for TLS is no certificate or no key.
    #[error("the certificates for the scheduler cannot be used: {0}")]
    Certificates(String),
}

impl Error {
    /// An established connection broke. In TLS 1.3 a server says only then that it does not trust a client.
    pub fn broken(error: &io::Error) -> Self {
        if let Some(inner) = error.get_ref()
            && inner.is::<rustls::Error>()
        {
            return Self::Tls(error.to_string());
        }
        Self::Protocol(format!("the connection broke: {error}"))
    }

    /// A constant word for conditions. A scheduler that is gone and one that hangs look alike in turn, and each
    /// change of a condition is a write.
    pub fn reason(&self) -> &'static str {
        match self {
            Self::Connect { .. } | Self::Timeout { .. } => "SchedulerUnreachable",
            other => other.category(),
        }
    }

    /// A constant word for metrics and Event reasons.
    pub fn category(&self) -> &'static str {
        match self {
            Self::Connect { .. } => "SchedulerUnreachable",
            Self::Timeout { .. } => "SchedulerTimeout",
            Self::Protocol(_) => "SchedulerProtocol",
            Self::Scheduler { .. } => "SchedulerFailed",
            Self::Tls(_) => "SchedulerTls",
            Self::Certificates(_) => "SchedulerCertificates",
        }
    }
}
