//! Keeps the Events about jobs that are blocked or in trouble from being repeated.

use std::{
    collections::{BTreeMap, HashSet},
    sync::{Mutex, MutexGuard, PoisonError},
};

/// Up to this number of entries, no check is made whether their jobs still exist.
const ROOM: usize = 64;

/// What an Event about a job is about. What is reported about one does not make what was reported about another new.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum About {
    /// The creation of the job's children.
    Creation,
    /// The job's cluster.
    Cluster,
    /// The runner.
    Runner,
}

/// The reason that was last reported for each job in trouble. A DaskJob has no conditions that could record it, because
/// clients compare the keys of its status. So an Event may be repeated once after a restart.
pub(super) struct EventDedup(Mutex<Content>);

struct Content {
    /// Reasons by the job's uid.
    reasons: BTreeMap<String, BTreeMap<About, String>>,
    /// At this number of entries, those of deleted jobs are evicted. It doubles, so that the cost of checking stays
    /// low for each entry.
    room: usize,
}

impl EventDedup {
    pub(super) fn new() -> Self {
        Self(Mutex::new(Content { reasons: BTreeMap::new(), room: ROOM }))
    }

    /// Returns whether `reason` is new for the job with `uid`, and records it. `existing` returns the uids of all
    /// jobs, and is called rarely.
    pub(super) fn is_new(
        &self,
        uid: &str,
        about: About,
        reason: &str,
        existing: impl FnOnce() -> HashSet<String>,
    ) -> bool {
        let mut content = self.lock();
        if content.reasons.get(uid).and_then(|reasons| reasons.get(&about)).is_some_and(|known| known == reason) {
            return false;
        }
        if content.reasons.len() >= content.room {
            let existing = existing();
            content.reasons.retain(|uid, _| existing.contains(uid));
            content.room = (content.reasons.len() * 2).max(ROOM);
        }
        content.reasons.entry(uid.to_owned()).or_default().insert(about, reason.to_owned());
        true
    }

    /// Removes the entry of something that is no longer in trouble.
    pub(super) fn forget(&self, uid: &str, about: About) {
        let mut content = self.lock();
        let Some(reasons) = content.reasons.get_mut(uid) else { return };
        reasons.remove(&about);
        if reasons.is_empty() {
            content.reasons.remove(uid);
        }
    }

    /// Removes all entries of a job.
    pub(super) fn forget_all(&self, uid: &str) {
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
    fn the_same_reason_is_new_once_until_it_is_forgotten() {
        use About::{Cluster, Creation};
        let dedup = EventDedup::new();
        let all_exist = HashSet::new; // Not called for so few entries.
        assert!(dedup.is_new("a", Creation, "Forbidden", all_exist));
        assert!(!dedup.is_new("a", Creation, "Forbidden", all_exist));
        assert!(dedup.is_new("b", Creation, "Forbidden", all_exist), "another job");
        assert!(dedup.is_new("a", Cluster, "Forbidden", all_exist), "about something else");
        assert!(!dedup.is_new("a", Creation, "Forbidden", all_exist), "and does not make it new again");
        assert!(dedup.is_new("a", Creation, "NameTaken", all_exist), "another reason");
        dedup.forget("a", Creation);
        assert!(dedup.is_new("a", Creation, "NameTaken", all_exist));
        assert!(!dedup.is_new("a", Cluster, "Forbidden", all_exist));
        dedup.forget_all("a");
        assert!(dedup.is_new("a", Cluster, "Forbidden", all_exist));
    }

    #[test]
    fn entries_of_deleted_jobs_are_evicted() {
        let dedup = EventDedup::new();
        for number in 0..10 * ROOM {
            let here = || HashSet::from(["here".to_owned()]);
            assert!(
                dedup.is_new(if number == 0 { "here" } else { "gone" }, About::Creation, "Forbidden", here)
                    || number > 1
            );
            assert!(dedup.is_new(&number.to_string(), About::Creation, "Forbidden", here));
        }
        assert!(dedup.lock().reasons.len() <= ROOM);
        assert!(!dedup.is_new("here", About::Creation, "Forbidden", HashSet::new));
    }

    /// Listing all jobs for each of them would take minutes.
    #[test]
    fn thousands_of_waiting_jobs_are_reported_without_listing_all_jobs_for_each() {
        let (dedup, looks) = (EventDedup::new(), std::cell::Cell::new(0));
        let all: HashSet<String> = (0..100_000).map(|number| number.to_string()).collect();
        for uid in &all {
            let existing = || {
                looks.set(looks.get() + 1);
                all.clone()
            };
            assert!(dedup.is_new(uid, About::Creation, "Forbidden", existing));
        }
        assert!(looks.get() < 20, "{} looks", looks.get());
    }
}
