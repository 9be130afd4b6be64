//! The controller's certificate authority and its client certificates.

pub(crate) mod authority;
pub(crate) mod certificates;
pub(crate) mod rotation;
