//! Caches and registries of plugins, subjects and children, and the workers that their changes wake.

pub(crate) mod owner_caches;
pub(crate) mod plugins;
pub(crate) mod registry;
pub(crate) mod watches;
