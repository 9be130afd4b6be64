//! Counts how many of a group's workers are registered with the scheduler, and how many may yet be.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use dask_scheduler_client::Worker;
use jiff::{SignedDuration, Timestamp};
use kube::{Resource, ResourceExt as _};

use crate::{
    scheduler,
    view::{DeploymentView, PodView},
};

/// How long a worker that is not registered counts as starting: Kubernetes considers a Deployment failed after this
/// time.
const STARTING: SignedDuration = SignedDuration::from_mins(10);

/// A group as the caches contain it.
#[derive(Debug, Default)]
pub(super) struct Group {
    pub(super) replicas: i64,
    pub(super) deployments: Vec<Arc<DeploymentView>>,
    pub(super) pods: Vec<Arc<PodView>>,
}

/// The counts of one group.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Count {
    /// Workers with at least one registered process.
    pub(super) connected: i64,
    /// Workers that are not registered, but are young or have a young pod.
    pub(super) starting: i64,
    /// Workers that are wanted and have not been created.
    pub(super) missing: i64,
    /// Registered processes.
    pub(super) processes: i64,
    /// The number of processes of the worker that has the most of them registered.
    pub(super) per_worker: Option<i64>,
}

impl Count {
    /// Returns the number of processes that are registered or will be.
    pub(super) fn expected(&self) -> i64 {
        let coming = self.starting.saturating_add(self.missing);
        self.processes.saturating_add(coming.saturating_mul(self.per_worker.unwrap_or(1)))
    }
}

/// Counts the workers of all groups of a cluster together, so that the scheduler's answer is read only once.
pub(super) fn count_all(groups: &[Group], workers: &[Worker], now: Timestamp) -> Vec<Count> {
    let deployments = groups.iter().flat_map(|group| &group.deployments);
    let names = deployments.filter_map(|worker| worker.metadata.name.as_deref());
    let pods = groups.iter().flat_map(|group| &group.pods).map(AsRef::as_ref);
    let registered = scheduler::registered(names, pods, workers);
    groups.iter().map(|group| count(group, &registered, now)).collect()
}

fn count(group: &Group, registered: &BTreeMap<String, Vec<Worker>>, now: Timestamp) -> Count {
    let names = group.deployments.iter().filter_map(|worker| worker.metadata.name.as_deref());
    let processes: Vec<i64> = names.filter_map(|name| Some(to_i64(registered.get(name)?.len()))).collect();
    let young_pods: BTreeSet<&str> =
        group.pods.iter().filter(|pod| is_young(pod.as_ref(), now)).filter_map(|pod| pod.deployment()).collect();
    let is_starting = |worker: &&Arc<DeploymentView>| {
        let name = worker.name_any();
        registered.get(&name).is_none_or(Vec::is_empty)
            && worker.metadata.deletion_timestamp.is_none()
            && (is_young(worker.as_ref(), now) || young_pods.contains(name.as_str()))
    };
    Count {
        connected: to_i64(processes.len()),
        starting: to_i64(group.deployments.iter().filter(is_starting).count()),
        missing: (group.replicas - to_i64(group.deployments.len())).max(0),
        processes: processes.iter().sum(),
        per_worker: processes.into_iter().max(),
    }
}

fn is_young<K: Resource>(object: &K, now: Timestamp) -> bool {
    let created = object.meta().creation_timestamp.as_ref();
    object.meta().deletion_timestamp.is_none()
        && created.is_some_and(|created| now.duration_since(created.0) < STARTING)
}

pub(super) fn to_i64(count: usize) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    fn deployment(name: &str, created: i64) -> Arc<DeploymentView> {
        let metadata = json!({"name": name, "creationTimestamp": at(created).to_string()});
        Arc::new(serde_json::from_value(json!({"metadata": metadata})).unwrap())
    }

    fn pod(worker: &str, created: i64) -> Arc<PodView> {
        let metadata = json!({
            "name": format!("{worker}-abc-xyz"),
            "labels": {"pod-template-hash": "abc"},
            "ownerReferences": [{"apiVersion": "apps/v1", "kind": "ReplicaSet", "uid": "u", "name": format!("{worker}-abc"), "controller": true}],
            "creationTimestamp": at(created).to_string(),
        });
        Arc::new(serde_json::from_value(json!({"metadata": metadata})).unwrap())
    }

    fn worker(name: &str) -> Worker {
        let address = format!("tcp://10.0.0.1:{}", name.len());
        Worker { address, name: name.to_owned(), status: "running".to_owned(), processing: 0 }
    }

    fn counted(group: Group, workers: &[Worker], now: Timestamp) -> Count {
        count_all(&[group], workers, now).remove(0)
    }

    #[test]
    fn workers_are_connected_starting_or_stuck() {
        let deployments = vec![
            deployment("connected", 0),
            deployment("starting", 1900),
            deployment("restarting", 0),
            deployment("stuck", 0),
        ];
        let pods = vec![pod("starting", 1900), pod("restarting", 1950), pod("stuck", 0)];
        let group = Group { replicas: 6, deployments, pods };
        let count = counted(group, &[worker("connected"), worker("other")], at(2000));
        assert_eq!(count, Count { connected: 1, starting: 2, missing: 2, processes: 1, per_worker: Some(1) });
        assert_eq!(count.expected(), 5);
    }

    /// `--nworkers 2`: while processes register one by one, the largest number indicates how many there will be.
    #[test]
    fn several_processes_of_one_worker_count_as_one_worker() {
        let group = Group { replicas: 3, deployments: vec![deployment("a", 0), deployment("b", 0)], pods: Vec::new() };
        let count = counted(group, &[worker("a-0"), worker("a-1"), worker("b-0")], at(9999));
        assert_eq!(count, Count { connected: 2, starting: 0, missing: 1, processes: 3, per_worker: Some(2) });
        assert_eq!(count.expected(), 5);
    }

    #[test]
    fn a_worker_that_is_being_deleted_is_not_starting() {
        let mut leaving = DeploymentView::clone(&deployment("a", 1990));
        leaving.metadata.deletion_timestamp = leaving.metadata.creation_timestamp.clone();
        let group = Group { replicas: 0, deployments: vec![Arc::new(leaving)], pods: Vec::new() };
        assert_eq!(counted(group, &[], at(2000)), Count::default());
    }

    /// Reading the scheduler's answer of a hundred thousand workers again for each group would take too long.
    #[test]
    fn a_thousand_groups_are_counted_together() {
        let group = |number: usize| Group {
            replicas: 1,
            deployments: vec![deployment(&format!("group-{number}"), 0)],
            pods: Vec::new(),
        };
        let groups: Vec<Group> = (0..1000).map(group).collect();
        let workers: Vec<Worker> = (0..100_000).map(|number| worker(&format!("group-{}", number % 2000))).collect();
        let counts = count_all(&groups, &workers, at(9999));
        assert!(counts.iter().all(|count| (count.connected, count.processes) == (1, 50)));
    }

    #[test]
    fn the_largest_numbers_are_no_fault() {
        let most = Count { missing: i64::MAX, starting: 2, processes: 2, per_worker: Some(3), ..Count::default() };
        assert_eq!(most.expected(), i64::MAX);
    }
}
