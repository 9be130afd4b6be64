//! The work queue of one reconciler: the objects that wait for a pass, those that are being reconciled, and those that
//! are due later. It does no I/O.
//!
//! An object is reconciled by one pass at a time. Requests during that pass lead to one more pass afterwards.

use std::{
    collections::{BTreeSet, HashMap},
    time::Duration,
};

use tokio::time::Instant;

use crate::{fair_share::FairQueue, object_key::ObjectKey};

/// The longest delay of an object, so that no delay is too long for a timer.
const LONGEST_DELAY: Duration = Duration::from_hours(24);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Waiting,
    Running {
        /// Whether another pass was requested since this one began.
        again: bool,
    },
}

/// The objects, by stage. Namespaces share the slots.
#[derive(Debug)]
pub(super) struct WorkQueue {
    waiting: FairQueue<ObjectKey>,
    stages: HashMap<ObjectKey, Stage>,
    delayed: BTreeSet<Delayed>,
    due: HashMap<ObjectKey, Instant>,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Delayed {
    due: Instant,
    key: ObjectKey,
}

impl WorkQueue {
    pub(super) fn new(slots: usize) -> Self {
        Self { waiting: FairQueue::new(slots), stages: HashMap::new(), delayed: BTreeSet::new(), due: HashMap::new() }
    }

    /// Requests a pass over an object.
    pub(super) fn request(&mut self, key: ObjectKey) {
        match self.stages.get_mut(&key) {
            None => {
                self.waiting.push(&key.namespace, key.clone());
                self.stages.insert(key, Stage::Waiting);
            }
            Some(Stage::Running { again }) => *again = true,
            Some(Stage::Waiting) => {}
        }
    }

    /// Returns the next object to reconcile, if one waits and a slot is free for it.
    pub(super) fn begin(&mut self) -> Option<ObjectKey> {
        let key = self.waiting.pop()?.item;
        self.undelay(&key);
        self.stages.insert(key.clone(), Stage::Running { again: false });
        Some(key)
    }

    /// Ends the pass over an object. With a `delay`, the object is due again after that time at the latest.
    pub(super) fn end(&mut self, key: ObjectKey, delay: Option<Duration>, now: Instant) {
        self.waiting.release(&key.namespace);
        match (self.stages.remove(&key), delay) {
            (Some(Stage::Running { again: true }), _) => self.request(key),
            (_, Some(delay)) if delay.is_zero() => self.request(key),
            (_, Some(delay)) => {
                let due = now + delay.min(LONGEST_DELAY);
                self.delayed.insert(Delayed { due, key: key.clone() });
                self.due.insert(key, due);
            }
            (_, None) => {}
        }
    }

    /// Returns when the next delayed object is due.
    pub(super) fn next_due(&self) -> Option<Instant> {
        self.delayed.first().map(|delayed| delayed.due)
    }

    /// Requests passes over the objects that are due.
    pub(super) fn expire(&mut self, now: Instant) {
        while self.next_due().is_some_and(|due| due <= now)
            && let Some(Delayed { key, .. }) = self.delayed.pop_first()
        {
            self.due.remove(&key);
            self.request(key);
        }
    }

    fn undelay(&mut self, key: &ObjectKey) {
        if let Some(due) = self.due.remove(key) {
            self.delayed.remove(&Delayed { due, key: key.clone() });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(namespace: &str, name: &str) -> ObjectKey {
        ObjectKey { namespace: namespace.to_owned(), name: name.to_owned() }
    }

    fn begun(queue: &mut WorkQueue) -> Vec<String> {
        std::iter::from_fn(|| queue.begin()).map(|key| key.name).collect()
    }

    const SECOND: Duration = Duration::from_secs(1);

    #[tokio::test(start_paused = true)]
    async fn an_object_that_is_asked_for_during_its_pass_has_one_more_afterwards() {
        let (mut queue, now) = (WorkQueue::new(8), Instant::now());
        queue.request(key("ns", "a"));
        queue.request(key("ns", "a"));
        assert_eq!(begun(&mut queue), ["a"]);
        queue.request(key("ns", "a"));
        queue.request(key("ns", "a"));
        assert_eq!(begun(&mut queue), [""; 0], "never two passes at a time");
        queue.end(key("ns", "a"), Some(SECOND), now);
        assert_eq!((begun(&mut queue), queue.next_due()), (vec!["a".to_owned()], None));
        queue.end(key("ns", "a"), None, now);
        assert_eq!((begun(&mut queue).len(), queue.stages.len()), (0, 0));
    }

    #[tokio::test(start_paused = true)]
    async fn an_object_is_due_again_after_its_delay_or_when_it_is_asked_for() {
        let (mut queue, now) = (WorkQueue::new(8), Instant::now());
        for name in ["a", "b"] {
            queue.request(key("ns", name));
        }
        assert_eq!(begun(&mut queue), ["a", "b"]);
        queue.end(key("ns", "a"), Some(Duration::MAX), now);
        queue.end(key("ns", "b"), Some(SECOND), now);
        assert_eq!(queue.next_due(), Some(now + SECOND));
        queue.expire(now);
        assert_eq!(begun(&mut queue), [""; 0]);
        queue.request(key("ns", "a"));
        queue.expire(now + SECOND);
        assert_eq!(begun(&mut queue), ["a", "b"]);
        assert_eq!((queue.next_due(), queue.due.len()), (None, 0), "the pass decides again");
    }

    #[tokio::test(start_paused = true)]
    async fn an_object_without_delay_is_queued_behind_others_of_its_namespace() {
        let (mut queue, now) = (WorkQueue::new(1), Instant::now());
        queue.request(key("ns", "a"));
        assert_eq!(begun(&mut queue), ["a"]);
        queue.request(key("ns", "b"));
        queue.end(key("ns", "a"), Some(Duration::ZERO), now);
        assert_eq!(begun(&mut queue), ["b"]);
    }

    /// A pass that awaits an unresponsive scheduler lasts for most of a minute.
    #[tokio::test(start_paused = true)]
    async fn the_only_object_of_a_namespace_is_reconciled_at_once_while_another_namespace_has_thousands() {
        let (mut queue, now) = (WorkQueue::new(64), Instant::now());
        for number in 0..10_000 {
            queue.request(key("hog", &number.to_string()));
        }
        assert_eq!(begun(&mut queue).len(), 32);
        queue.request(key("ns", "single"));
        assert_eq!(begun(&mut queue), ["single"]);
        // Objects that are due after a delay are no exception.
        queue.end(key("hog", "0"), Some(Duration::ZERO), now);
        queue.end(key("ns", "single"), None, now);
        assert_eq!(begun(&mut queue), ["32"]);
    }
}
