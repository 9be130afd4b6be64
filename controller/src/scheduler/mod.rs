//! Schedulers of clusters: their addresses, whether they run, and a client for each.

mod access;
mod address;
mod service;
mod worker_matching;

pub(crate) use access::{SchedulerClients, is_ready, is_running, is_starting};
pub(crate) use address::scheduler_address;
pub(crate) use service::endpoint_of;
pub(crate) use worker_matching::registered;
