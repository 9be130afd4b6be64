//! Creates and deletes a job's cluster and runner.

use dask_operator_api::{DaskCluster, DaskJob};
use k8s_openapi::api::core::v1::Pod;
use kube::{Api, Client, ResourceExt as _, core::ApiResource};
use operator_runtime::{
    k8s::{self, Class, Creation, Warnings},
    rejection::Rejection,
};

use super::{
    build::{build_cluster, build_runner},
    children::{Lookup, ObservedChildren},
    observe::in_the_way,
    phase::Next,
    validate::{Terms, ValidatedJob},
};
use crate::{
    field_warnings::{self, Origin},
    view::PodView,
};

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

/// The result of [`make`].
#[derive(Debug, Default)]
pub(super) struct Made {
    /// What blocks a child, if its name is taken.
    pub(super) blocked: Option<Rejection>,
    /// What the API server warned about when it created the children, in terms of the job.
    pub(super) warnings: Warnings,
}

/// Creates the missing children: the runner only if the cluster is the job's.
pub(super) async fn make(
    client: &Client,
    job: &ValidatedJob,
    world: &ObservedChildren,
    predecessors: i64,
) -> Result<Made, k8s::Error> {
    let mut made = Made::default();
    if world.cluster == Lookup::Nothing {
        let resource = ApiResource::erase::<DaskCluster>(&());
        let creation = k8s::create(client, &resource, &build_cluster(job), &job.owner.uid).await?;
        made.note(&resource, (creation, field_warnings::JOB_CLUSTER));
    }
    if world.runner == Lookup::Nothing && made.blocked.is_none() {
        let resource = ApiResource::erase::<Pod>(&());
        let creation = k8s::create(client, &resource, &build_runner(job, predecessors), &job.owner.uid).await?;
        made.note(&resource, (creation, field_warnings::RUNNER));
    }
    Ok(made)
}

impl Made {
    fn note(&mut self, resource: &ApiResource, (creation, origin): (Creation, Origin)) {
        match creation {
            Creation::Made(warned) => {
                self.warnings.extend(&warned.map(|warned| origin.of(&warned.warnings)).unwrap_or_default());
            }
            Creation::Stands => {}
            Creation::Foreign(found) => self.blocked = Some(in_the_way(&resource.kind, found.as_ref())),
        }
    }
}

/// Returns whether a retry is useless because the API server rejects the object itself. A rejection by a webhook is
/// not final, since its policies may change.
pub(super) fn is_final(error: &k8s::Error) -> bool {
    error.class() == Class::Rejection && !error.message().contains("admission webhook")
}
