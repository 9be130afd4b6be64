//! How many workers to make and what to call them, so that the count is exact.
//!
//! A worker's name ends in an id of ten hex digits, five from the group's uid and five that count up. So
//! the same decision always gives the same names: a pass that is repeated because its answer was lost,
//! because the cache lags, or because the process was killed half-way, creates nothing twice.

use std::collections::BTreeSet;

use sha2::{Digest as _, Sha256};

/// The id at the end of a worker's name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct WorkerId(String);

impl WorkerId {
    pub(super) fn as_str(&self) -> &str {
        &self.0
    }
}

/// What is known about a group's workers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Workers {
    /// First five hex digits of all ids of this group.
    pub(super) prefix: String,
    /// Names of the Deployments that exist, including those that an older controller named.
    pub(super) names: BTreeSet<String>,
    /// Ids below this index were all seen at some time; such a worker was lost and its name is not used
    /// again, since its pod may still be shutting down under that name in the scheduler.
    pub(super) created: u32,
}

/// What to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Plan {
    /// Workers to make.
    pub(super) create: Vec<WorkerId>,
    /// Workers that are too many.
    pub(super) surplus: usize,
}

/// The first five hex digits of the ids of the group with `uid`: a namesake has others.
pub(super) fn prefix_of(uid: &str) -> String {
    hex::encode(Sha256::digest(uid))[..5].to_owned()
}

impl Workers {
    /// [`Workers::created`] after looking at the workers that exist: it advances over each index that is
    /// there, in order, and never over one that was not yet seen.
    pub(super) fn advanced(mut self) -> Self {
        let seen = self.indices();
        while seen.contains(&self.created) {
            self.created += 1;
        }
        self
    }

    /// Whether workers that existed once are missing. If so, a cache that lags looks the same, and the API
    /// server has to be asked before new names are chosen.
    pub(super) fn misses_known(&self) -> bool {
        let seen = self.indices();
        (0..self.created).any(|index| !seen.contains(&index))
    }

    fn indices(&self) -> BTreeSet<u32> {
        let index_of = |name: &String| {
            let (_, id) = name.rsplit_once('-')?;
            u32::from_str_radix(id.strip_prefix(&self.prefix)?, 16).ok()
        };
        self.names.iter().filter_map(index_of).collect()
    }

    fn id(&self, index: u32) -> WorkerId {
        WorkerId(format!("{}{index:05x}", self.prefix))
    }
}

/// Names for as many workers as are missing: the lowest indices that are neither there nor were before.
pub(super) fn plan(replicas: usize, workers: &Workers) -> Plan {
    let seen = workers.indices();
    let missing = replicas.saturating_sub(workers.names.len());
    let free = (workers.created..).filter(|index| !seen.contains(index));
    Plan {
        create: free.take(missing).map(|index| workers.id(index)).collect(),
        surplus: workers.names.len().saturating_sub(replicas),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn workers(indices: &[u32], created: u32) -> Workers {
        let names = indices.iter().map(|index| format!("demo-default-worker-abcde{index:05x}")).collect();
        Workers { prefix: "abcde".to_owned(), names, created }
    }

    fn created(replicas: usize, workers: &Workers) -> Vec<String> {
        plan(replicas, workers).create.into_iter().map(|id| id.0).collect()
    }

    #[test]
    fn ids_are_ten_hex_digits() {
        let prefix = prefix_of("7d1f7c4e-5d3a-4a39-9c3a-0d2c5f3b8a11");
        let group = Workers { prefix, ..Workers::default() };
        let ids = created(2, &group);
        assert!(ids.iter().all(|id| id.len() == 10 && id.bytes().all(|c| c.is_ascii_hexdigit())), "{ids:?}");
        assert_ne!(prefix_of("a"), prefix_of("b"));
    }

    #[test]
    fn the_same_observation_always_gives_the_same_names() {
        assert_eq!(created(2, &workers(&[], 0)), ["abcde00000", "abcde00001"]);
        assert_eq!(created(2, &workers(&[], 0)), ["abcde00000", "abcde00001"]);
    }

    /// The watch delivers what was created in parallel in any order. Taking the holes for lost workers
    /// would create too many.
    #[test]
    fn workers_that_the_cache_has_not_seen_yet_are_named_again_and_not_replaced() {
        let lagging = workers(&[0, 2, 4], 0).advanced();
        assert_eq!(lagging.created, 1);
        assert_eq!(created(5, &lagging), ["abcde00001", "abcde00003"]);
    }

    #[test]
    fn a_lost_worker_is_replaced_under_a_new_name() {
        let settled = workers(&[0, 1, 2], 0).advanced();
        assert_eq!(settled.created, 3);
        let lost = workers(&[0, 2], settled.created);
        assert!(lost.misses_known());
        assert_eq!(created(3, &lost), ["abcde00003"]);
    }

    #[test]
    fn workers_of_an_older_controller_count() {
        let mut group = workers(&[], 0);
        group.names.insert("demo-default-worker-0123456789".to_owned());
        assert_eq!(created(2, &group), ["abcde00000"]);
        assert!(!group.misses_known());
    }

    #[test]
    fn surplus_is_reported() {
        let plan = plan(1, &workers(&[0, 1, 2], 3));
        assert_eq!((plan.create.len(), plan.surplus), (0, 2));
    }
}
