//! The containers that a job lists, and the states of containers and runners.

use jiff::Timestamp;

/// The state of a runner, or of one of its containers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    Waiting,
    Running,
    /// Succeeded, with the time if the pod reports it.
    Succeeded(Option<Timestamp>),
    Failed(Option<Timestamp>),
}

/// A container that the job lists.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Listed {
    pub(super) name: String,
    /// Whether the kubelet may start it again after a failure.
    pub(super) restarts_after_failure: bool,
    /// Whether the kubelet starts it again after a success.
    pub(super) restarts_after_success: bool,
}
