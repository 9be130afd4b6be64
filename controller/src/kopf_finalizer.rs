//! Removes the finalizer of kopf (the framework of dask-kubernetes) from objects that dask-kubernetes created.

use std::{
    collections::BTreeMap,
    fmt::Debug,
    sync::{Mutex, PoisonError},
};

use dask_operator_api::{DaskAutoscaler, DaskCluster};
use kube::{
    Api, Client, Resource, ResourceExt as _,
    core::{NamespaceResourceScope, PartialObjectMetaExt as _},
};
use operator_runtime::{k8s, watch::UnreadableObject};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

/// The finalizer that kopf adds to resources with timers. Only kopf removes it, so without kopf neither such an object
/// nor its namespace could ever be deleted.
const KOPF_FINALIZER: &str = "kopf.zalando.org/KopfFinalizerMarker";

/// Removes kopf's finalizer from `object`. The object may be terminating already and wait only for this.
pub(crate) async fn release<K>(client: &Client, object: &K) -> Result<(), k8s::Error>
where
    K: Resource<DynamicType = (), Scope = NamespaceResourceScope> + Clone + DeserializeOwned + Debug,
{
    let Some(operations) = without_kopf(object) else { return Ok(()) };
    let api: Api<K> = Api::namespaced(client.clone(), &object.namespace().unwrap_or_default());
    match k8s::json_patch(&api, object, operations).await {
        // The object was deleted or changed in the meantime. Either triggers another pass.
        Err(error) if error.is_outdated() => Ok(()),
        Ok(()) => {
            if REMOVALS.note(&object.uid().unwrap_or_default()) {
                tracing::warn!(
                    kind = %K::kind(&()), namespace = object.namespace(), name = object.name_any(),
                    "kopf's finalizer was added again: the operator of dask-kubernetes works on the same objects; stop it"
                );
            }
            Ok(())
        }
        result => result,
    }
}

/// The objects from which this process has removed kopf's finalizer.
static REMOVALS: Removals = Removals(Mutex::new(BTreeMap::new()));

/// How many objects are remembered. More are forgotten all at once, which costs one more removal each.
const MAX_REMEMBERED: usize = 10_000;

/// Counts removals by uid. Only kopf adds its finalizer, so a second removal shows that its operator runs.
struct Removals(Mutex<BTreeMap<String, u32>>);

impl Removals {
    /// Counts a removal. Returns whether it is the second one of the object, which is the time to say so.
    fn note(&self, uid: &str) -> bool {
        let mut counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if counts.len() >= MAX_REMEMBERED && !counts.contains_key(uid) {
            counts.clear();
        }
        let count = counts.entry(uid.to_owned()).or_default();
        *count = count.saturating_add(1);
        *count == 2
    }
}

/// Removes kopf's finalizer from an object that cannot be parsed and is being deleted.
pub(crate) async fn release_unreadable(client: &Client, object: &UnreadableObject) -> Result<(), k8s::Error> {
    let Some(metadata) = object.deleted_metadata() else { return Ok(()) };
    match object.reference.kind.as_deref() {
        Some("DaskCluster") => release(client, &metadata.into_response_partial::<DaskCluster>()).await,
        Some("DaskAutoscaler") => release(client, &metadata.into_response_partial::<DaskAutoscaler>()).await,
        _ => Ok(()),
    }
}

/// Returns the operations (RFC 6902) that remove kopf's finalizer from `object`, or `None` if it has none. Other
/// finalizers are kept, including those that were added since `object` was read.
fn without_kopf(object: &impl Resource) -> Option<Vec<Value>> {
    let finalizers = object.meta().finalizers.as_ref()?;
    let index = finalizers.iter().position(|finalizer| finalizer == KOPF_FINALIZER)?;
    let path = format!("/metadata/finalizers/{index}");
    Some(vec![json!({"op": "test", "path": path, "value": KOPF_FINALIZER}), json!({"op": "remove", "path": path})])
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;
    use k8s_openapi::{api::core::v1::ObjectReference, apimachinery::pkg::apis::meta::v1::Time};
    use operator_runtime::{
        testing::{made, stub_api_server},
        watch::Deletion,
    };

    use super::*;
    use crate::test_fixtures::mk_cluster;

    #[test]
    fn only_the_finalizer_of_kopf_is_removed() {
        let mut cluster = mk_cluster("demo");
        assert_eq!(without_kopf(&cluster), None);
        cluster.metadata.finalizers = Some(vec!["example.org/mine".to_owned(), KOPF_FINALIZER.to_owned()]);
        let path = "/metadata/finalizers/1";
        let expected =
            vec![json!({"op": "test", "path": path, "value": KOPF_FINALIZER}), json!({"op": "remove", "path": path})];
        assert_eq!(without_kopf(&cluster), Some(expected));
    }

    #[test]
    fn a_finalizer_that_comes_back_is_logged_once_for_each_object() {
        let removals = Removals(Mutex::default());
        assert_eq!(["a", "b", "a", "a", "b"].map(|uid| removals.note(uid)), [false, false, true, false, true]);
    }

    #[tokio::test]
    async fn kopfs_finalizer_leaves_unreadable_objects_that_are_being_deleted_and_no_others() {
        let (client, writes) = stub_api_server(made).await;
        let object = |kind: &str, name: &str, finalizer: Option<&str>| UnreadableObject {
            plural: format!("{}s", kind.to_lowercase()),
            reference: ObjectReference {
                api_version: Some("kubernetes.dask.org/v1".to_owned()),
                kind: Some(kind.to_owned()),
                namespace: Some("a".to_owned()),
                name: Some(name.to_owned()),
                ..ObjectReference::default()
            },
            reason: "TooDeep",
            message: String::new(),
            conditions: Vec::new(),
            generation: None,
            bytes: 1000,
            is_reconciled: true,
            deletion: finalizer.map(|finalizer| Deletion {
                since: Time(Timestamp::UNIX_EPOCH),
                finalizers: vec![finalizer.to_owned()],
            }),
        };
        let objects = [
            object("DaskCluster", "going", Some(KOPF_FINALIZER)),
            object("DaskAutoscaler", "going", Some(KOPF_FINALIZER)),
            object("DaskCluster", "others", Some("example.org/mine")),
            object("DaskCluster", "living", None),
        ];
        for object in &objects {
            release_unreadable(&client, object).await.unwrap();
        }
        let path = |plural| format!("PATCH /apis/kubernetes.dask.org/v1/namespaces/a/{plural}/going");
        assert_eq!(writes.take(), [path("daskclusters"), path("daskautoscalers")]);
    }
}
