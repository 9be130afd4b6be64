//! The memory that the objects of one namespace may take in the caches of all watches.
//!
//! Each object has limits of its own, but a user may store thousands of objects. Without this budget, the controller
//! would hold them all until it is killed for its memory, which stops it for everybody.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

/// What each namespace may use, and what it uses. Clones share the same counters.
#[derive(Clone, Debug)]
pub struct MemoryBudget(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    limit: usize,
    /// The bytes in use. Only namespaces that use any.
    used: Mutex<HashMap<String, usize>>,
}

impl MemoryBudget {
    /// Returns a budget of `limit` bytes for each namespace.
    pub fn new(limit: usize) -> Self {
        Self(Arc::new(Inner { limit, used: Mutex::default() }))
    }

    /// Returns a budget that is never used up.
    pub fn unlimited() -> Self {
        Self::new(usize::MAX)
    }

    /// Returns the number of bytes that each namespace may use.
    pub fn limit(&self) -> usize {
        self.0.limit
    }

    /// Returns how many bytes `namespace` uses.
    pub fn used(&self, namespace: &str) -> usize {
        self.lock().get(namespace).copied().unwrap_or_default()
    }

    /// Returns how many bytes the namespace that uses the most has in use.
    pub fn largest(&self) -> usize {
        self.lock().values().copied().max().unwrap_or_default()
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, usize>> {
        self.0.used.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The part of the budget that one watch uses. It is returned when this is dropped.
#[derive(Debug)]
pub(crate) struct Charges {
    budget: MemoryBudget,
    /// The bytes in use by this watch. Only namespaces that use any.
    held: HashMap<String, usize>,
}

impl Charges {
    pub(crate) fn new(budget: MemoryBudget) -> Self {
        Self { budget, held: HashMap::new() }
    }

    /// Returns the number of bytes that each namespace may use.
    pub(crate) fn limit(&self) -> usize {
        self.budget.limit()
    }

    /// Returns how many bytes `namespace` may use in addition.
    pub(crate) fn room(&self, namespace: &str) -> usize {
        self.limit().saturating_sub(self.budget.used(namespace))
    }

    /// Charges `new` bytes for an object that was charged `old` bytes before. Returns whether there is room for it.
    /// Otherwise nothing changes. There is always room for an object that does not grow.
    pub(crate) fn replace(&mut self, namespace: &str, old: usize, new: usize) -> bool {
        let mut used = self.budget.lock();
        let here = used.get(namespace).copied().unwrap_or_default();
        let has_room = new <= old || here.saturating_add(new - old) <= self.limit();
        if has_room {
            change(&mut used, namespace, old, new);
            drop(used);
            change(&mut self.held, namespace, old, new);
        }
        has_room
    }

    /// Charges `new` instead of `old` bytes, whether or not there is room.
    pub(crate) fn set(&mut self, namespace: &str, old: usize, new: usize) {
        change(&mut self.held, namespace, old, new);
        change(&mut self.budget.lock(), namespace, old, new);
    }
}

impl Drop for Charges {
    fn drop(&mut self) {
        let mut used = self.budget.lock();
        for (namespace, held) in &self.held {
            change(&mut used, namespace, *held, 0);
        }
    }
}

fn change(used: &mut HashMap<String, usize>, namespace: &str, old: usize, new: usize) {
    let here = used.get(namespace).copied().unwrap_or_default().saturating_sub(old).saturating_add(new);
    if here == 0 {
        used.remove(namespace);
    } else {
        used.insert(namespace.to_owned(), here);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_one_watch_holds_leaves_less_to_the_others_of_the_same_namespace_only() {
        let budget = MemoryBudget::new(100);
        let (mut clusters, mut pods) = (Charges::new(budget.clone()), Charges::new(budget.clone()));
        assert!(clusters.replace("a", 0, 70));
        assert!(!pods.replace("a", 0, 40), "there is room for 30");
        assert!(pods.replace("a", 0, 30) && pods.replace("b", 0, 100));
        assert!(!pods.replace("a", 30, 31));
        assert!(clusters.replace("a", 70, 60) && pods.replace("a", 30, 40));
        assert_eq!((budget.used("a"), budget.used("b"), budget.largest()), (100, 100, 100));
    }

    #[test]
    fn a_watch_that_ends_gives_back_what_it_held() {
        let budget = MemoryBudget::new(100);
        let (mut clusters, mut pods) = (Charges::new(budget.clone()), Charges::new(budget.clone()));
        assert!(clusters.replace("a", 0, 60) && pods.replace("a", 0, 40));
        drop(pods);
        assert_eq!(budget.used("a"), 60);
        clusters.set("a", 60, 0);
        assert!(budget.lock().is_empty());
    }

    #[test]
    fn an_object_that_does_not_grow_stays_although_the_namespace_is_over_its_budget() {
        let mut charges = Charges::new(MemoryBudget::new(100));
        charges.set("a", 0, 150);
        assert!(charges.replace("a", 150, 150) && charges.replace("a", 150, 120));
        assert!(!charges.replace("a", 120, 121) && !charges.replace("a", 0, 1));
    }
}
