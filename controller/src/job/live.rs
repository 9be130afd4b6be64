//! Reads a job and its children from the API server, before anything is written: a stale cache must hide neither the end
//! of a job nor an existing runner.

use dask_operator_api::{DaskCluster, DaskJob, meta};
use kube::{Api, Client, ResourceExt as _};
use operator_runtime::k8s;

use super::{children::ObservedChildren, observe};
use crate::{caches::Caches, view::PodView};

/// A job and its children, read from the API server.
#[derive(Debug)]
pub(super) struct Live {
    pub(super) job: DaskJob,
    pub(super) children: ObservedChildren,
}

/// Returns the job and its children, read from the API server. `None` if the job is gone. Worker groups and autoscalers
/// are read from the caches: what is done to them may be repeated.
pub(super) async fn live(client: &Client, job: &DaskJob, caches: &Caches) -> Result<Option<Live>, k8s::Error> {
    let (namespace, name) = (job.namespace().unwrap_or_default(), job.name_any());
    let runner_name = meta::runner_name(&name);
    let jobs: Api<DaskJob> = Api::namespaced(client.clone(), &namespace);
    let clusters: Api<DaskCluster> = Api::namespaced(client.clone(), &namespace);
    let pods: Api<PodView> = Api::namespaced(client.clone(), &namespace);
    // The children are read last: they must not be older than the job's status.
    let found = k8s::timed("get", &name, jobs.get_opt(&name)).await?;
    let is_same = |found: &DaskJob| found.uid() == job.uid() && found.metadata.deletion_timestamp.is_none();
    let Some(current) = found.filter(is_same) else {
        return Ok(None);
    };
    let (cluster, runner) = tokio::try_join!(
        k8s::timed("get", &name, clusters.get_opt(&name)),
        k8s::timed("get", &runner_name, pods.get_opt(&runner_name)),
    )?;
    let children = observe::world(&current, cluster.as_ref(), runner.as_ref(), caches);
    Ok(Some(Live { job: current, children }))
}
