//! How many workers each group had lost when it was last looked at. More of them, without anybody having removed one, may
//! be workers that only lost the label by which they are watched.

use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

/// Entries that nobody looked at for so long belong to groups that are gone.
const STALE: Duration = Duration::from_hours(1);

/// Lost workers by the group's uid. After a restart the first look at a group counts as the last one.
#[derive(Debug, Default)]
pub struct Losses(Mutex<HashMap<String, Entry>>);

#[derive(Debug)]
struct Entry {
    lost: usize,
    used: Instant,
}

impl Losses {
    /// Takes in that a group lost so many workers; whether these are more than before.
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
