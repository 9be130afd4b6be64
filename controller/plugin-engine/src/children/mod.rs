//! The children of subjects: which ones may exist, and how they are written and pruned.

pub(crate) mod apply;
pub(crate) mod child_ref;
pub(crate) mod context;
pub(crate) mod drift;
mod hand_over;
pub(crate) mod immutable;
pub(crate) mod inventory;
pub(crate) mod live;
pub(crate) mod name_locks;
mod names;
pub(crate) mod origin;
pub(crate) mod orphans;
pub(crate) mod plan;
mod problem;
pub(crate) mod prune_guard;
pub(crate) mod screen;
pub(crate) mod second_names;
mod write;
