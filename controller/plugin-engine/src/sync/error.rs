//! The reasons why a pass ends early.

use std::time::Duration;

use operator_runtime::k8s;

use super::{
    request::TooLarge,
    state::{Requeue, Step},
};
use crate::{
    client::{memory_shares::UsedUp, response::CallError},
    index::watches::NotSynced,
    model::summary::SyncState,
};

/// The reason why a pass ended early.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    #[error("{0}")]
    Call(#[from] CallError),
    #[error("{}", .0.message())]
    Api(#[from] k8s::Error),
    #[error("{0}")]
    Digest(#[from] plugin_protocol::DigestError),
    #[error(transparent)]
    NotSynced(#[from] NotSynced),
    #[error("{0}")]
    TooLarge(#[from] TooLarge),
    #[error("{0}")]
    UsedUp(#[from] UsedUp),
}

impl Error {
    /// Returns the result of the pass. `failures` is the number of consecutive passes that failed.
    pub(super) fn step(&self, failures: u32) -> Step {
        let (reason, requeue) = match self {
            Self::Call(call) => (call.reason(), call.retry(failures as usize).map_or(Requeue::Resync, Requeue::After)),
            Self::Api(api) => (api.category(), Requeue::Rewrite),
            Self::Digest(_) => ("InternalError", Requeue::Resync),
            Self::NotSynced(_) => ("Forbidden", Requeue::Rewrite),
            Self::TooLarge(_) => ("SubjectTooLarge", Requeue::Resync),
            Self::UsedUp(_) => ("MemoryUsedUp", Requeue::After(soon())),
        };
        Step::new(SyncState::failing(reason, &self.to_string()), requeue)
    }
}

/// Returns how long to wait before a pass is repeated that could not reserve memory.
pub(super) fn soon() -> Duration {
    Duration::from_millis(fastrand::u64(1000..3000))
}
