//! Limits the number of Events per namespace. Plugins may return different warnings in each response, and those about
//! one namespace must not delay or bury those about others.

use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

/// The number of Events about one namespace that may be published at once …
const BURST: u32 = 50;
/// … and the interval at which further ones may follow.
const PERIOD: Duration = Duration::from_secs(2);

/// The answer to whether an Event may be published.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Room {
    /// It may be published.
    Enough,
    /// It may be published, and the next one may not. The user should be informed of this.
    Last,
    /// It may not be published.
    None,
}

/// The time at which the budget of each namespace is full again. Namespaces with a full budget are left out.
#[derive(Debug, Default)]
pub(crate) struct EventBudget(Mutex<HashMap<String, Instant>>);

impl EventBudget {
    /// Takes an Event from the budget of `namespace`.
    pub(crate) fn take(&self, namespace: &str, now: Instant) -> Room {
        let mut budgets = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let whole_at = budgets.get(namespace).copied().filter(|at| *at > now).unwrap_or(now) + PERIOD;
        let debt = whole_at.duration_since(now);
        if debt > PERIOD * BURST {
            return Room::None;
        }
        if budgets.insert(namespace.to_owned(), whole_at).is_none() {
            budgets.retain(|_, at| *at > now);
        }
        if debt + PERIOD > PERIOD * BURST { Room::Last } else { Room::Enough }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_namespace_that_exhausts_its_budget_gets_one_last_event() {
        let (budget, now) = (EventBudget::default(), Instant::now());
        let rooms: Vec<Room> = (0..100).map(|_| budget.take("flood", now)).collect();
        assert_eq!(rooms.iter().filter(|room| **room == Room::Enough).count(), 49);
        assert_eq!((rooms[49], rooms[50], rooms[99]), (Room::Last, Room::None, Room::None));
        assert_eq!(budget.take("other", now), Room::Enough);
        assert_eq!(budget.take("flood", now + PERIOD), Room::Last, "one more after a while");
        assert_eq!(budget.take("flood", now + PERIOD), Room::None);
    }

    #[test]
    fn namespaces_whose_budget_is_whole_are_forgotten() {
        let (budget, now) = (EventBudget::default(), Instant::now());
        for number in 0..100 {
            assert_eq!(budget.take(&number.to_string(), now), Room::Enough);
        }
        budget.take("later", now + 2 * PERIOD);
        assert_eq!(budget.0.lock().unwrap().len(), 1);
    }
}
