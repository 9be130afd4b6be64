//! Remembers how many lost workers each group had in its previous pass. If the number grew although no worker was
//! removed, some workers may only have lost the label that the watch selects by.

use std::{
    collections::HashMap,
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
    used: Instant,
}

impl Losses {
    /// Records that a group has `lost` workers. Returns whether these are more than in the previous pass.
    pub(super) fn grew(&self, uid: &str, lost: usize, now: Instant) -> bool {
        let mut entries = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if !entries.contains_key(uid) {
            entries.retain(|_, entry| now.saturating_duration_since(entry.used) < STALE);
        }
        let before = entries.insert(uid.to_owned(), Entry { lost, used: now });
        before.is_some_and(|before| before.lost < lost)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_loss_since_the_last_look_is_news() {
        let (losses, now) = (Losses::default(), Instant::now());
        let grew = [3, 3, 4, 4, 2, 3].map(|lost| losses.grew("uid", lost, now));
        assert_eq!(grew, [false, false, true, false, false, true]);
        assert!(!losses.grew("other", 1, now + STALE));
        assert_eq!(losses.0.lock().unwrap().len(), 1, "what is known of groups that are gone takes no room");
    }
}
