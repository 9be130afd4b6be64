//! Asks the scheduler how many workers it needs.

use dask_operator_api::DaskWorkerGroup;
use jiff::Timestamp;
use kube::ResourceExt as _;

use super::{
    count::{Group, count_all, to_i64},
    decide::ScalingInput,
    validate::Validated,
};
use crate::{
    caches::{Caches, cluster_key},
    scheduler::SchedulerClients,
};

/// Asks the scheduler, and combines its answer with the caches.
pub(super) async fn ask(
    schedulers: &SchedulerClients,
    caches: &Caches,
    valid: &Validated,
    now: Timestamp,
) -> Result<ScalingInput, dask_scheduler_client::Error> {
    let client = schedulers.of(&valid.cluster).await?;
    let (workers, target) = futures::try_join!(client.workers(), client.desired_workers())?;
    let key = cluster_key(&valid.namespace, &valid.cluster.name_any());
    let others = caches.groups.indexed(&key);
    let others = others.iter().filter(|group| group.uid() != valid.group.uid());
    let groups: Vec<Group> = std::iter::once(&valid.group).chain(others).map(|group| seen(caches, group)).collect();
    let mut counts = count_all(&groups, &workers, now).into_iter();
    let own = counts.next().unwrap_or_default();
    let starting = counts.map(|other| other.expected() - other.processes).fold(0, i64::saturating_add);
    Ok(ScalingInput {
        current: valid.group.spec.worker.replicas.max(0),
        connected: own.connected,
        starting: own.starting,
        per_worker: own.per_worker,
        // Workers that belong to no group are counted as well: users may have started some by hand.
        elsewhere: (to_i64(workers.len()) - own.processes).saturating_add(starting),
        target: i64::try_from(target).unwrap_or(i64::MAX),
    })
}

fn seen(caches: &Caches, group: &DaskWorkerGroup) -> Group {
    Group {
        replicas: group.spec.worker.replicas.max(0),
        deployments: caches.workers.indexed(&group.uid().unwrap_or_default()),
        pods: caches.worker_pods(&group.namespace().unwrap_or_default(), &group.name_any()),
    }
}
