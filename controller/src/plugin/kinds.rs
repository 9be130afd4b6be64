//! The kinds that a plugin may answer with.

use kube::core::ApiResource;
pub(super) use plugin_protocol::screening::{group_of, is_denied, is_sensitive};

/// A kind of the allow-list that the API server serves.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct ChildKind {
    pub(super) resource: ApiResource,
    pub(super) namespaced: bool,
    pub(super) allow_sensitive: bool,
    /// Whether one whose immutable field is to change is deleted and made again.
    pub(super) recreate: bool,
}

impl ChildKind {
    pub(super) fn is(&self, api_version: &str, kind: &str) -> bool {
        self.resource.api_version == api_version && self.resource.kind == kind
    }
}
