//! The results of plugins, as the statuses of Dask resources and plugin resources show them.

pub(crate) mod aggregate;
pub(crate) mod cluster_gate;
pub(crate) mod event_budget;
pub(crate) mod publisher;
mod reports;
mod schedule;
pub(crate) mod store;
mod warnings;
