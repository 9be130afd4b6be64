//! The command line of dask-kubernetes' operator, which is that of `kopf run`: values files and manifests that were
//! written for it go on working. Pure.
//!
//! Honoured are the flags that say which namespaces are watched, where probes are answered and what is logged. Those
//! that only make sense for kopf have no effect, and those that nobody knows are told.

mod liveness;
mod read;

pub use read::read;

use std::net::SocketAddr;

use crate::{args::LogFormat, telemetry::Verbosity};

/// What `kopf run` was told, by flags and by `KOPF_RUN_*`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KopfFlags {
    /// The namespaces to watch; all of them if empty.
    pub namespaces: Vec<String>,
    /// How log lines look.
    pub log_format: Option<LogFormat>,
    /// How much is logged.
    pub verbosity: Verbosity,
    /// Where probes are answered.
    pub liveness: Option<SocketAddr>,
}

/// Why kopf's flags cannot be followed.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// A flag lacks its value, or has one that it does not take.
    #[error("kopf's flags: {0}")]
    Syntax(String),
    /// All namespaces and some.
    #[error("either --namespace or --all-namespaces can be used, not both")]
    Contradiction,
    /// A namespace is given by a pattern.
    #[error("--namespace {0:?}: patterns are not supported; name each namespace")]
    Pattern(String),
    /// A namespace cannot have this name.
    #[error("--namespace {0:?}: this is no name of a namespace")]
    Name(String),
    /// A log format is unknown.
    #[error("--log-format {0:?}: it must be plain, full or json")]
    LogFormat(String),
    /// The probes' address cannot be read.
    #[error("--liveness {url:?}: {why}")]
    Liveness {
        /// As it was given.
        url: String,
        /// What is wrong with it.
        why: &'static str,
    },
    /// A variable for a flag is neither true nor false.
    #[error("{name}={value:?}: it must be true or false")]
    Switch {
        /// The variable.
        name: &'static str,
        /// What it says.
        value: String,
    },
}
