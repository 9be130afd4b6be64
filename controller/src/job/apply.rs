//! Creates and deletes a job's cluster with what belongs to it, and its runner.

use dask_operator_api::{DaskAutoscaler, DaskCluster, DaskJob};
use kube::{Api, Client, ResourceExt as _};
use operator_runtime::{
    k8s::{self, Class, Creation, Warnings},
    rejection::Rejection,
};

use super::{
    build::{Child, build_cluster, build_extra, build_runner},
    children::{Lookup, ObservedChildren, Scaled, ScaledKind},
    extras::Extra,
    next::Next,
    observe::in_the_way,
    validate::{Terms, ValidatedJob},
};
use crate::{
    replicas::{self, Scaling},
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

/// Deletes an autoscaler, or scales a worker group to 0. The job has ended, so that what its workers hold is not needed:
/// the scheduler is asked to move it, but cannot refuse for long.
async fn remove_workers(client: &Client, namespace: &str, scaled: &Scaled) -> Result<(), k8s::Error> {
    match scaled.kind {
        ScaledKind::Autoscaler => {
            let api: Api<DaskAutoscaler> = Api::namespaced(client.clone(), namespace);
            k8s::delete(&api, &scaled.name, &scaled.uid).await
        }
        ScaledKind::WorkerGroup => {
            // If the group is outdated, it is gone, or one of the same name was created.
            replicas::scale(client, Scaling::to_zero(namespace, &scaled.name, &scaled.uid)).await.map(|_| ())
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
        made.create(client, job, owner, &build_cluster(job)).await?;
    }
    if world.runner == Lookup::Nothing && made.blocked.is_none() {
        made.create(client, job, owner, &build_runner(job, predecessors)).await?;
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
        let Some(child) = build_extra(job, Some(cluster), extra) else { continue };
        let created = made.create(client, job, cluster, &child).await;
        failed = failed.or_else(|| created.err());
    }
    failed.map_or(Ok(made), Err)
}

impl Made {
    /// Creates the child, which the object with the uid `owner` is to control, unless it exists. Notes what blocks it or
    /// what the API server warns about.
    async fn create(
        &mut self,
        client: &Client,
        job: &ValidatedJob,
        owner: &str,
        child: &Child,
    ) -> Result<(), k8s::Error> {
        let resource = child.kind.resource();
        match k8s::create(client, &resource, &child.manifest, owner).await? {
            Creation::Made(warned) => {
                let warnings = warned.map(|warned| child.kind.origin().of(&warned.warnings));
                self.warnings.extend(&warnings.unwrap_or_default());
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
