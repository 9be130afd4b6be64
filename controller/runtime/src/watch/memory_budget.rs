//! The memory that the objects of namespaces take in the caches of all watches.
//!
//! Each object has limits of its own, but a user may store thousands of objects. Without this budget, the controller
//! would hold them all until it is killed for its memory, which stops it for everybody.

use std::{
    collections::{HashMap, HashSet},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use super::memory_limits::{MemoryLimits, Shortage, Usage};

/// What namespaces may use, and what they use. Clones share the same counters.
#[derive(Clone, Debug)]
pub struct MemoryBudget(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    limits: MemoryLimits,
    used: Mutex<Used>,
}

/// The bytes in use.
#[derive(Debug, Default)]
struct Used {
    /// Only namespaces that use any.
    namespaces: HashMap<String, usize>,
    total: usize,
    /// The namespaces that are not small.
    large: HashSet<String>,
}

impl MemoryBudget {
    /// Returns a budget with these limits.
    pub fn new(limits: MemoryLimits) -> Self {
        Self(Arc::new(Inner { limits, used: Mutex::default() }))
    }

    /// Returns a budget that is never used up.
    pub fn unlimited() -> Self {
        Self::new(MemoryLimits::NONE)
    }

    /// Returns the limits.
    pub fn limits(&self) -> &MemoryLimits {
        &self.0.limits
    }

    /// Returns how many bytes `namespace` uses.
    pub fn used(&self, namespace: &str) -> usize {
        self.lock().usage(namespace).namespace
    }

    /// Returns how many bytes the namespace that uses the most has in use.
    pub fn largest(&self) -> usize {
        self.lock().namespaces.values().copied().max().unwrap_or_default()
    }

    /// Returns how many bytes all namespaces use.
    pub fn total(&self) -> usize {
        self.lock().total
    }

    fn lock(&self) -> MutexGuard<'_, Used> {
        self.0.used.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Used {
    fn usage(&self, namespace: &str) -> Usage {
        Usage { namespace: self.namespaces.get(namespace).copied().unwrap_or_default(), total: self.total }
    }

    fn change(&mut self, limits: &MemoryLimits, namespace: &str, (old, new): (usize, usize)) {
        self.total = self.total.saturating_sub(old).saturating_add(new);
        let here = change(&mut self.namespaces, namespace, old, new);
        if limits.is_small(here) {
            self.large.remove(namespace);
        } else if !self.large.contains(namespace) {
            self.large.insert(namespace.to_owned());
        }
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

    /// Returns the limits of the budget.
    pub(crate) fn limits(&self) -> &MemoryLimits {
        self.budget.limits()
    }

    /// Returns what `namespace` and all namespaces use.
    pub(crate) fn usage(&self, namespace: &str) -> Usage {
        self.budget.lock().usage(namespace)
    }

    /// Returns the namespaces that are not small.
    pub(crate) fn large(&self) -> HashSet<String> {
        self.budget.lock().large.clone()
    }

    /// Charges `new` bytes for an object that was charged `old` bytes before, if there is room for it. Otherwise nothing
    /// changes.
    pub(crate) fn replace(&mut self, namespace: &str, old: usize, new: usize) -> Result<(), Shortage> {
        let Inner { limits, .. } = &*self.budget.0;
        let mut used = self.budget.lock();
        limits.check(used.usage(namespace), old, new)?;
        used.change(limits, namespace, (old, new));
        drop(used);
        change(&mut self.held, namespace, old, new);
        Ok(())
    }

    /// Charges `new` instead of `old` bytes, whether or not there is room.
    pub(crate) fn set(&mut self, namespace: &str, old: usize, new: usize) {
        change(&mut self.held, namespace, old, new);
        self.budget.lock().change(&self.budget.0.limits, namespace, (old, new));
    }
}

impl Drop for Charges {
    fn drop(&mut self) {
        let mut used = self.budget.lock();
        for (namespace, held) in &self.held {
            used.change(&self.budget.0.limits, namespace, (*held, 0));
        }
    }
}

/// Changes what a namespace uses. Returns what it uses then.
fn change(used: &mut HashMap<String, usize>, namespace: &str, old: usize, new: usize) -> usize {
    let here = used.get(namespace).copied().unwrap_or_default().saturating_sub(old).saturating_add(new);
    if here == 0 {
        used.remove(namespace);
    } else {
        used.insert(namespace.to_owned(), here);
    }
    here
}

#[cfg(test)]
mod tests {
    use super::*;

    fn budget() -> MemoryBudget {
        MemoryBudget::new(MemoryLimits { namespace: 100, total: 100_000 })
    }

    #[test]
    fn what_one_watch_holds_leaves_less_to_the_others_of_the_same_namespace_only() {
        let budget = budget();
        let (mut clusters, mut pods) = (Charges::new(budget.clone()), Charges::new(budget.clone()));
        clusters.replace("a", 0, 70).unwrap();
        assert_eq!(pods.replace("a", 0, 40), Err(Shortage::Namespace), "there is room for 30");
        pods.replace("a", 0, 30).unwrap();
        pods.replace("b", 0, 100).unwrap();
        assert_eq!(pods.replace("a", 30, 31), Err(Shortage::Namespace));
        clusters.replace("a", 70, 60).unwrap();
        pods.replace("a", 30, 40).unwrap();
        assert_eq!((budget.used("a"), budget.used("b"), budget.largest(), budget.total()), (100, 100, 100, 200));
    }

    #[test]
    fn a_watch_that_ends_gives_back_what_it_held() {
        let budget = budget();
        let (mut clusters, mut pods) = (Charges::new(budget.clone()), Charges::new(budget.clone()));
        clusters.replace("a", 0, 60).unwrap();
        pods.replace("a", 0, 40).unwrap();
        drop(pods);
        assert_eq!((budget.used("a"), budget.total()), (60, 60));
        clusters.set("a", 60, 0);
        assert!(budget.lock().namespaces.is_empty());
        assert_eq!(budget.total(), 0);
    }

    #[test]
    fn an_object_that_does_not_grow_stays_although_the_namespace_is_over_its_budget() {
        let mut charges = Charges::new(budget());
        charges.set("a", 0, 150);
        charges.replace("a", 150, 150).unwrap();
        charges.replace("a", 150, 120).unwrap();
        assert_eq!(charges.replace("a", 120, 121), Err(Shortage::Namespace));
        assert_eq!(charges.replace("a", 0, 1), Err(Shortage::Namespace));
    }

    #[test]
    fn namespaces_are_large_as_long_as_they_use_more_than_their_part() {
        let limits = MemoryLimits { namespace: 1_000, total: 25_600 };
        let mut charges = Charges::new(MemoryBudget::new(limits));
        charges.set("a", 0, 100);
        charges.set("b", 0, 101);
        assert_eq!(charges.large(), HashSet::from(["b".to_owned()]));
        charges.set("b", 101, 100);
        assert_eq!(charges.large(), HashSet::new());
    }
}
