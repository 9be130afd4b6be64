//! Decides how many workers to create and how to name them, so that the count is exact. Pure.
//!
//! A worker's name ends in an id of ten hex digits, five from the group's uid and five that count up. So the same
//! decision always gives the same names. A pass creates nothing twice if it is repeated because its answer was lost,
//! because the cache is stale, or because the process was killed half-way.

use std::{collections::BTreeSet, time::Duration};

use dask_operator_api::WorkerAllocation;
use jiff::Timestamp;
use sha2::{Digest as _, Sha256};

/// The most workers that one pass creates, changes or removes, regardless of the number that a group asks for.
pub(super) const SLICE: usize = 256;
/// How soon the next batch is created if no delay is given.
const SHORTEST_STEP: Duration = Duration::from_millis(200);

/// The id at the end of a worker's name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct WorkerId(String);

impl WorkerId {
    pub(super) fn as_str(&self) -> &str {
        &self.0
    }
}

/// The known workers of a group.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Workers {
    /// The first five hex digits of all ids of this group.
    pub(super) prefix: String,
    /// Names of the Deployments that exist, including those that an older controller named.
    pub(super) names: BTreeSet<String>,
    /// Every index below this one has existed at some time. If it no longer exists, the worker was lost. Its name is
    /// not used again, because its pod may still be shutting down under that name in the scheduler.
    pub(super) created: u32,
}

/// Returns the first five hex digits of the ids of the group with `uid`. Another group of the same name has others.
pub(super) fn prefix_of(uid: &str) -> String {
    hex::encode(Sha256::digest(uid))[..5].to_owned()
}

impl Workers {
    /// Advances [`Workers::created`] over each index that exists, in order, and never over one that has not been seen
    /// yet.
    pub(super) fn advanced(mut self) -> Self {
        let seen = self.indices();
        while seen.contains(&self.created)
            && let Some(next) = self.created.checked_add(1)
        {
            self.created = next;
        }
        self
    }

    /// Returns how many workers that existed once are missing. A stale cache looks the same, so if any are missing,
    /// the API server has to be queried before new names are chosen.
    pub(super) fn lost(&self) -> usize {
        let known = self.indices().range(..self.created).count();
        usize::try_from(self.created).unwrap_or(usize::MAX).saturating_sub(known)
    }

    fn indices(&self) -> BTreeSet<u32> {
        self.names.iter().filter_map(|name| index_of(name, &self.prefix)).collect()
    }

    fn id(&self, index: u32) -> WorkerId {
        WorkerId(format!("{}{index:05x}", self.prefix))
    }
}

/// Returns whether `name` is one that this program gives to a worker of the group whose ids begin with `prefix`.
pub(super) fn is_of_group(name: &str, group: &str, prefix: &str) -> bool {
    let rest = name.strip_prefix(group).and_then(|rest| rest.strip_prefix("-worker-"));
    rest.is_some_and(|id| !id.contains('-') && index_of(name, prefix).is_some())
}

fn index_of(name: &str, prefix: &str) -> Option<u32> {
    let (_, id) = name.rsplit_once('-')?;
    u32::from_str_radix(id.strip_prefix(prefix)?, 16).ok()
}

/// Workers to create.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Plan {
    /// Their ids, at most [`SLICE`].
    pub(super) create: Vec<WorkerId>,
    /// Whether more workers are missing, which later passes create.
    pub(super) more: bool,
}

/// Returns ids for missing workers: the lowest indices that neither exist nor existed before.
pub(super) fn plan(replicas: usize, workers: &Workers) -> Plan {
    let seen = workers.indices();
    let missing = replicas.saturating_sub(workers.names.len());
    let free = (workers.created..=u32::MAX).filter(|index| !seen.contains(index));
    let create = free.take(missing.min(SLICE)).map(|index| workers.id(index)).collect();
    Plan { create, more: missing > SLICE }
}

/// The part of a plan that is done now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Batch {
    /// Workers to create now.
    pub(super) create: Vec<WorkerId>,
    /// When the next pass is due, if more workers are missing.
    pub(super) next: Option<Duration>,
}

