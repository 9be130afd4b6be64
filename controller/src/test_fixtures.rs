//! Objects that tests share.

use dask_operator_api::WorkerAllocation;
pub(crate) use dask_operator_api::testing::{mk_cluster, mk_group};

use crate::defaults::Defaults;

/// Parses an object from YAML.
pub(crate) fn from_yaml<K: serde::de::DeserializeOwned>(yaml: &str) -> K {
    serde_saphyr::from_str(yaml).unwrap()
}

/// Returns the defaults of a controller in a Kubernetes cluster with this DNS domain.
pub(crate) fn mk_defaults(cluster_domain: &str) -> Defaults {
    Defaults { cluster_domain: cluster_domain.to_owned(), allocation: WorkerAllocation::default(), scheduler_ip: None }
}
