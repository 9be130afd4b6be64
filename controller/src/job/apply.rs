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

/// Deletes what `next` says; what cannot be deleted does not keep the rest.
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

/// Makes what is missing; the runner only if its cluster is the job's. What is in the way is told.
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

/// Whether trying again is useless: the API server finds fault with the object itself. Policies, which
/// webhooks check, may change.
pub(super) fn is_final(error: &k8s::Error) -> bool {
    error.class() == Class::Rejection && !error.message().contains("admission webhook")
}
