//! What can go wrong, and the exit codes.

use std::io;

/// The exit code if `why` found a problem.
pub(crate) const PROBLEM: u8 = 1;
/// The exit code of any [`Error`].
pub(crate) const FAILED: u8 = 3;

#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    #[error("the kubeconfig cannot be used: {0}")]
    Kubeconfig(String),
    #[error("there is no {0}")]
    NotFound(String),
    #[error("{0}")]
    Refused(String),
    #[error("the scheduler does not answer: {0}")]
    Scheduler(#[from] dask_scheduler_client::Error),
    #[error("{what}: {source}")]
    Io { what: String, source: io::Error },
    #[error(transparent)]
    Output(#[from] io::Error),
}

impl Error {
    /// Returns an error about a file or a port.
    pub(crate) fn io(what: impl Into<String>) -> impl FnOnce(io::Error) -> Self {
        let what = what.into();
        move |source| Self::Io { what, source }
    }

    /// Returns what a call of the API server failed with. `action` is what was tried, such as `list pods`.
    pub(crate) fn api(action: &str, error: &kube::Error) -> Self {
        Self::Refused(explain(action, error))
    }

    /// Returns whether the reader of the output has gone, as with `| head`.
    pub(crate) fn is_broken_pipe(&self) -> bool {
        matches!(self, Self::Output(error) if error.kind() == io::ErrorKind::BrokenPipe)
    }
}

/// Returns what a failed call means to its user.
pub(crate) fn explain(action: &str, error: &kube::Error) -> String {
    match error {
        kube::Error::Api(status) if status.code == 403 => format!("you lack the right to {action}"),
        kube::Error::Api(status) if status.code == 401 => {
            "the API server does not accept your credentials: log in again".to_owned()
        }
        kube::Error::Api(status) if status.code == 404 && is_unknown_kind(&status.message) => {
            format!("to {action} is not possible: the definitions of dask-operator are not installed")
        }
        kube::Error::Api(status) => format!("to {action} failed: {}", status.message),
        other => format!("to {action} failed: {other}"),
    }
}

/// Returns whether the API server does not serve the kind at all. Its message then names no object.
fn is_unknown_kind(message: &str) -> bool {
    message.contains("could not find the requested resource") || message.contains("page not found")
}
