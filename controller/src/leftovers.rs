//! Deletes what an uninstalled controller leaves and nobody owns. In its own namespace these are the Lease, which would
//! make the next installation wait, and the private key of the certificate authority for plugins. In each namespace that
//! it names, it is the Lease by which other releases find it.

use std::fmt::Debug;

use dask_plugin_engine::AUTHORITY_SECRET;
use k8s_openapi::api::{coordination::v1::Lease, core::v1::Secret};
use kube::{Api, Client, api::ObjectMeta};
use operator_runtime::{k8s, releases};
use serde::de::DeserializeOwned;

use crate::args::ReleaseArgs;

const MANAGED_BY: &str = "app.kubernetes.io/managed-by";

/// Why something was left.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// There is no usable kubeconfig and no ServiceAccount.
    #[error("cannot connect to the Kubernetes API server: {0}")]
    Client(#[from] kube::Error),
    /// An object could not be read or deleted.
    #[error("{}", .0.message())]
    Delete(#[from] k8s::Error),
}

/// Deletes the Leases and the Secret, if `args` has the namespace of the controller. Objects that do not exist are no
/// error.
///
/// # Errors
/// If one of them could not be deleted.
pub async fn delete(args: &ReleaseArgs) -> Result<(), Error> {
    let Some(namespace) = &args.leftovers else { return Ok(()) };
    let client = Client::try_default().await?;
    delete_one(&Api::<Lease>::namespaced(client.clone(), namespace), &args.lease_name, |_| true).await?;
    let claim = releases::claim_name(namespace, &args.lease_name);
    for named in args.scope().parts().into_iter().flatten() {
        delete_one(&Api::<Lease>::namespaced(client.clone(), named), &claim, |_| true).await?;
    }
    // A Secret of this name that somebody else created is not the controller's.
    let is_ours = |metadata: &ObjectMeta| {
        let labels = metadata.labels.as_ref();
        labels.and_then(|labels| labels.get(MANAGED_BY)).map(String::as_str) == Some(k8s::FIELD_MANAGER)
    };
    delete_one(&Api::<Secret>::namespaced(client, namespace), AUTHORITY_SECRET, is_ours).await?;
    Ok(())
}

async fn delete_one<K>(api: &Api<K>, name: &str, is_ours: impl Fn(&ObjectMeta) -> bool) -> Result<(), k8s::Error>
where
    K: Clone + DeserializeOwned + Debug,
{
    let Some(found) = k8s::timed("get", name, api.get_metadata_opt(name)).await? else { return Ok(()) };
    if !is_ours(&found.metadata) {
        return Ok(());
    }
    k8s::delete(api, name, &found.metadata.uid.unwrap_or_default()).await
}
