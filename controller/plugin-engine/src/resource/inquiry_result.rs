//! The result of an inquiry about a plugin.

use std::time::Instant;

use super::{Error, endpoint_change::EndpointChange, status::Findings};
use crate::{
    client::Caller,
    model::{child_kind::ChildKind, writer::Writer},
};
use plugin_protocol::Discovery;

/// The result of an inquiry, and the object that it is about.
pub(crate) struct InquiryResult {
    pub(super) uid: Option<String>,
    pub(super) generation: Option<i64>,
    pub(super) change: EndpointChange,
    /// When an earlier inquiry found the permissions to be sufficient.
    pub(super) reviewed: Option<Instant>,
    pub(super) findings: Findings,
    pub(super) outcome: Result<Option<Usable>, Error>,
}

/// What syncing subjects requires.
pub(crate) struct Usable {
    pub(super) kinds: Vec<ChildKind>,
    pub(super) writer: Writer,
    pub(super) caller: Caller,
    pub(super) discovery: Discovery,
}
