//! Decides which owners' statuses are published, and when. Pure.

use std::{
    collections::HashMap,
    time::{Duration, Instant},
};

use crate::model::subject::SubjectKey;

/// The minimum interval between two writes of one owner's status.
pub(super) const MIN_INTERVAL: Duration = Duration::from_secs(1);
/// The maximum number of owners that are published at a time. The others follow in later turns.
const AT_ONCE: usize = 64;

/// When the status of each owner is published.
#[derive(Default)]
pub(super) struct Schedule {
    /// The owners to publish, and when.
    due: HashMap<SubjectKey, Instant>,
    /// When the statuses of owners were published last.
    pub(super) published: HashMap<SubjectKey, Instant>,
}

/// The owners that are due.
pub(super) struct DueOwners {
    pub(super) owners: Vec<SubjectKey>,
    /// When the next ones are due.
    pub(super) next: Option<Instant>,
}

impl Schedule {
    /// Schedules `owner` for `at`, or later if its status was published just before.
    pub(super) fn add(&mut self, owner: SubjectKey, at: Instant) {
        let at = self.published.get(&owner).map_or(at, |published| at.max(*published + MIN_INTERVAL));
        let due = self.due.entry(owner).or_insert(at);
        *due = at.min(*due);
    }

    /// Removes and returns the owners that are due.
    pub(super) fn take_due(&mut self, now: Instant) -> DueOwners {
        self.published.retain(|_, published| *published + MIN_INTERVAL > now);
        let due = self.due.iter().filter(|(_, at)| **at <= now).map(|(owner, at)| (*at, owner.clone()));
        let owners = first_of_each(due.collect());
        for owner in &owners {
            self.due.remove(owner);
            self.published.insert(owner.clone(), now);
        }
        DueOwners { owners, next: self.due.values().min().copied() }
    }
}

/// Returns the first part of `due`. Namespaces take turns, oldest first, so that no namespace waits for all owners of
/// another one.
fn first_of_each(mut due: Vec<(Instant, SubjectKey)>) -> Vec<SubjectKey> {
    due.sort();
    let mut counts: HashMap<String, usize> = HashMap::new();
    let mut numbered: Vec<(usize, SubjectKey)> = Vec::with_capacity(due.len());
    for (_, owner) in due {
        let count = counts.entry(owner.namespace.clone()).or_default();
        numbered.push((*count, owner));
        *count += 1;
    }
    // The sort is stable: the order within a turn stays.
    numbered.sort_by_key(|(count, _)| *count);
    numbered.into_iter().take(AT_ONCE).map(|(_, owner)| owner).collect()
}

#[cfg(test)]
mod tests {
    use dask_operator_api::SubjectKind;

    use super::*;

    fn owner() -> SubjectKey {
        SubjectKey { kind: SubjectKind::DaskCluster, namespace: "ns".to_owned(), name: "demo".to_owned() }
    }

    /// A plugin whose responses change all the time must not cause a write to the API server each time.
    #[test]
    fn changes_within_a_second_are_published_together() {
        let (mut schedule, now) = (Schedule::default(), Instant::now());
        schedule.add(owner(), now);
        assert_eq!(schedule.take_due(now).owners, [owner()]);
        for delay in [100, 500] {
            let later = now + Duration::from_millis(delay);
            schedule.add(owner(), later);
            assert_eq!(schedule.take_due(later).owners, []);
        }
        assert_eq!(schedule.take_due(now + MIN_INTERVAL).owners, [owner()]);
        assert_eq!(schedule.take_due(now + 3 * MIN_INTERVAL).owners, []);
    }

    #[test]
    fn owners_of_a_namespace_with_many_changes_do_not_delay_others() {
        let (mut schedule, now) = (Schedule::default(), Instant::now());
        let in_namespace = |namespace: &str, name: usize| SubjectKey {
            kind: SubjectKind::DaskCluster,
            namespace: namespace.to_owned(),
            name: name.to_string(),
        };
        (0..1000).for_each(|name| schedule.add(in_namespace("flood", name), now));
        let later = now + Duration::from_millis(1);
        schedule.add(in_namespace("other", 0), later);
        let DueOwners { owners: due, next } = schedule.take_due(later);
        assert_eq!(due.len(), AT_ONCE);
        assert_eq!(due[1], in_namespace("other", 0));
        assert_eq!(next, Some(now), "the rest comes at once");
    }
}
