//! Creates and deletes a job's cluster and runner.

use dask_operator_api::{DaskCluster, DaskJob};
use k8s_openapi::api::core::v1::Pod;
use kube::{Api, Client, ResourceExt as _, core::ApiResource};
use operator_runtime::{
    k8s::{self, Class, Creation},
    rejection::Rejection,
};

use super::{
    build::{build_cluster, build_runner},
    children::{Lookup, ObservedChildren},
    observe::in_the_way,
    phase::Next,
    validate::{Terms, ValidatedJob},
};
use crate::view::PodView;

/// Deletes what `next` lists. A failed deletion does not stop the others.
pub(super) async fn delete(client: &Client, job: &DaskJob, terms: &Terms, next: &Next) -> Result<(), k8s::Error> {
    let namespace = job.namespace().unwrap_or_default();
    let mut results = Vec::new();
    if let Some(uid) = &next.delete_cluster {
        let api: Api<DaskCluster> = Api::namespaced(client.clone(), &namespace);
        results.push(k8s::delete(&api, &terms.name, uid).await);
    }
    if let Some(uid) = &next.delete_runner {
        let api: Api<PodView> = Api::namespaced(client.clone(), &namespace);
        results.push(k8s::delete(&api, &terms.runner_name, uid).await);
    }
    if next.delete_job {
        let api: Api<DaskJob> = Api::namespaced(client.clone(), &namespace);
        results.push(k8s::delete(&api, &terms.name, &job.uid().unwrap_or_default()).await);
    }
    results.into_iter().collect()
}

/// Creates the missing children: the runner only if the cluster is the job's. Returns what blocks a child, if its name
/// is taken.
pub(super) async fn make(
    client: &Client,
    job: &ValidatedJob,
    world: &ObservedChildren,
    predecessors: i64,
) -> Result<Option<Rejection>, k8s::Error> {
    if world.cluster == Lookup::Nothing {
        let resource = ApiResource::erase::<DaskCluster>(&());
        if let Creation::Foreign(found) = k8s::create(client, &resource, &build_cluster(job), &job.owner.uid).await? {
            return Ok(Some(in_the_way(&resource.kind, found.as_ref())));
        }
    }
    if world.runner == Lookup::Nothing {
        let resource = ApiResource::erase::<Pod>(&());
        let manifest = build_runner(job, predecessors);
        if let Creation::Foreign(found) = k8s::create(client, &resource, &manifest, &job.owner.uid).await? {
            return Ok(Some(in_the_way(&resource.kind, found.as_ref())));
        }
    }
    Ok(None)
}

/// Returns whether a retry is useless because the API server rejects the object itself. A rejection by a webhook is
/// not final, since its policies may change.
pub(super) fn is_final(error: &k8s::Error) -> bool {
    error.class() == Class::Rejection && !error.message().contains("admission webhook")
}
