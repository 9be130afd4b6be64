//! Finds workers that the caches do not contain, because they lost labels. By the caches alone, they would be replaced, and
//! keep running beside their replacements.

use std::time::Instant;

use dask_operator_api::{
    DaskWorkerGroup,
    meta::{self, component},
};
use futures::{StreamExt as _, stream};
use kube::{ResourceExt as _, api::ObjectMeta};
use operator_runtime::k8s;

use super::{
    live::LiveReader,
    losses::Losses,
    observe::{Observed, is_going},
    scale::{SLICE, is_of_group},
};
use crate::view::DeploymentView;

/// Number of Deployments that are read concurrently.
const PARALLEL: usize = 8;

/// Adds workers that lost labels to `observed`. The API server is asked only if workers may have.
pub(super) async fn add(observed: &mut Observed, reader: &LiveReader<'_>, losses: &Losses) -> Result<(), k8s::Error> {
    let group = reader.group;
    let (name, uid) = (group.name_any(), group.uid().unwrap_or_default());
    let workers = &mut observed.workers;
    let lost = workers.lost();
    let vanished = losses.grew(&uid, lost, Instant::now());
    let count = i64::try_from(workers.names.len()).unwrap_or(i64::MAX);
    let wanted = group.spec.worker.replicas.max(0);
    let mut strays = Vec::new();
    if lost > 0 && (count < wanted || (vanished && count == wanted)) {
        let live = reader.workers().await?;
        // The list selects by another label than the watch: each contains the workers that lost the other's label.
        let deployments = &observed.deployments;
        let unlisted = deployments.iter().filter(|worker| !is_going(&worker.metadata) && !is_listed(worker, group));
        let live_names = live.iter().filter_map(|worker| worker.name.clone());
        workers.names = live_names.chain(unlisted.map(|worker| worker.name_any())).collect();
        strays = live.into_iter().filter(|worker| is_stray(worker, &name, &workers.prefix)).collect();
    }
    strays.extend(unwatched(observed, reader, losses).await?);
    let workers = &mut observed.workers;
    workers.names.extend(strays.iter().filter_map(|worker| worker.name.clone()));
    *workers = std::mem::take(workers).advanced();
    losses.grew(&uid, workers.lost(), Instant::now());
    observed.strays = strays;
    Ok(())
}

/// Returns the Deployments of workers that have pods but are not among the observed workers, because they lost all labels
/// by which they are watched and listed.
async fn unwatched(
    observed: &Observed,
    reader: &LiveReader<'_>,
    losses: &Losses,
) -> Result<Vec<ObjectMeta>, k8s::Error> {
    let (workers, name) = (&observed.workers, reader.group.name_any());
    let uid = reader.group.uid().unwrap_or_default();
    let running = observed.all_pods.iter().filter(|pod| !is_going(&pod.metadata) && !pod.has_ended());
    let missing = running
        .filter_map(|pod| pod.deployment())
        .filter(|worker| is_of_group(worker, &name, &workers.prefix) && !workers.names.contains(*worker))
        .map(str::to_owned)
        .collect();
    let doubtful = losses.doubtful(&uid, missing);
    let get = |worker: String| async move { (reader.worker(&worker).await, worker) };
    let mut answers = stream::iter(doubtful.into_iter().take(SLICE).map(get)).buffered(PARALLEL);
    let mut found = Vec::new();
    while let Some((answer, worker)) = answers.next().await {
        match answer? {
            Some(metadata) => found.push(metadata),
            None => losses.gone(&uid, &worker),
        }
    }
    Ok(found)
}

/// Returns whether the worker has the label that workers are listed by.
fn is_listed(worker: &DeploymentView, group: &DaskWorkerGroup) -> bool {
    worker.labels().get(meta::WORKER_GROUP) == group.metadata.name.as_ref()
}

/// Returns whether a worker lost the label that workers are watched by, and was created for the group by this program.
/// Owner references alone prove nothing: every user may write them.
fn is_stray(worker: &ObjectMeta, group: &str, prefix: &str) -> bool {
    let component = worker.labels.as_ref().and_then(|labels| labels.get(meta::COMPONENT));
    component.is_none_or(|component| component != component::WORKER)
        && worker.name.as_deref().is_some_and(|name| is_of_group(name, group, prefix))
}
