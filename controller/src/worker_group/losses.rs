//! Remembers how many lost workers each group had in its previous pass, and which of them are known to be gone. Others
//! may only have lost the labels that the watch selects by.

use std::{
    collections::{BTreeSet, HashMap},
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

/// Entries that have not been used for this long belong to groups that were deleted.
const STALE: Duration = Duration::from_hours(1);

/// Numbers of lost workers by the group's uid. After a restart, the first pass over a group only records its number.
#[derive(Debug, Default)]
pub(crate) struct Losses(Mutex<HashMap<String, Entry>>);

#[derive(Debug)]
struct Entry {
    lost: usize,
    /// Workers whose Deployments no longer exist, although their pods still do. Their names are never used again.
    gone: BTreeSet<String>,
    used: Instant,
}

impl Losses {
    /// Records that a group has `lost` workers. Returns whether these are more than in the previous pass.
    pub(super) fn grew(&self, uid: &str, lost: usize, now: Instant) -> bool {
        let mut entries = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if !entries.contains_key(uid) {
            entries.retain(|_, entry| now.saturating_duration_since(entry.used) < STALE);
        }
        let Some(entry) = entries.get_mut(uid) else {
            entries.insert(uid.to_owned(), Entry { lost, gone: BTreeSet::new(), used: now });
            return false;
        };
        entry.used = now;
        std::mem::replace(&mut entry.lost, lost) < lost
    }

    /// Returns those of `missing` workers, which still have pods, that are not known to be gone. What is known of others
    /// is forgotten.
    pub(super) fn doubtful(&self, uid: &str, mut missing: BTreeSet<String>) -> BTreeSet<String> {
        let mut entries = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(entry) = entries.get_mut(uid) {
            entry.gone.retain(|name| missing.contains(name));
            missing.retain(|name| !entry.gone.contains(name));
        }
        missing
    }

    /// Records that the Deployment of a worker does not exist.
    pub(super) fn gone(&self, uid: &str, name: &str) {
        let mut entries = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(entry) = entries.get_mut(uid) {
            entry.gone.insert(name.to_owned());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_deleted_worker_is_looked_up_once_for_as_long_as_it_has_pods() {
        let (losses, now) = (Losses::default(), Instant::now());
        let set = |names: &[&str]| -> BTreeSet<String> { names.iter().map(|name| (*name).to_owned()).collect() };
        losses.grew("uid", 0, now);
        assert_eq!(losses.doubtful("uid", set(&["a", "b"])), set(&["a", "b"]));
        losses.gone("uid", "a");
        assert_eq!(losses.doubtful("uid", set(&["a", "b"])), set(&["b"]));
        assert_eq!(losses.doubtful("uid", set(&[])), set(&[]));
        assert!(losses.0.lock().unwrap()["uid"].gone.is_empty(), "what has no pods takes no room");
    }

    #[test]
    fn losses_grow_only_if_more_workers_are_lost_than_in_the_previous_pass() {
        let (losses, now) = (Losses::default(), Instant::now());
        let grew = [3, 3, 4, 4, 2, 3].map(|lost| losses.grew("uid", lost, now));
        assert_eq!(grew, [false, false, true, false, false, true]);
        assert!(!losses.grew("other", 1, now + STALE));
        assert_eq!(losses.0.lock().unwrap().len(), 1, "what is known of groups that are gone takes no room");
    }
}
