//! The children of subjects: which ones may exist, and how they are written and pruned.

pub(crate) mod apply;
pub(crate) mod context;
pub(crate) mod drift;
mod hand_over;
pub(crate) mod immutable;
pub(crate) mod inventory;
pub(crate) mod name_locks;
pub(crate) mod names;
pub(crate) mod plan;
pub(crate) mod prune_guard;
pub(crate) mod screen;
