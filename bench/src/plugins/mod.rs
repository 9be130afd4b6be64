//! Measurements with plugins installed.

pub(crate) mod hang;
pub(crate) mod latency;
mod plugin;
pub(crate) mod report;
pub(crate) mod throughput;
