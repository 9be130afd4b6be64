//! Limits the memory that is used for the subjects of one namespace. Namespaces get equal shares of a total, so that a
//! namespace that uses much memory is refused before others are.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

/// A total that namespaces share. Clones share the same counters.
#[derive(Clone, Debug)]
pub(crate) struct Shares(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    total: usize,
    /// The number of bytes that a namespace may always use, regardless of the number of namespaces.
    least: usize,
    used: Mutex<Used>,
}

#[derive(Debug, Default)]
struct Used {
    all: usize,
    /// Only namespaces that use memory.
    by_namespace: HashMap<String, usize>,
}

/// The bytes in use for a namespace. They are returned when this is dropped.
#[derive(Debug)]
pub(crate) struct Reservation {
    shares: Shares,
    namespace: String,
    bytes: usize,
}

/// The error for a namespace whose share is used up.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the memory for plugins' calls about the namespace {namespace} is exhausted; the call is retried")]
pub(crate) struct UsedUp {
    namespace: String,
}

impl Shares {
    /// Returns shares of `total` bytes. Each namespace gets at least `least` bytes.
    pub(crate) fn new(total: usize, least: usize) -> Self {
        Self(Arc::new(Inner { total, least, used: Mutex::default() }))
    }

    /// Returns shares without a limit, for programs that process one subject at a time.
    pub(crate) fn unlimited() -> Self {
        Self::new(usize::MAX, usize::MAX)
    }

    /// Returns an empty reservation for `namespace`.
    pub(crate) fn of(&self, namespace: &str) -> Reservation {
        Reservation { shares: self.clone(), namespace: namespace.to_owned(), bytes: 0 }
    }

    fn lock(&self) -> MutexGuard<'_, Used> {
        self.0.used.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Used {
    /// Returns whether a namespace that uses `here` bytes may use `more`. Shares shrink when namespaces are added, but
    /// memory in use is not taken away. The sum of all namespaces is bounded by twice the total.
    fn fits(&self, inner: &Inner, here: usize, more: usize) -> bool {
        let wanted = here.saturating_add(more);
        let namespaces = self.by_namespace.len() + usize::from(here == 0);
        let is_fair = wanted <= inner.total / namespaces.max(1);
        wanted <= inner.least || is_fair && self.all.saturating_add(more) <= inner.total.saturating_mul(2)
    }
}

impl Reservation {
    /// Reserves `bytes` more.
    pub(crate) fn grow(&mut self, bytes: usize) -> Result<(), UsedUp> {
        if bytes == 0 {
            return Ok(());
        }
        let mut used = self.shares.lock();
        let here = used.by_namespace.get(&self.namespace).copied().unwrap_or_default();
        if !used.fits(&self.shares.0, here, bytes) {
            return Err(UsedUp { namespace: self.namespace.clone() });
        }
        used.by_namespace.insert(self.namespace.clone(), here.saturating_add(bytes));
        used.all = used.all.saturating_add(bytes);
        self.bytes = self.bytes.saturating_add(bytes);
        Ok(())
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        if self.bytes == 0 {
            return;
        }
        let mut used = self.shares.lock();
        used.all = used.all.saturating_sub(self.bytes);
        if let Some(here) = used.by_namespace.get_mut(&self.namespace) {
            *here = here.saturating_sub(self.bytes);
            if *here == 0 {
                used.by_namespace.remove(&self.namespace);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reserve(shares: &Shares, namespace: &str, bytes: usize) -> Option<Reservation> {
        let mut reservation = shares.of(namespace);
        reservation.grow(bytes).ok().map(|()| reservation)
    }

    #[test]
    fn only_the_namespace_that_exhausts_its_share_is_refused() {
        let shares = Shares::new(100, 5);
        let flood: Vec<_> = std::iter::from_fn(|| reserve(&shares, "flood", 10)).collect();
        assert_eq!(flood.len(), 10, "alone, it may use all");
        let other: Vec<_> = std::iter::from_fn(|| reserve(&shares, "other", 10)).collect();
        assert_eq!(other.len(), 5, "the other one gets its half although all is in use");
        assert!(reserve(&shares, "flood", 1).is_none());
        drop(flood);
        assert!(reserve(&shares, "other", 50).is_some(), "alone again");
    }

    #[test]
    fn a_small_share_is_left_however_many_namespaces_there_are() {
        let shares = Shares::new(100, 5);
        let crowd: Vec<_> = (0..1000).filter_map(|number| reserve(&shares, &number.to_string(), 5)).collect();
        assert_eq!(crowd.len(), 1000);
        assert!(reserve(&shares, "0", 1).is_none());
    }

    #[test]
    fn the_sum_of_large_shares_is_at_most_twice_the_total() {
        let shares = Shares::new(1000, 1);
        let mut held = Vec::new();
        for number in 0..1000 {
            let namespace = number.to_string();
            held.extend(std::iter::from_fn(|| reserve(&shares, &namespace, 10)));
        }
        assert!(shares.lock().all <= 2000, "{}", shares.lock().all);
    }

    #[test]
    fn what_is_reserved_is_returned() {
        let shares = Shares::new(100, 5);
        let mut reservation = shares.of("ns");
        for _ in 0..10 {
            reservation.grow(10).unwrap();
        }
        assert!(reservation.grow(1).is_err());
        drop(reservation);
        assert!(shares.lock().by_namespace.is_empty());
        assert_eq!(shares.lock().all, 0);
    }
}
