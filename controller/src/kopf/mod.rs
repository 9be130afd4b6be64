//! Reads the command line of dask-kubernetes' operator, which is that of `kopf run`, so that existing values files and
//! manifests keep working. Has no side effects.
//!
//! The flags for watched namespaces, probes and logs are honoured. Flags that only concern kopf have no effect, and
//! unknown flags are reported.

mod liveness;
mod read;

pub(crate) use read::read;

use std::net::SocketAddr;

use crate::telemetry::{LogFormat, Verbosity};

/// The settings of `kopf run`, from flags and from `KOPF_RUN_*` variables.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct KopfFlags {
    /// The namespaces to watch; all of them if empty.
    pub namespaces: Vec<String>,
    /// The format of log lines.
    pub log_format: Option<LogFormat>,
    /// The log level.
    pub verbosity: Verbosity,
    /// The address of the probes.
    pub liveness: Option<SocketAddr>,
}

/// Why kopf's flags cannot be applied.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// A flag lacks its value, or has an invalid one.
    #[error("kopf's flags: {0}")]
    Syntax(String),
    /// Both all namespaces and single namespaces are given.
    #[error("either --namespace or --all-namespaces can be used, not both")]
    Contradiction,
    /// A namespace is given as a pattern.
    #[error("--namespace {0:?}: patterns are not supported; name each namespace")]
    Pattern(String),
    /// A namespace has an invalid name.
    #[error("--namespace {0:?}: this is no name of a namespace")]
    Name(String),
    /// A log format is unknown.
    #[error("--log-format {0:?}: it must be plain, full or json")]
    LogFormat(String),
    /// The address of the probes is invalid.
    #[error("--liveness {url:?}: {why}")]
    Liveness {
        /// The given URL.
        url: String,
        /// The reason.
        why: &'static str,
    },
    /// A variable for a flag is neither true nor false.
    #[error("{name}={value:?}: it must be true or false")]
    Switch {
        /// The name of the variable.
        name: &'static str,
        /// The value of the variable.
        value: String,
    },
}
