//! The kinds of children that a plugin may answer with.

use kube::core::ApiResource;
pub(crate) use plugin_protocol::screening::{group_of, is_denied, is_sensitive};

/// A kind on the allow-list that the API server serves.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct ChildKind {
    pub(crate) resource: ApiResource,
    pub(crate) namespaced: bool,
    pub(crate) allow_sensitive: bool,
    /// Whether a child is deleted and created again if an immutable field has to change.
    pub(crate) recreate: bool,
}

impl ChildKind {
    pub(crate) fn is(&self, api_version: &str, kind: &str) -> bool {
        self.resource.api_version == api_version && self.resource.kind == kind
    }
}
