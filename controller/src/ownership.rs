//! Sets the owner of a Dask resource that has none.

use std::fmt::Debug;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use kube::{Api, Client, Resource, ResourceExt as _, core::NamespaceResourceScope};
use operator_runtime::k8s::{self, Force};
use serde::de::DeserializeOwned;
use serde_json::json;

/// Field manager of the owner reference. It is separate, so that applying the reference does not give up other fields.
const OWNER_MANAGER: &str = "dask-operator/owner";

/// Makes `owner` the owner of `object`, unless the object was replaced since it was read.
pub(crate) async fn adopt<K>(client: &Client, object: &K, owner: &OwnerReference) -> Result<(), k8s::Error>
where
    K: Resource<DynamicType = (), Scope = NamespaceResourceScope> + Clone + DeserializeOwned + Debug,
{
    let api: Api<K> = Api::namespaced(client.clone(), &object.namespace().unwrap_or_default());
    let manifest = json!({
        "apiVersion": K::api_version(&()),
        "kind": K::kind(&()),
        "metadata": {"name": object.name_any(), "uid": object.uid(), "ownerReferences": [owner]},
    });
    k8s::apply(&api, OWNER_MANAGER, Force::Yes, &manifest).await.map(|_| ())
}
