//! Restores the labels by which a job's children are found, if somebody changed them.

use std::{fmt::Debug, sync::Arc};

use dask_operator_api::{
    DaskJob,
    meta::{self, Map},
};
use kube::{Api, Client, Resource, ResourceExt as _, core::NamespaceResourceScope};
use operator_runtime::k8s;
use serde::de::DeserializeOwned;
use serde_json::json;

use super::identity;
use crate::{caches::Caches, view::PodView};

/// Gives the job's cluster and runner the labels back that they lost.
pub(super) async fn restore(client: &Client, job: &DaskJob, caches: &Caches) -> Result<(), k8s::Error> {
    let (namespace, name) = (job.namespace().unwrap_or_default(), job.name_any());
    let runner_name = meta::runner_name(&name);
    if let Some(cluster) = caches.clusters.get(&namespace, &name) {
        restore_one(client, job, cluster.as_ref(), &identity::of_cluster(&name)).await?;
    }
    match watched_runner(caches, &namespace, &runner_name) {
        Some(runner) => restore_one(client, job, runner.as_ref(), &identity::of_runner(&name)).await,
        None => Ok(()),
    }
}

/// Does the same for a runner that the API server has and no watch delivers, because it lost all labels.
pub(super) async fn restore_unwatched(client: &Client, job: &DaskJob, caches: &Caches) -> Result<(), k8s::Error> {
    let (namespace, runner) = (job.namespace().unwrap_or_default(), meta::runner_name(&job.name_any()));
    if watched_runner(caches, &namespace, &runner).is_some() {
        return Ok(());
    }
    let api: Api<PodView> = Api::namespaced(client.clone(), &namespace);
    match k8s::timed("get", &runner, api.get_opt(&runner)).await? {
        Some(found) => restore_one(client, job, &found, &identity::of_runner(&job.name_any())).await,
        None => Ok(()),
    }
}

/// Returns the runner from the caches. Without the label of its component, it is among such pods.
fn watched_runner(caches: &Caches, namespace: &str, name: &str) -> Option<Arc<PodView>> {
    caches.pods.get(namespace, name).or_else(|| caches.unlabelled_pods.get(namespace, name))
}

async fn restore_one<K>(client: &Client, job: &DaskJob, child: &K, labels: &Map) -> Result<(), k8s::Error>
where
    K: Resource<DynamicType = (), Scope = NamespaceResourceScope> + Clone + DeserializeOwned + Debug,
{
    let lost = k8s::lost_labels(child.meta(), labels);
    if lost.is_empty() || !k8s::is_controlled_by(child, &job.uid().unwrap_or_default()) {
        return Ok(());
    }
    let api: Api<K> = Api::namespaced(client.clone(), &job.namespace().unwrap_or_default());
    match k8s::merge(&api, child, json!({"metadata": {"labels": lost}})).await {
        // The child was deleted or replaced in the meantime.
        Err(error) if error.is_outdated() => Ok(()),
        result => result.map(|_| ()),
    }
}
