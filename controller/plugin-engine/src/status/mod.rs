//! What plugins did for subjects, as Dask resources and plugin resources show it.

pub(crate) mod aggregate;
pub(crate) mod cluster_gate;
pub(crate) mod event_budget;
pub(crate) mod publisher;
pub(crate) mod store;
