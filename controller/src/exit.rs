//! What the process ends with.

use std::process::ExitCode;

/// The exit codes of `dask-operator run`. Scripts and alerts depend on them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// A signal asked for it.
    Success = 0,
    /// Anything that has no code of its own.
    Other = 1,
    /// The command line or an environment variable is wrong.
    Usage = 2,
    /// There is no usable kubeconfig, or the API server cannot be reached.
    NoApiServer = 3,
    /// The Dask kinds are not installed.
    MissingDefinitions = 4,
    /// The controller's account lacks rights.
    MissingRights = 5,
    /// Another replica leads now.
    LeadershipLost = 6,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}
