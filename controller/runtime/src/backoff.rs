//! Backoff for objects whose reconciliation fails. kube's `error_policy` cannot reset a backoff, because it is not
//! called for successes.

use std::{
    collections::HashMap,
    hash::Hash,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use backon::{BackoffBuilder as _, ExponentialBuilder};

const FIRST: Duration = Duration::from_millis(500);
const LONGEST: Duration = Duration::from_mins(2);
/// The number of consecutive failures beyond which the delay is the longest one.
const STEPS: usize = 10;

/// The number of consecutive failures of each object.
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
    /// Counts a failure of `key`. Returns the delay before the next attempt.
    pub fn failed(&self, key: Key) -> Duration {
        let mut failures = self.failures.lock().unwrap_or_else(PoisonError::into_inner);
        let count = failures.entry(key).or_insert(0);
        *count += 1;
        delay(*count)
    }

    /// Forgets the failures of `key`, which was reconciled successfully or is gone.
    pub fn succeeded(&self, key: &Key) {
        self.failures.lock().unwrap_or_else(PoisonError::into_inner).remove(key);
    }

    /// Forgets the failures of all keys for which `is_kept` returns false.
    pub fn retain(&self, mut is_kept: impl FnMut(&Key) -> bool) {
        self.failures.lock().unwrap_or_else(PoisonError::into_inner).retain(|key, _| is_kept(key));
    }
}

/// Returns the delay after `failures` consecutive failures (1 is the first). The delay doubles each time, has jitter
/// and is bounded.
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
    fn delays_of_an_object_grow_until_it_succeeds() {
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
