//! Keeps the idle period of each cluster between probes.

use std::{
    collections::HashMap,
    sync::{Mutex, MutexGuard, PoisonError},
};

use jiff::SignedDuration;
use operator_runtime::moment::Moment;

use super::decide::IdlePeriod;

/// Entries that have not been used for this long belong to clusters that were deleted.
const STALE: SignedDuration = SignedDuration::from_mins(10);

/// Idle periods of the clusters that have an idle time-out, by their uid.
#[derive(Debug, Default)]
pub(crate) struct IdleTracker {
    entries: Mutex<HashMap<String, Entry>>,
}

#[derive(Debug)]
struct Entry {
    period: IdlePeriod,
    /// The time of the last use, by the steady clock.
    used: SignedDuration,
}

impl IdleTracker {
    /// Calls `run` with the idle period of the cluster with `uid`, and returns what it returns.
    pub(super) fn with<T>(&self, uid: &str, now: Moment, run: impl FnOnce(&mut IdlePeriod) -> T) -> T {
        let mut entries = self.lock();
        if !entries.contains_key(uid) {
            entries.retain(|_, entry| now.steady - entry.used < STALE);
        }
        let entry =
            entries.entry(uid.to_owned()).or_insert_with(|| Entry { period: IdlePeriod::default(), used: now.steady });
        entry.used = now.steady;
        run(&mut entry.period)
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
            let now = Moment { wall: jiff::Timestamp::UNIX_EPOCH, steady: SignedDuration::from_secs(second) };
            memory.with(uid, now, |_| ());
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