/// Returns the part of `plan` that `allocation` allows, if workers were created at the times `made`.
pub(super) fn next_batch(
    Plan { mut create, more }: Plan,
    allocation: WorkerAllocation,
    made: impl Iterator<Item = Timestamp>,
    now: Timestamp,
) -> Batch {
    let at_once = more.then_some(Duration::ZERO);
    let size = allocation.batch_size.and_then(|size| usize::try_from(size).ok()).filter(|size| *size > 0);
    let Some(size) = size.filter(|_| !create.is_empty()) else { return Batch { create, next: at_once } };
    let delay = Duration::from_secs(u64::try_from(allocation.delay_seconds.unwrap_or(0)).unwrap_or(0));
    // Ages that are below the delay. A time in the near future comes from another machine's clock. One further ahead
    // means that a clock was set back, and must not stop all creations until that time is reached.
    let recent: Vec<Duration> = made
        .filter(|time| Duration::try_from(time.duration_since(now)).unwrap_or_default() <= delay)
        .map(|time| Duration::try_from(now.duration_since(time)).unwrap_or_default())
        .filter(|age| *age < delay)
        .collect();
    let room = size.saturating_sub(recent.len());
    let rest = create.split_off(room.min(create.len()));
    if rest.is_empty() && room > create.len() {
        return Batch { create, next: at_once };
    }
    let oldest = recent.into_iter().max().filter(|_| room == 0).unwrap_or_default();
    let next = (more || !rest.is_empty()).then(|| delay.saturating_sub(oldest).max(SHORTEST_STEP));
    Batch { create, next }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn batch_at(missing: usize, steps: (i64, i64), made: &[i64], now: i64) -> (usize, Option<u64>) {
        let create = plan(missing, &workers(&[], 0));
        let allocation = WorkerAllocation { batch_size: Some(steps.0), delay_seconds: Some(steps.1) };
        let time = |second: i64| Timestamp::from_second(second).unwrap();
        let batch = next_batch(create, allocation, made.iter().map(|second| time(*second)), time(now));
        (batch.create.len(), batch.next.map(|next| next.as_secs()))
    }

    #[test]
    fn a_batch_is_followed_by_the_next_one_after_the_delay() {
        assert_eq!(batch_at(5, (2, 10), &[], 100), (2, Some(10)));
        assert_eq!(batch_at(3, (2, 10), &[100, 100], 104), (0, Some(6)));
        assert_eq!(batch_at(3, (2, 10), &[100, 100], 110), (2, Some(10)));
        assert_eq!(batch_at(1, (2, 10), &[100, 100, 110, 110], 120), (1, None));
    }

    #[test]
    fn a_worker_that_is_replaced_counts_for_the_batch_too() {
        assert_eq!(batch_at(2, (2, 10), &[95], 100), (1, Some(10)));
    }

    #[test]
    fn without_a_batch_size_all_workers_are_created_at_once() {
        let create = plan(3, &workers(&[], 0));
        let batch = next_batch(create, WorkerAllocation::default(), std::iter::empty(), Timestamp::UNIX_EPOCH);
        assert_eq!((batch.create.len(), batch.next), (3, None));
    }

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

    /// The watch delivers objects that were created in parallel in any order. Taking the gaps for lost workers would
    /// create too many.
    #[test]
    fn workers_that_are_not_in_the_cache_yet_keep_their_names() {
        let lagging = workers(&[0, 2, 4], 0).advanced();
        assert_eq!(lagging.created, 1);
        assert_eq!(created(5, &lagging), ["abcde00001", "abcde00003"]);
    }

    #[test]
    fn a_lost_worker_is_replaced_under_a_new_name() {
        let settled = workers(&[0, 1, 2], 0).advanced();
        assert_eq!(settled.created, 3);
        let lost = workers(&[0, 2], settled.created);
        assert_eq!(lost.lost(), 1);
        assert_eq!(created(3, &lost), ["abcde00003"]);
    }

    #[test]
    fn workers_of_an_older_controller_count() {
        let mut group = workers(&[], 0);
        group.names.insert("demo-default-worker-0123456789".to_owned());
        assert_eq!(created(2, &group), ["abcde00000"]);
        assert_eq!(group.lost(), 0);
    }

    #[test]
    fn a_clock_that_was_set_back_does_not_stop_a_group() {
        assert_eq!(batch_at(2, (2, 10), &[3600, 3600], 0), (2, None));
        assert_eq!(batch_at(2, (2, 10), &[5, 5], 0), (0, Some(10)), "clocks of two machines may differ");
    }

    /// The names alone of this many workers would take more memory than any node has.
    #[test]
    fn a_pass_plans_at_most_one_slice_of_workers() {
        for replicas in [2_147_483_647, usize::MAX] {
            let plan = plan(replicas, &workers(&[], 0));
            assert_eq!((plan.create.len(), plan.more), (SLICE, true));
            let at_once = next_batch(plan, WorkerAllocation::default(), std::iter::empty(), Timestamp::UNIX_EPOCH);
            assert_eq!((at_once.create.len(), at_once.next), (SLICE, Some(Duration::ZERO)));
        }
        assert_eq!(batch_at(1_000_000, (1000, 10), &[], 100), (SLICE, Some(0)), "the batch goes on");
        assert_eq!(batch_at(1_000_000, (256, 10), &[], 100), (SLICE, Some(10)), "the batch is made");
        assert!(!plan(SLICE, &workers(&[], 0)).more);
    }

    #[test]
    fn slices_follow_each_other_without_a_gap() {
        let first = plan(1000, &workers(&[], 0));
        let names = first.create.iter().map(|id| format!("demo-default-worker-{}", id.as_str())).collect();
        let next = Workers { prefix: "abcde".to_owned(), names, created: 0 }.advanced();
        assert_eq!(plan(1000, &next).create[0].as_str(), "abcde00100");
    }

    /// Both numbers can be set by every client that may write the status.
    #[test]
    fn the_last_index_is_followed_by_none() {
        let last = workers(&[u32::MAX], u32::MAX).advanced();
        assert_eq!(last.created, u32::MAX);
        assert!(plan(9, &last).create.is_empty());
        assert_eq!(workers(&[], u32::MAX).lost(), 4_294_967_295);
    }

    #[test]
    fn a_worker_is_known_by_its_name_and_the_groups_uid() {
        let table = [
            ("demo-default-worker-abcde00001", true),
            ("demo-default-worker-abcdf00001", false),
            ("demo-default-worker-abcdexyz", false),
            ("demo-worker-abcde00001", false),
            ("demo-default-worker-x-abcde00001", false),
            ("", false),
        ];
        for (name, expected) in table {
            assert_eq!(is_of_group(name, "demo-default", "abcde"), expected, "{name}");
        }
    }
}
