//! Traces of dask-kubernetes' operator on objects that it made.

use std::fmt::Debug;

use kube::{Api, Client, Resource, ResourceExt as _, core::NamespaceResourceScope};
use operator_runtime::k8s::{self, Class};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

/// The finalizer that kopf puts on resources with timers. Nobody but kopf removes it, so without kopf such an
/// object, and its namespace, could never be deleted.
const KOPF_FINALIZER: &str = "kopf.zalando.org/KopfFinalizerMarker";

/// Frees `object` of kopf's finalizer. It may be one that is being deleted, and waits for nothing else.
pub async fn release<K>(client: &Client, object: &K) -> Result<(), k8s::Error>
where
    K: Resource<DynamicType = (), Scope = NamespaceResourceScope> + Clone + DeserializeOwned + Debug,
{
    let Some(operations) = without_kopf(object) else { return Ok(()) };
    let api: Api<K> = Api::namespaced(client.clone(), &object.namespace().unwrap_or_default());
    match k8s::json_patch(&api, object, operations).await {
        // It has gone or changed in between, which leads to another pass.
        Err(error) if matches!(error.class(), Class::NotFound | Class::Conflict) => Ok(()),
        result => result,
    }
}

/// The operations (RFC 6902) that free `object` of kopf's finalizer; `None` if it has none. Other finalizers
/// stay, also such as were added since `object` was read.
fn without_kopf(object: &impl Resource) -> Option<Vec<Value>> {
    let finalizers = object.meta().finalizers.as_ref()?;
    let index = finalizers.iter().position(|finalizer| finalizer == KOPF_FINALIZER)?;
    let path = format!("/metadata/finalizers/{index}");
    Some(vec![json!({"op": "test", "path": path, "value": KOPF_FINALIZER}), json!({"op": "remove", "path": path})])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::test_fixtures::mk_cluster;

    #[test]
    fn kopfs_finalizer_goes_and_others_stay() {
        let mut cluster = mk_cluster("demo");
        assert_eq!(without_kopf(&cluster), None);
        cluster.metadata.finalizers = Some(vec!["example.org/mine".to_owned(), KOPF_FINALIZER.to_owned()]);
        let path = "/metadata/finalizers/1";
        let expected =
            vec![json!({"op": "test", "path": path, "value": KOPF_FINALIZER}), json!({"op": "remove", "path": path})];
        assert_eq!(without_kopf(&cluster), Some(expected));
    }
}
