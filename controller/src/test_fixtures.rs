//! Objects for tests.

use serde_json::{Value, json};

use dask_operator_api::WorkerAllocation;
pub(crate) use dask_operator_api::testing::{mk_cluster, mk_group, mk_resource};

use crate::context::Defaults;

/// An object from YAML.
pub(crate) fn from_yaml<K: serde::de::DeserializeOwned>(yaml: &str) -> K {
    serde_saphyr::from_str(yaml).unwrap()
}

/// Flags of a controller in a Kubernetes cluster of this DNS domain.
pub(crate) fn mk_defaults(cluster_domain: &str) -> Defaults {
    Defaults { cluster_domain: cluster_domain.to_owned(), allocation: WorkerAllocation::default(), scheduler_ip: None }
}

/// The `Status` that refuses a creation in a namespace that is being deleted.
pub(crate) fn namespace_terminating() -> Value {
    json!({
        "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure", "code": 403, "reason": "Forbidden",
        "message": "deployments.apps \"a\" is forbidden: unable to create new content in namespace ns because it is being \
            terminated",
        "details": {"name": "a", "group": "apps", "kind": "deployments", "causes": [
            {"reason": "NamespaceTerminating", "message": "namespace ns is being terminated", "field": "metadata.namespace"},
        ]},
    })
}
