//! Growing delays for objects whose reconciliation fails; kube's `error_policy` never hears of successes.

use std::{
    collections::HashMap,
    hash::Hash,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use backon::{BackoffBuilder as _, ExponentialBuilder};

const FIRST: Duration = Duration::from_millis(500);
const LONGEST: Duration = Duration::from_mins(2);
/// More failures than this give the longest delay.
const STEPS: usize = 10;

/// Failures in a row, by object.
#[derive(Debug)]
pub struct Backoff<Key> {
    failures: Mutex<HashMap<Key, usize>>,
}

impl<Key: Eq + Hash> Default for Backoff<Key> {
    fn default() -> Self {
        Self { failures: Mutex::default() }
    }
}

impl<Key: Eq + Hash> Backoff<Key> {
    /// Counts a failure of `key`; the delay before the next try.
    pub fn failed(&self, key: Key) -> Duration {
        let mut failures = self.failures.lock().unwrap_or_else(PoisonError::into_inner);
        let count = failures.entry(key).or_insert(0);
        *count += 1;
        delay(*count)
    }

    /// Forgets the failures of `key`, which succeeded or is gone.
    pub fn succeeded(&self, key: &Key) {
        self.failures.lock().unwrap_or_else(PoisonError::into_inner).remove(key);
    }

    /// Forgets the failures of the keys for which `is_kept` is false.
    pub fn retain(&self, mut is_kept: impl FnMut(&Key) -> bool) {
        self.failures.lock().unwrap_or_else(PoisonError::into_inner).retain(|key, _| is_kept(key));
    }
}

/// The delay after `failures` failures in a row (1 is the first): doubling, with jitter, bounded.
pub fn delay(failures: usize) -> Duration {
    ExponentialBuilder::new()
        .with_min_delay(FIRST)
        .with_max_delay(LONGEST)
        .with_max_times(STEPS)
        .with_jitter()
        .build()
        .nth(failures.saturating_sub(1))
        .unwrap_or(LONGEST)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn delays_grow_to_a_bound_and_a_success_starts_over() {
        let backoff = Backoff::default();
        let first = backoff.failed("a");
        assert!(first >= FIRST && first < FIRST * 3, "{first:?}");
        for _ in 0..20 {
            backoff.failed("a");
        }
        assert!(backoff.failed("a") >= Duration::from_mins(1));
        assert!(backoff.failed("b") < FIRST * 3, "other objects are not slowed down");
        backoff.succeeded(&"a");
        assert!(backoff.failed("a") < FIRST * 3);
    }
}
