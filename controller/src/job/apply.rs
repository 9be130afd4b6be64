//! Creates and deletes a job's cluster with what belongs to it, and its runner.

use dask_operator_api::{DaskAutoscaler, DaskCluster, DaskJob, DaskWorkerGroup};
use k8s_openapi::api::core::v1::Pod;
use kube::{
    Api, Client, Resource, ResourceExt as _,
    api::{ObjectMeta, PartialObjectMeta},
    core::{ApiResource, PartialObjectMetaExt as _},
};
use operator_runtime::{
    k8s::{self, Class, Creation, Warnings},
    rejection::Rejection,
};
use serde_json::{Value, json};

use super::{
    build::{build_cluster, build_extra, build_runner},
    children::{Lookup, ObservedChildren, Scaled, ScaledKind},
    extras::Extra,
    next::Next,
    observe::in_the_way,
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
    for scaled in &next.remove_workers {
        results.push(remove_workers(client, &namespace, scaled).await);
    }
    results.into_iter().collect()
}

/// The result of [`make`] and [`make_extras`].
#[derive(Debug, Default)]
pub(super) struct Made {
    /// What blocks a child, if its name is taken.
    pub(super) blocked: Option<Rejection>,
    /// What the API server warned about when it created the children, in terms of the job.
    pub(super) warnings: Warnings,
}

/// An object to create.
struct NewChild<'a> {
    manifest: &'a Value,
    /// The uid of the object that is to control it.
    owner: &'a str,
    origin: Origin,
}

/// Deletes an autoscaler, or scales a worker group to 0. The job has ended, so that what its workers hold is not needed:
/// the scheduler is asked to move it, but cannot refuse for long.
async fn remove_workers(client: &Client, namespace: &str, scaled: &Scaled) -> Result<(), k8s::Error> {
    match scaled.kind {
        ScaledKind::Autoscaler => {
            let api: Api<DaskAutoscaler> = Api::namespaced(client.clone(), namespace);
            k8s::delete(&api, &scaled.name, &scaled.uid).await
        }
        ScaledKind::WorkerGroup => {
            let api: Api<PartialObjectMeta<DaskWorkerGroup>> = Api::namespaced(client.clone(), namespace);
            let (name, uid) = (Some(scaled.name.clone()), Some(scaled.uid.clone()));
            let group = ObjectMeta { name, uid, ..ObjectMeta::default() }.into_request_partial();
            let patch = json!({"spec": {"worker": {"replicas": 0, "retireDeadlineSeconds": 1}}});
            match k8s::merge(&api, &group, patch).await {
                // It is gone, or one of the same name was created.
                Err(error) if matches!(error.class(), Class::NotFound | Class::Conflict) => Ok(()),
                result => result.map(|_| ()),
            }
        }
    }
}

/// Creates the missing children: the runner only if the cluster is the job's.
pub(super) async fn make(
    client: &Client,
    job: &ValidatedJob,
    world: &ObservedChildren,
    predecessors: i64,
) -> Result<Made, k8s::Error> {
    let (mut made, owner) = (Made::default(), job.owner.uid.as_str());
    if world.cluster == Lookup::Nothing {
        let manifest = build_cluster(job);
        let child = NewChild { manifest: &manifest, owner, origin: field_warnings::JOB_CLUSTER };
        made.create::<DaskCluster>(client, job, child).await?;
    }
    if world.runner == Lookup::Nothing && made.blocked.is_none() {
        let manifest = build_runner(job, predecessors);
        let child = NewChild { manifest: &manifest, owner, origin: field_warnings::RUNNER };
        made.create::<Pod>(client, job, child).await?;
    }
    Ok(made)
}

/// Creates what the job's spec adds to its cluster. One that fails does not stop the others.
pub(super) async fn make_extras(
    client: &Client,
    job: &ValidatedJob,
    cluster: &str,
    extras: &[Extra],
) -> Result<Made, k8s::Error> {
    let (mut made, mut failed) = (Made::default(), None);
    for extra in extras {
        let Some(manifest) = build_extra(job, Some(cluster), extra) else { continue };
        let child = |origin| NewChild { manifest: &manifest, owner: cluster, origin };
        let created = match extra {
            Extra::WorkerGroup(_) => {
                made.create::<DaskWorkerGroup>(client, job, child(field_warnings::JOB_WORKER_GROUP)).await
            }
            Extra::Autoscaler => {
                made.create::<DaskAutoscaler>(client, job, child(field_warnings::JOB_AUTOSCALER)).await
            }
        };
        failed = failed.or_else(|| created.err());
    }
    failed.map_or(Ok(made), Err)
}

impl Made {
    /// Creates the object unless it exists, and notes what blocks it or what the API server warns about.
    async fn create<K: Resource<DynamicType = ()>>(
        &mut self,
        client: &Client,
        job: &ValidatedJob,
        child: NewChild<'_>,
    ) -> Result<(), k8s::Error> {
        let resource = ApiResource::erase::<K>(&());
        match k8s::create(client, &resource, child.manifest, child.owner).await? {
            Creation::Made(warned) => {
                self.warnings.extend(&warned.map(|warned| child.origin.of(&warned.warnings)).unwrap_or_default());
            }
            Creation::Foreign(found) if self.blocked.is_none() => {
                self.blocked = Some(in_the_way(&resource.kind, &job.name, found.as_ref()));
            }
            Creation::Stands | Creation::Foreign(_) => {}
        }
        Ok(())
    }
}

/// Returns whether a retry is useless because the API server rejects the object itself. A rejection by a webhook is
/// not final, since its policies may change.
pub(super) fn is_final(error: &k8s::Error) -> bool {
    error.class() == Class::Rejection && !error.message().contains("admission webhook")
}
