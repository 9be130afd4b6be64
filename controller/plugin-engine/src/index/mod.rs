//! Caches and registries of plugins, subjects and children, and the workers that their changes wake.

pub(crate) mod places;
pub(crate) mod plugins;
pub(crate) mod registration;
pub(crate) mod registry;
pub(crate) mod watches;
