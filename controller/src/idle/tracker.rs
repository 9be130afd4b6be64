//! Keeps the idle period of each cluster between probes.

use std::{
    collections::HashMap,
    sync::{Mutex, MutexGuard, PoisonError},
};

use jiff::{SignedDuration, Timestamp};
use operator_runtime::moment::Moment;

use super::decide::{IdleDecision, IdlePeriod, Probe, Rules};

/// Entries that have not been used for this long belong to clusters that were deleted.
const STALE: SignedDuration = SignedDuration::from_mins(10);

/// Idle periods of the clusters that have an idle time-out, by their uid.
#[derive(Debug, Default)]
pub(crate) struct IdleTracker {
    entries: Mutex<HashMap<String, Entry>>,
}

#[derive(Debug)]
struct Entry {
    watched: IdlePeriod,
    /// The time of the last use, by the steady clock.
    used: SignedDuration,
}

impl IdleTracker {
    pub(super) fn take_in(
        &self,
        uid: &str,
        probe: &Probe,
        not_before: Timestamp,
        (rules, now): (&Rules, Moment),
    ) -> IdleDecision {
        let mut entries = self.lock();
        if !entries.contains_key(uid) {
            entries.retain(|_, entry| now.steady - entry.used < STALE);
        }
        let entry =
            entries.entry(uid.to_owned()).or_insert_with(|| Entry { watched: IdlePeriod::default(), used: now.steady });
        entry.used = now.steady;
        entry.watched.take_in(probe, not_before, rules, now)
    }

    pub(super) fn forget(&self, uid: &str) {
        self.lock().remove(uid);
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, Entry>> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_of_deleted_clusters_are_evicted_when_a_new_one_is_added() {
        let memory = IdleTracker::default();
        let look = |uid: &str, second: i64| {
            let now = Moment { wall: Timestamp::UNIX_EPOCH, steady: SignedDuration::from_secs(second) };
            memory.take_in(uid, &Probe::NotReady, now.wall, (&Rules::default(), now));
        };
        look("gone", 0);
        look("forgotten", 500);
        look("here", 500);
        memory.forget("forgotten");
        look("new", 700);
        let mut uids: Vec<String> = memory.lock().keys().cloned().collect();
        uids.sort();
        assert_eq!(uids, ["here", "new"]);
    }
}
