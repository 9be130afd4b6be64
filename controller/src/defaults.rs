//! Defaults that are set by flags.

use std::net::IpAddr;

use dask_operator_api::WorkerAllocation;

/// Defaults that are set by flags.
#[derive(Clone, Debug)]
pub(crate) struct Defaults {
    /// The DNS domain of the Kubernetes cluster.
    pub cluster_domain: String,
    /// How fast workers are created if neither the group nor the cluster specifies it.
    pub allocation: WorkerAllocation,
    /// The address of all schedulers, instead of that of their Services.
    pub scheduler_ip: Option<IpAddr>,
}
