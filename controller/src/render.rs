//! `dask-operator render`: renders what a plugin's responses lead to, with what the reconcilers create for Dask resources.

use std::{io::Write, sync::Arc};

use dask_operator_api::{DaskCluster, DaskJob, DaskWorkerGroup, WorkerAllocation};
use operator_runtime::rejection::Rejection;
use serde_json::Value;

use crate::{args::RenderArgs, cluster, defaults::Defaults, job, worker_group};
pub use dask_plugin_engine::render::Error;
use dask_plugin_engine::render::{self, DaskManifests, RenderOptions};

/// The source of the manifests that the reconcilers create.
struct Reconcilers;

impl DaskManifests for Reconcilers {
    fn of_job(&self, job: &DaskJob, cluster_domain: &str) -> Result<Vec<Value>, Rejection> {
        job::manifests(job, cluster_domain)
    }

    fn of_cluster(&self, cluster: &DaskCluster) -> Result<Vec<Value>, Rejection> {
        Ok(cluster::manifests(cluster)?.to_vec())
    }

    fn of_group(
        &self,
        group: &DaskWorkerGroup,
        cluster: Option<Arc<DaskCluster>>,
        cluster_domain: &str,
    ) -> Result<Vec<Value>, Rejection> {
        let allocation = WorkerAllocation { batch_size: None, delay_seconds: None };
        let defaults = Defaults { cluster_domain: cluster_domain.to_owned(), allocation, scheduler_ip: None };
        worker_group::manifests(group, cluster, &defaults)
    }
}

/// Writes children to `out` as one YAML stream and rejections to `err`, one per line. Returns whether nothing was
/// rejected.
///
/// # Errors
/// Fails if nothing can be rendered. The message is one sentence.
pub async fn render(args: &RenderArgs, out: &mut impl Write, err: &mut impl Write) -> Result<bool, Error> {
    let args = args.clone();
    let options = RenderOptions {
        plugin: args.plugin,
        files: args.files,
        endpoint: args.endpoint,
        answer: args.answer,
        requests: args.requests,
        namespace: args.namespace,
        operator_namespace: args.operator_namespace,
        cluster_domain: args.cluster_domain,
    };
    render::render(&options, &Reconcilers, out, err).await
}

#[cfg(test)]
mod tests;
