//! Schedulers of clusters: their addresses, whether they run, and a client for each.

mod access;
mod address;
mod service;

pub(crate) use access::{client_of, is_ready, is_running, is_starting};
pub(crate) use address::scheduler_address;
pub(crate) use service::endpoint_of;
