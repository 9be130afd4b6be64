//! Removes workers that are too many or outdated, without losing their data.
//!
//! A worker that is registered with the scheduler is first retired: the scheduler moves its data to other workers and
//! unregisters it. Its Deployment is deleted immediately after that, before the kubelet restarts the process. The
//! scheduler may refuse if a worker holds data that no other worker can take. That worker is kept, and the scheduler
//! is asked to retire another one.

use std::collections::BTreeSet;

use dask_operator_api::{DaskCluster, DaskWorkerGroup, meta};
use jiff::Timestamp;
use kube::ResourceExt as _;
use operator_runtime::k8s;

use super::{
    deletion_order::{self, Candidate, ScaleDownRequest, Scheduler},
    live::LiveReader,
    observe::Observed,
    removal::{Occasion, Removal},
    remover::{RemovalTools, Remover},
    retiring::RetirementRecord,
    validate::ValidatedGroup,
};
use crate::scheduler::{self, SchedulerClients, registered};

/// Returns whether there is anything to remove, according to the caches.
pub(super) fn is_needed(group: &DaskWorkerGroup, valid: &ValidatedGroup, observed: &Observed) -> bool {
    let outdated = || observed.deployments.iter().any(|worker| valid.template.is_outdated(&worker.metadata));
    observed.workers.names.len() > valid.replicas
        || (valid.rolling && outdated())
        || group.annotations().contains_key(meta::RETIRING)
}

/// Removes the workers that should go, as far as that is possible now.
pub(super) async fn remove(
    tools: RemovalTools<'_>,
    group: &DaskWorkerGroup,
    valid: &ValidatedGroup,
    observed: &Observed,
) -> Result<Removal, k8s::Error> {
    let workers = observed.workers.names.len();
    let occasion = Occasion { replicas: valid.replicas, template: valid.template.clone(), workers };
    if let Some(why) = tools.backoff.waiting(&valid.owner.uid, &occasion) {
        return Ok(Removal { waiting: Some(why), unfinished: false });
    }
    // Schedulers that hang must not use up the slots that other groups need.
    let Some(_slot) = tools.scheduler_limiter.try_acquire(&valid.namespace) else {
        return Ok(Removal { waiting: None, unfinished: true });
    };
    let removal = attempt(tools, group, valid, observed).await?;
    if let Some(why) = &removal.waiting {
        tools.backoff.pause(&valid.owner.uid, occasion, why);
    }
    Ok(removal)
}

async fn attempt(
    tools: RemovalTools<'_>,
    group: &DaskWorkerGroup,
    valid: &ValidatedGroup,
    observed: &Observed,
) -> Result<Removal, k8s::Error> {
    let Some(cluster) = observed.cluster.as_deref() else { return Ok(Removal::default()) };
    let Some(live) = LiveReader::new(tools.client, group).live().await? else {
        return Ok(Removal::default());
    };
    let mut candidates = live.candidates(&valid.template, valid.rolling);
    let replicas = usize::try_from(live.group.spec.worker.replicas).unwrap_or(0);
    let surplus = candidates.len().saturating_sub(replicas);
    let demand = ScaleDownRequest { surplus, replicas, max_unavailable: valid.max_unavailable.of(replicas) };
    let retiring = RetirementRecord::of(&live.group);
    let mut remover = Remover { tools, valid, cluster, live, retiring, now: Timestamp::now() };
    if surplus == 0 && !candidates.iter().any(|candidate| candidate.outdated) {
        remover.record(RetirementRecord::default()).await?;
        return Ok(Removal::default());
    }
    let scheduler = ask(tools.schedulers, cluster, observed, &candidates).await;
    for candidate in &mut candidates {
        candidate.standing = deletion_order::standing(&candidate.name, observed.pods_of(&candidate.name), &scheduler);
    }
    remover.execute(candidates, demand, &scheduler).await
}

/// Asks the scheduler about the workers of a group.
async fn ask(
    schedulers: &SchedulerClients,
    cluster: &DaskCluster,
    observed: &Observed,
    candidates: &[Candidate],
) -> Scheduler {
    if !scheduler::is_running(cluster, &observed.scheduler_pods) {
        return Scheduler::Gone;
    }
    let answer = async {
        let client = schedulers.of(cluster).await?;
        let workers = client.workers().await?;
        let names = candidates.iter().map(|candidate| candidate.name.as_str());
        let pods = observed.pods.values().flatten().map(AsRef::as_ref);
        let registered = registered(names, pods, &workers);
        let known: BTreeSet<&str> = registered.values().flatten().map(|worker| worker.address.as_str()).collect();
        let strangers = workers.iter().filter(|worker| !known.contains(worker.address.as_str()));
        let strangers = strangers.filter_map(|worker| worker.host().map(str::to_owned)).collect();
        // An error here is ignored: it is only an order, and a scheduler that is reached by HTTP cannot give one.
        let asked = if registered.is_empty() { 0 } else { workers.len() };
        let order = deletion_order::places(client.closing_order(asked).await.unwrap_or_default());
        Ok(Scheduler::Answers { registered, order, strangers })
    };
    answer.await.unwrap_or_else(Scheduler::Silent)
}
