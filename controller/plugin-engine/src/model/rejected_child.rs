//! Children that are rejected.

/// A child that may not be written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Rejected {
    pub(crate) key: String,
    pub(crate) reason: &'static str,
    pub(crate) message: String,
}
