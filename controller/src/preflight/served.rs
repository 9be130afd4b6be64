//! The Dask kinds that the API server serves.

use std::collections::BTreeSet;

/// The API group of the Dask kinds.
pub(super) const GROUP: &str = "kubernetes.dask.org";
/// The kinds without which the controller has no work, or can do only part of it.
const ESSENTIAL: [&str; 4] = ["daskclusters", "daskworkergroups", "daskjobs", "daskautoscalers"];

/// The resources and subresources of the group, in all versions that the controller supports.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Served {
    /// The served ones, such as `daskjobs` and `daskjobs/status`.
    Known(BTreeSet<String>),
    /// The account is not allowed to query them. All required kinds are then assumed to be served.
    #[default]
    Unknown,
}

impl Served {
    /// Returns whether the kind has a status subresource.
    pub(super) fn has_status(&self, plural: &str) -> bool {
        self.has(&format!("{plural}/status"))
    }

    /// Returns the essential kinds without a status subresource.
    pub(super) fn without_status(&self) -> impl Iterator<Item = &'static str> {
        ESSENTIAL.into_iter().filter(move |kind| !self.has_status(kind))
    }

    /// Returns the essential kinds that are not served.
    pub(super) fn missing(&self) -> Vec<&'static str> {
        ESSENTIAL.into_iter().filter(|kind| !self.has(kind)).collect()
    }

    fn has(&self, resource: &str) -> bool {
        match self {
            Self::Known(resources) => resources.contains(resource),
            Self::Unknown => true,
        }
    }
}
