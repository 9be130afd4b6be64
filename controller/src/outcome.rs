//! The outcome of a write that was decided from an object that may have changed since.

use operator_runtime::k8s;

/// The outcome of a write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// The object was written or deleted.
    Done,
    /// The object is gone, or has changed since it was read.
    Outdated,
}

impl Outcome {
    /// Returns the outcome of a request that the API server refuses if the object has changed. Other errors remain errors.
    pub(crate) fn of<T>(result: Result<T, k8s::Error>) -> Result<Self, k8s::Error> {
        match result {
            Ok(_) => Ok(Self::Done),
            Err(error) if error.is_outdated() => Ok(Self::Outdated),
            Err(error) => Err(error),
        }
    }
}
