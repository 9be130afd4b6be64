//! Decides which workers are removed when there are too many, or when their template is outdated.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BTreeSet, HashMap},
};

use jiff::Timestamp;

use super::retiring::RetirementRecord;
use crate::view::PodView;

/// The cost of removing a worker. Workers with lower cost are removed first.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum RemovalCost {
    /// Its pod is not assigned to a node.
    NotScheduled,
    /// Its pod is assigned to a node, but the worker is not registered with the scheduler.
    NotRegistered,
    /// It is registered with the scheduler.
    Registered {
        /// Its position in the order in which the scheduler would close workers: idle ones come first.
        rank: usize,
        /// The addresses of its processes.
        addresses: Vec<String>,
    },
    /// It may be working, but the scheduler cannot be asked about it.
    Unknown,
}

/// A worker that may be removed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Candidate {
    pub(super) name: String,
    pub(super) uid: String,
    pub(super) created: Option<Timestamp>,
    /// Whether it was created from an older template.
    pub(super) outdated: bool,
    pub(super) standing: RemovalCost,
}

/// How many workers to remove.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct ScaleDownRequest {
    /// The number of workers above `replicas`.
    pub(super) surplus: usize,
    /// The wanted number.
    pub(super) replicas: usize,
    /// The number of workers that may be missing while outdated ones are replaced.
    pub(super) max_unavailable: usize,
}

/// The scheduler's information about the workers.
#[derive(Clone, Debug)]
pub(super) enum Scheduler {
    /// The scheduler does not run: there are no results that could be lost.
    Gone,
    /// The scheduler should run but does not answer.
    Silent(dask_scheduler_client::Error),
    /// The scheduler answered.
    Answers {
        /// Processes by worker.
        registered: BTreeMap<String, Vec<dask_scheduler_client::Worker>>,
        /// The position of each address in the order in which the scheduler would close them; empty if it gave no
        /// order.
        order: HashMap<String, usize>,
        /// Hosts of processes that belong to no known worker.
        strangers: BTreeSet<String>,
    },
}

/// Returns the position of each address. An address that occurs twice has its first position.
pub(super) fn places(addresses: Vec<String>) -> HashMap<String, usize> {
    addresses.into_iter().enumerate().rev().map(|(place, address)| (address, place)).collect()
}

/// Returns the cost of removing the worker `name` with `pods`.
pub(super) fn standing(name: &str, pods: &[impl AsRef<PodView>], scheduler: &Scheduler) -> RemovalCost {
    if let Scheduler::Answers { registered, order, .. } = scheduler
        && let Some(processes) = registered.get(name)
    {
        let addresses: Vec<String> = processes.iter().map(|process| process.address.clone()).collect();
        // A pod is as busy as its busiest process. A process that the scheduler would not close comes last.
        let place = |address: &String| order.get(address).copied().unwrap_or(usize::MAX);
        if order.is_empty() {
            let tasks = processes.iter().map(|process| process.processing).fold(0, u64::saturating_add);
            return RemovalCost::Registered { rank: usize::try_from(tasks).unwrap_or(usize::MAX), addresses };
        }
        return RemovalCost::Registered { rank: addresses.iter().map(place).max().unwrap_or(usize::MAX), addresses };
    }
    let mut pods = pods.iter().map(AsRef::as_ref);
    let may_work = match scheduler {
        Scheduler::Gone => false,
        // If the scheduler is unreachable, the watch of pods may be out of date as well.
        Scheduler::Silent(_) => pods.len() == 0 || pods.clone().any(PodView::is_running),
        Scheduler::Answers { strangers, .. } => pods.clone().any(|pod| {
            pod.is_running() && pod.status.pod_ip.as_ref().is_some_and(|address| strangers.contains(address))
        }),
    };
    if may_work {
        RemovalCost::Unknown
    } else if pods.all(|pod| pod.spec.node_name.is_none()) {
        RemovalCost::NotScheduled
    } else {
        RemovalCost::NotRegistered
    }
}

/// Returns the `candidates` to remove now. Workers that were chosen before come first, since they may have lost their
/// data already. Then the cheapest come first; of equally expensive ones, the youngest. Of registered workers, those
/// that could not be retired before come last. Outdated workers are removed as far as
/// [`ScaleDownRequest::max_unavailable`] allows; unregistered ones do no work, so they are always removed.
pub(super) fn choose<'a>(
    candidates: &'a [Candidate],
    before: &RetirementRecord,
    demand: ScaleDownRequest,
) -> Vec<&'a Candidate> {
    let mut ordered: Vec<&Candidate> = candidates.iter().collect();
    ordered.sort_by_key(|candidate| {
        let new = !before.workers.contains(&candidate.name);
        let class = (class(&candidate.standing), before.kept.contains_key(&candidate.name));
        (new, class, rank(&candidate.standing), !candidate.outdated, Reverse(candidate.created))
    });
    let surplus = demand.surplus.min(ordered.len());
    let rest = ordered.split_off(surplus);
    let mut victims = ordered;
    let registered = |candidate: &&&Candidate| matches!(candidate.standing, RemovalCost::Registered { .. });
    let connected = rest.iter().filter(registered).count();
    let mut budget = demand.max_unavailable.saturating_sub(demand.replicas.saturating_sub(connected));
    for candidate in rest.into_iter().filter(|candidate| candidate.outdated) {
        match candidate.standing {
            RemovalCost::NotScheduled | RemovalCost::NotRegistered => victims.push(candidate),
            RemovalCost::Registered { .. } if budget > 0 => {
                budget -= 1;
                victims.push(candidate);
            }
            RemovalCost::Registered { .. } | RemovalCost::Unknown => {}
        }
    }
    victims
}

fn class(standing: &RemovalCost) -> u8 {
    match standing {
        RemovalCost::NotScheduled => 0,
        RemovalCost::NotRegistered => 1,
        RemovalCost::Registered { .. } => 2,
        RemovalCost::Unknown => 3,
    }
}

fn rank(standing: &RemovalCost) -> usize {
    match standing {
        RemovalCost::Registered { rank, .. } => *rank,
        _ => 0,
    }
}

#[cfg(test)]
mod tests;
