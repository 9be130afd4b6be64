//! Which workers go when there are too many, or when they are of an old template.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BTreeSet, HashMap},
};

use jiff::Timestamp;

use super::retiring::RetirementRecord;
use crate::view::PodView;

/// What removing a worker would cost; cheaper ones come first.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum RemovalCost {
    /// No node has its pod.
    NotScheduled,
    /// It has a node, and the scheduler does not know it.
    NotRegistered,
    /// The scheduler knows it.
    Registered {
        /// Its place in the order in which the scheduler would close workers: idle ones come first.
        rank: usize,
        /// Its processes.
        addresses: Vec<String>,
    },
    /// It runs, and the scheduler cannot be asked about it.
    Unknown,
}

/// A worker that could go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Candidate {
    pub(super) name: String,
    pub(super) uid: String,
    pub(super) created: Option<Timestamp>,
    /// Made from an older template.
    pub(super) outdated: bool,
    pub(super) standing: RemovalCost,
}

/// What is to go.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct ScaleDownRequest {
    /// Workers above the wanted number.
    pub(super) surplus: usize,
    /// The wanted number.
    pub(super) replicas: usize,
    /// How many of these may be missing while workers are brought up to date.
    pub(super) max_unavailable: usize,
}

/// What the scheduler says about the workers.
#[derive(Clone, Debug)]
pub(super) enum Scheduler {
    /// It does not run: nothing is left that could be lost.
    Gone,
    /// It should run and does not answer.
    Silent(dask_scheduler_client::Error),
    /// It answered.
    Answers {
        /// Processes by worker.
        registered: BTreeMap<String, Vec<dask_scheduler_client::Worker>>,
        /// The place of each address in the order in which it would close them; empty if it did not say.
        order: HashMap<String, usize>,
        /// Where processes run that are no known worker's.
        strangers: BTreeSet<String>,
    },
}

/// The place of each of `addresses`, the first one of those that are named twice.
pub(super) fn places(addresses: Vec<String>) -> HashMap<String, usize> {
    addresses.into_iter().enumerate().rev().map(|(place, address)| (address, place)).collect()
}

/// How the worker `name` with `pods` stands with the scheduler.
pub(super) fn standing(name: &str, pods: &[impl AsRef<PodView>], scheduler: &Scheduler) -> RemovalCost {
    if let Scheduler::Answers { registered, order, .. } = scheduler
        && let Some(processes) = registered.get(name)
    {
        let addresses: Vec<String> = processes.iter().map(|process| process.address.clone()).collect();
        // A pod is as busy as its busiest process, and one that the scheduler would not close comes last.
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
        // The watch of pods may be as silent as the scheduler.
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

/// Those of `candidates` that go now. The ones that were chosen before come first, since they may have lost
/// their data already; then the cheapest, the youngest of equals; of registered ones those last that the
/// scheduler did not let go before. Workers of an old template go as far as
/// [`ScaleDownRequest::max_unavailable`] allows; unregistered ones do no work, so they always go.
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
