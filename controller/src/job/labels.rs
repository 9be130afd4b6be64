//! Restores the labels by which a job's children are found, if somebody changed them.

use std::{fmt::Debug, sync::Arc};

use dask_operator_api::{
    DaskJob,
    meta::{self, Map, component, map_of},
};
use kube::{Api, Resource, ResourceExt as _, core::NamespaceResourceScope};
use operator_runtime::k8s::{self, Class};
use serde::de::DeserializeOwned;
use serde_json::json;

use crate::{context::Context, pod_labels, view::PodView};

/// Returns the labels that identify a job's cluster.
pub(super) fn of_cluster(job: &str) -> Map {
    map_of([(meta::CLUSTER_NAME, job)])
}

/// Returns the labels that identify a job's runner.
pub(super) fn of_runner(job: &str) -> Map {
    map_of([(meta::CLUSTER_NAME, job), (meta::COMPONENT, component::JOB_RUNNER)])
}

/// Gives the job's cluster and runner the labels back that they lost.
pub(super) async fn restore(job: &DaskJob, context: &Context) -> Result<(), k8s::Error> {
    let (namespace, name) = (job.namespace().unwrap_or_default(), job.name_any());
    let runner_name = meta::runner_name(&name);
    let caches = &context.caches;
    if let Some(cluster) = caches.clusters.get(&namespace, &name) {
        restore_one(context, job, (cluster.as_ref(), &of_cluster(&name))).await?;
    }
    match watched_runner(context, &namespace, &runner_name) {
        Some(runner) => restore_one(context, job, (runner.as_ref(), &of_runner(&name))).await,
        None => Ok(()),
    }
}

/// Does the same for a runner that the API server has and no watch delivers, because it lost all labels.
pub(super) async fn restore_unwatched(job: &DaskJob, context: &Context) -> Result<(), k8s::Error> {
    let (namespace, runner) = (job.namespace().unwrap_or_default(), meta::runner_name(&job.name_any()));
    if watched_runner(context, &namespace, &runner).is_some() {
        return Ok(());
    }
    let api: Api<PodView> = Api::namespaced(context.client.clone(), &namespace);
    match k8s::timed("get", &runner, api.get_opt(&runner)).await? {
        Some(found) => restore_one(context, job, (&found, &of_runner(&job.name_any()))).await,
        None => Ok(()),
    }
}

/// Returns the runner from the caches. Without the label of its component, it is among such pods.
fn watched_runner(context: &Context, namespace: &str, name: &str) -> Option<Arc<PodView>> {
    let caches = &context.caches;
    caches.pods.get(namespace, name).or_else(|| caches.unlabelled_pods.get(namespace, name))
}

async fn restore_one<K>(context: &Context, job: &DaskJob, (child, labels): (&K, &Map)) -> Result<(), k8s::Error>
where
    K: Resource<DynamicType = (), Scope = NamespaceResourceScope> + Clone + DeserializeOwned + Debug,
{
    let is_ours = k8s::is_controlled_by(child, &job.uid().unwrap_or_default());
    if !is_ours || child.meta().deletion_timestamp.is_some() {
        return Ok(());
    }
    let lost: serde_json::Map<_, _> =
        pod_labels::differing(child, labels).map(|(key, value)| (key.clone(), json!(value))).collect();
    if lost.is_empty() {
        return Ok(());
    }
    let api: Api<K> = Api::namespaced(context.client.clone(), &job.namespace().unwrap_or_default());
    match k8s::merge(&api, child, json!({"metadata": {"labels": lost}})).await {
        // The child was deleted or replaced in the meantime.
        Err(error) if matches!(error.class(), Class::NotFound | Class::Conflict) => Ok(()),
        result => result.map(|_| ()),
    }
}
