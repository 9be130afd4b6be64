//! Keeps the Events about blocked jobs from being repeated.

use std::{
    collections::{BTreeMap, HashSet},
    sync::{Mutex, MutexGuard, PoisonError},
};

/// Up to this number of entries, no check is made whether their jobs still exist.
const ROOM: usize = 64;

/// The reason that was last reported for each blocked job. A DaskJob has no conditions that could record it, because
/// clients compare the keys of its status. So an Event may be repeated once after a restart.
pub(super) struct EventDedup(Mutex<Content>);

struct Content {
    /// Reasons by the job's uid.
    reasons: BTreeMap<String, &'static str>,
    /// At this number of entries, those of deleted jobs are evicted. It doubles, so that the cost of checking stays
    /// low for each entry.
    room: usize,
}

impl EventDedup {
    pub(super) const fn new() -> Self {
        Self(Mutex::new(Content { reasons: BTreeMap::new(), room: ROOM }))
    }

    /// Returns whether `reason` is new for the job with `uid`, and records it. `existing` returns the uids of all
    /// jobs, and is called rarely.
    pub(super) fn is_news(&self, uid: &str, reason: &'static str, existing: impl FnOnce() -> HashSet<String>) -> bool {
        let mut told = self.lock();
        if told.reasons.get(uid) == Some(&reason) {
            return false;
        }
        if told.reasons.len() >= told.room {
            let existing = existing();
            told.reasons.retain(|uid, _| existing.contains(uid));
            told.room = (told.reasons.len() * 2).max(ROOM);
        }
        told.reasons.insert(uid.to_owned(), reason);
        true
    }

    /// Removes the entry of a job that is no longer blocked.
    pub(super) fn forget(&self, uid: &str) {
        self.lock().reasons.remove(uid);
    }

    fn lock(&self) -> MutexGuard<'_, Content> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_reason_is_news_once_until_it_is_forgotten() {
        let told = EventDedup::new();
        let all_exist = HashSet::new; // Not called for so few entries.
        assert!(told.is_news("a", "Forbidden", all_exist));
        assert!(!told.is_news("a", "Forbidden", all_exist));
        assert!(told.is_news("b", "Forbidden", all_exist), "another job");
        assert!(told.is_news("a", "NameTaken", all_exist), "another reason");
        told.forget("a");
        assert!(told.is_news("a", "NameTaken", all_exist));
    }

    #[test]
    fn what_is_remembered_of_jobs_that_are_gone_does_not_grow() {
        let told = EventDedup::new();
        for number in 0..10 * ROOM {
            let here = || HashSet::from(["here".to_owned()]);
            assert!(told.is_news(if number == 0 { "here" } else { "gone" }, "Forbidden", here) || number > 1);
            assert!(told.is_news(&number.to_string(), "Forbidden", here));
        }
        assert!(told.lock().reasons.len() <= ROOM);
        assert!(!told.is_news("here", "Forbidden", HashSet::new));
    }

    /// Listing all jobs for each of them would take minutes.
    #[test]
    fn thousands_of_jobs_that_wait_are_told_of_at_once() {
        let (told, looks) = (EventDedup::new(), std::cell::Cell::new(0));
        let all: HashSet<String> = (0..100_000).map(|number| number.to_string()).collect();
        for uid in &all {
            let existing = || {
                looks.set(looks.get() + 1);
                all.clone()
            };
            assert!(told.is_news(uid, "Forbidden", existing));
        }
        assert!(looks.get() < 20, "{} looks", looks.get());
    }
}
