//! Which subjects a plugin is asked about: labels, namespaces and expressions.

pub(crate) mod evaluation_turns;
pub(crate) mod expression;
pub(crate) mod matcher;
