//! The exit codes of the process.

use std::process::ExitCode;

/// The exit codes of `dask-operator run`. Scripts and alerts depend on them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// The process was stopped by a signal.
    Success = 0,
    /// Any error without a code of its own.
    Other = 1,
    /// The command line or an environment variable is wrong.
    Usage = 2,
    /// There is no usable kubeconfig, or the API server is unreachable.
    NoApiServer = 3,
    /// The Dask kinds are not installed.
    MissingDefinitions = 4,
    /// The controller's ServiceAccount lacks permissions.
    MissingRights = 5,
    /// Another replica is the leader now.
    LeadershipLost = 6,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}
