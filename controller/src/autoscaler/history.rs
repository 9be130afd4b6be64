//! Keeps the recent targets of each autoscaler between passes.

use std::{
    collections::HashMap,
    sync::{Mutex, MutexGuard, PoisonError},
};

use jiff::SignedDuration;
use operator_runtime::moment::Moment;

use super::decide::{Decision, RecentTargets, Rules, ScalingInput};

/// Entries that have not been used for this long belong to autoscalers that were deleted.
const STALE: SignedDuration = SignedDuration::from_mins(10);

/// Recent targets by the autoscaler's uid. They are lost on a restart, after which windows start again.
#[derive(Debug, Default)]
pub(crate) struct ScalingHistory {
    entries: Mutex<HashMap<String, Entry>>,
}

#[derive(Debug)]
struct Entry {
    recent: RecentTargets,
    /// The time of the last use, by the steady clock.
    used: SignedDuration,
}

impl ScalingHistory {
    pub(super) fn decide(&self, uid: &str, situation: &ScalingInput, rules: &Rules, now: Moment) -> Decision {
        self.with(uid, now.steady, |recent| recent.decide(situation, rules, now))
    }

    /// Counts a failure to ask the scheduler. Returns whether there were enough in a row to report them.
    pub(super) fn failed(&self, uid: &str, now: Moment) -> bool {
        self.with(uid, now.steady, RecentTargets::failed)
    }

    fn with<T>(&self, uid: &str, now: SignedDuration, run: impl FnOnce(&mut RecentTargets) -> T) -> T {
        let mut entries = self.lock();
        if !entries.contains_key(uid) {
            entries.retain(|_, entry| now - entry.used < STALE);
        }
        let entry =
            entries.entry(uid.to_owned()).or_insert_with(|| Entry { recent: RecentTargets::default(), used: now });
        entry.used = now;
        run(&mut entry.recent)
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, Entry>> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_of_deleted_autoscalers_are_evicted_when_a_new_one_is_added() {
        let memory = ScalingHistory::default();
        let at = |second| Moment { wall: jiff::Timestamp::UNIX_EPOCH, steady: SignedDuration::from_secs(second) };
        memory.failed("gone", at(0));
        memory.failed("here", at(500));
        memory.failed("new", at(700));
        let mut uids: Vec<String> = memory.lock().keys().cloned().collect();
        uids.sort();
        assert_eq!(uids, ["here", "new"]);
    }
}
