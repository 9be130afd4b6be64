//! The data model of the engine: plugins, subjects, children and writers.

pub(crate) mod child_kind;
pub(crate) mod child_meta;
pub(crate) mod child_version;
pub(crate) mod key;
pub(crate) mod labels;
pub(crate) mod owner_caches;
pub(crate) mod redact;
pub(crate) mod rejected_child;
pub(crate) mod stored_object;
pub(crate) mod subject;
pub(crate) mod summary;
pub(crate) mod writer;
