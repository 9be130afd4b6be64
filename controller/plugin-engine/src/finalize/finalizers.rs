//! Adds plugins' finalizers to Dask resources and removes them.

use std::{collections::HashSet, fmt::Debug};

use dask_operator_api::{DaskAutoscaler, DaskCluster, DaskJob, DaskWorkerGroup, SubjectKind};
use kube::{Api, Client, Resource, ResourceExt as _, core::NamespaceResourceScope};
use operator_runtime::k8s::{self, Class};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use crate::model::subject::SubjectKey;

/// How often adding a finalizer is tried. Other writers can cause conflicts.
const TRIES: usize = 5;

/// Adds `finalizer` to the Dask resource `owner` with `uid`. Returns whether the finalizer is present. It is not if the
/// Dask resource is being deleted or does not exist: Kubernetes refuses new finalizers then, and no children may be
/// created for it any more.
pub(crate) async fn hold(client: &Client, owner: &SubjectKey, uid: &str, finalizer: &str) -> Result<bool, k8s::Error> {
    match owner.kind {
        SubjectKind::DaskCluster => hold_as::<DaskCluster>(client, owner, uid, finalizer).await,
        SubjectKind::DaskWorkerGroup => hold_as::<DaskWorkerGroup>(client, owner, uid, finalizer).await,
        SubjectKind::DaskJob => hold_as::<DaskJob>(client, owner, uid, finalizer).await,
        SubjectKind::DaskAutoscaler => hold_as::<DaskAutoscaler>(client, owner, uid, finalizer).await,
        // These kinds are never owners.
        SubjectKind::Service | SubjectKind::Deployment | SubjectKind::Pod => Ok(false),
    }
}

async fn hold_as<K>(client: &Client, owner: &SubjectKey, uid: &str, finalizer: &str) -> Result<bool, k8s::Error>
where
    K: Resource<DynamicType = (), Scope = NamespaceResourceScope> + Clone + DeserializeOwned + Debug,
{
    let api: Api<K> = Api::namespaced(client.clone(), &owner.namespace);
    let mut tries = 1;
    loop {
        let found = k8s::timed("get", &owner.to_string(), api.get_opt(&owner.name)).await?;
        let Some(found) = found.filter(|found| found.uid().as_deref() == Some(uid)) else { return Ok(false) };
        if found.meta().deletion_timestamp.is_some() {
            return Ok(false);
        }
        let Some(operations) = adding(&found, finalizer) else { return Ok(true) };
        match k8s::json_patch(&api, &found, operations).await {
            Err(error) if error.class() == Class::Conflict && tries < TRIES => tries += 1,
            Err(error) if error.class() == Class::NotFound => return Ok(false),
            result => return result.map(|()| true),
        }
    }
}

/// Removes all of `finalizers` from `object` in one request. Returns whether it did. It did not if the object no longer
/// exists, or if its finalizers have changed in the meantime.
pub(crate) async fn release<K>(client: &Client, object: &K, finalizers: &HashSet<String>) -> Result<bool, k8s::Error>
where
    K: Resource<DynamicType = (), Scope = NamespaceResourceScope> + Clone + DeserializeOwned + Debug,
{
    let Some(operations) = removing(object, finalizers) else { return Ok(false) };
    let api: Api<K> = Api::namespaced(client.clone(), &object.namespace().unwrap_or_default());
    match k8s::json_patch(&api, object, operations).await {
        Err(error) if error.is_outdated() => Ok(false),
        result => result.map(|()| true),
    }
}

/// Returns whether `object` has `finalizer`.
pub(crate) fn has(object: &impl Resource, finalizer: &str) -> bool {
    object.meta().finalizers.iter().flatten().any(|other| other == finalizer)
}

/// Returns the JSON patch operations (RFC 6902) that add `finalizer` to `object` as it was read, or `None` if it is
/// already there.
fn adding(object: &impl Resource, finalizer: &str) -> Option<Vec<Value>> {
    if has(object, finalizer) {
        return None;
    }
    let unchanged = json!({"op": "test", "path": "/metadata/resourceVersion", "value": object.resource_version()});
    let add = match &object.meta().finalizers {
        Some(_) => json!({"op": "add", "path": "/metadata/finalizers/-", "value": finalizer}),
        None => json!({"op": "add", "path": "/metadata/finalizers", "value": [finalizer]}),
    };
    Some(vec![unchanged, add])
}

/// Returns the operations that remove `finalizers`, or `None` if the object has none of them.
///
/// The patch tests and replaces the whole list as it was read. One operation for each finalizer would exceed the API
/// server's limit on a patch. One request for each would fail as soon as another one has moved the indices.
fn removing(object: &impl Resource, finalizers: &HashSet<String>) -> Option<Vec<Value>> {
    const PATH: &str = "/metadata/finalizers";
    let all = object.meta().finalizers.as_ref()?;
    let kept: Vec<&String> = all.iter().filter(|finalizer| !finalizers.contains(*finalizer)).collect();
    if kept.len() == all.len() {
        return None;
    }
    Some(vec![json!({"op": "test", "path": PATH, "value": all}), json!({"op": "replace", "path": PATH, "value": kept})])
}

#[cfg(test)]
mod tests {
    use dask_operator_api::testing::mk_cluster;

    use super::*;

    const OURS: &str = "plugin.kubernetes.dask.org/ingress";

    #[test]
    fn a_finalizer_is_added_to_the_version_of_the_object_that_was_read() {
        let mut cluster = mk_cluster("demo");
        cluster.metadata.resource_version = Some("7".to_owned());
        let unchanged = json!({"op": "test", "path": "/metadata/resourceVersion", "value": "7"});
        let first = json!({"op": "add", "path": "/metadata/finalizers", "value": [OURS]});
        assert_eq!(adding(&cluster, OURS), Some(vec![unchanged.clone(), first]));
        cluster.metadata.finalizers = Some(vec!["example.org/mine".to_owned()]);
        let next = json!({"op": "add", "path": "/metadata/finalizers/-", "value": OURS});
        assert_eq!(adding(&cluster, OURS), Some(vec![unchanged, next]));
        cluster.metadata.finalizers = Some(vec![OURS.to_owned()]);
        assert_eq!(adding(&cluster, OURS), None);
    }

    #[test]
    fn any_number_of_finalizers_is_removed_by_one_patch() {
        let mut cluster = mk_cluster("demo");
        let ours: HashSet<String> = (0..25_000).map(|number| format!("{OURS}{number}")).collect();
        assert_eq!(removing(&cluster, &ours), None);
        let other = "example.org/mine".to_owned();
        let all: Vec<String> = ours.iter().cloned().chain([other.clone(), OURS.to_owned()]).collect();
        cluster.metadata.finalizers = Some(all.clone());
        let path = "/metadata/finalizers";
        let kept = json!([other, OURS]);
        let expected = vec![
            json!({"op": "test", "path": path, "value": all}),
            json!({"op": "replace", "path": path, "value": kept}),
        ];
        assert_eq!(removing(&cluster, &ours), Some(expected));
    }
}
