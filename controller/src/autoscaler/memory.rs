use std::{
    collections::HashMap,
    sync::{Mutex, MutexGuard, PoisonError},
};

use jiff::{SignedDuration, Timestamp};

use super::decide::{Decision, Recent, Rules, Situation};

/// Entries that nobody looked at for so long belong to autoscalers that are gone.
const STALE: SignedDuration = SignedDuration::from_mins(10);

/// What was asked for lately, by the autoscaler's uid. Lost on a restart, after which windows begin anew.
#[derive(Debug, Default)]
pub struct Memory {
    entries: Mutex<HashMap<String, Entry>>,
}

#[derive(Debug)]
struct Entry {
    recent: Recent,
    used: Timestamp,
}

impl Memory {
    pub(super) fn decide(&self, uid: &str, situation: &Situation, rules: &Rules, now: Timestamp) -> Decision {
        self.with(uid, now, |recent| recent.decide(situation, rules, now))
    }

    /// Counts a failure to ask; whether there were enough in a row to tell.
    pub(super) fn failed(&self, uid: &str, now: Timestamp) -> bool {
        self.with(uid, now, Recent::failed)
    }

    fn with<T>(&self, uid: &str, now: Timestamp, run: impl FnOnce(&mut Recent) -> T) -> T {
        let mut entries = self.lock();
        if !entries.contains_key(uid) {
            entries.retain(|_, entry| now.duration_since(entry.used) < STALE);
        }
        let entry = entries.entry(uid.to_owned()).or_insert_with(|| Entry { recent: Recent::default(), used: now });
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
    fn what_was_remembered_of_autoscalers_that_are_gone_goes_when_a_new_one_comes() {
        let memory = Memory::default();
        let at = |second| Timestamp::from_second(second).unwrap();
        memory.failed("gone", at(0));
        memory.failed("here", at(500));
        memory.failed("new", at(700));
        let mut uids: Vec<String> = memory.lock().keys().cloned().collect();
        uids.sort();
        assert_eq!(uids, ["here", "new"]);
    }
}
