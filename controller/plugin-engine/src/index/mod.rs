//! What the watches know of plugins, subjects and children, and whom they wake.

pub(crate) mod plugins;
pub(crate) mod registration;
pub(crate) mod registry;
pub(crate) mod watches;
