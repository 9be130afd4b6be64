//! Which Dask kinds the API server serves.

use std::collections::BTreeSet;

/// The API group of the Dask kinds.
pub(super) const GROUP: &str = "kubernetes.dask.org";
/// Without one of them the controller has nothing to do, or does it by halves.
const ESSENTIAL: [&str; 4] = ["daskclusters", "daskworkergroups", "daskjobs", "daskautoscalers"];

/// The resources and subresources of the group, over all of its versions that the controller speaks.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Served {
    /// These, such as `daskjobs` and `daskjobs/status`.
    Known(BTreeSet<String>),
    /// The account may not ask; then whatever is needed is taken for served.
    #[default]
    Unknown,
}

impl Served {
    /// Whether the kind's status is a resource of its own.
    pub(super) fn has_status(&self, plural: &str) -> bool {
        self.has(&format!("{plural}/status"))
    }

    /// The essential kinds whose status goes with the object.
    pub(super) fn without_status(&self) -> impl Iterator<Item = &'static str> {
        ESSENTIAL.into_iter().filter(move |kind| !self.has_status(kind))
    }

    /// The essential kinds that are not served.
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
