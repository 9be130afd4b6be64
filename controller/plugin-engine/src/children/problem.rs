//! Problems with the children of a subject, as its status shows them.

use std::time::Duration;

use operator_runtime::k8s;

use super::drift::DriftLoop;

/// A problem that the status shows.
#[derive(Debug)]
pub(crate) struct Problem {
    pub(crate) reason: &'static str,
    pub(crate) message: String,
    /// How long to wait before a retry, if that is known.
    pub(crate) requeue_after: Option<Duration>,
}

impl Problem {
    /// Returns a problem without a retry delay of its own.
    pub(super) fn new(reason: &'static str, message: impl Into<String>) -> Self {
        Self { reason, message: message.into(), requeue_after: None }
    }

    /// Returns the first of `problems`, with the shortest retry delay of all of them.
    pub(super) fn first(problems: Vec<Self>) -> Option<Self> {
        let requeue_after = problems.iter().filter_map(|problem| problem.requeue_after).min();
        problems.into_iter().next().map(|first| Self { requeue_after, ..first })
    }
}

impl From<DriftLoop> for Problem {
    fn from(DriftLoop { message, requeue_after }: DriftLoop) -> Self {
        Self { reason: "DriftLoop", message, requeue_after: Some(requeue_after) }
    }
}

impl From<k8s::Error> for Problem {
    fn from(error: k8s::Error) -> Self {
        Self::new(error.category(), error.message())
    }
}
