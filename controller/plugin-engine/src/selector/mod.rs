//! Decides which subjects a plugin is called about, by labels, namespaces and expressions.

pub(crate) mod evaluation_turns;
pub(crate) mod expression;
pub(crate) mod matcher;
