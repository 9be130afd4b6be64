//! The sync status of the watches of one kind.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use futures::future::select_all;

use super::{
    health::{Delivery, WatchHealth},
    unreadable::UnreadableObject,
};

/// The sync status of the watch of one kind, in each of the watched namespaces.
#[derive(Clone, Debug)]
pub struct SyncStatus {
    /// The plural of the watched kind.
    pub kind: String,
    parts: Arc<[Arc<WatchHealth>]>,
}

impl SyncStatus {
    pub(crate) fn new(kind: &str, parts: Arc<[Arc<WatchHealth>]>) -> Self {
        Self { kind: kind.to_owned(), parts }
    }

    /// Returns whether both belong to the same watch.
    pub fn is_same(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.parts, &other.parts)
    }

    /// Waits until the first lists are complete. A namespace in which the list is rejected, because the caller lacks
    /// permissions or the namespace does not exist yet, does not delay the others. If all lists are rejected, the wait
    /// goes on, because there is nothing to work with.
    ///
    /// The content of a namespace in which the list was rejected is unknown: see [`SyncStatus::knows`].
    pub async fn synced(&self) {
        for part in self.parts.iter() {
            part.until(|delivery| delivery != Delivery::Waiting).await;
        }
        let delivered = |part: &Arc<WatchHealth>| {
            let part = Arc::clone(part);
            Box::pin(async move { part.until(|delivery| delivery == Delivery::Delivered).await })
        };
        if !self.parts.is_empty() {
            select_all(self.parts.iter().map(delivered)).await;
        }
    }

    /// Returns whether [`SyncStatus::synced`] is complete.
    pub fn is_synced(&self) -> bool {
        let is_settled = |part: &Arc<WatchHealth>| *part.delivery.borrow() != Delivery::Waiting;
        self.parts.iter().all(is_settled) && self.parts.iter().any(|part| part.is_delivered())
    }

    /// Returns whether an object of `namespace` that this watch has not reported does not exist. This is true for a
    /// namespace that is not watched: there are no objects of interest in it.
    pub fn knows(&self, namespace: &str) -> bool {
        self.of(namespace).all(|part| part.is_delivered())
    }

    /// Waits until [`SyncStatus::knows`] is true for `namespace`.
    pub async fn known(&self, namespace: &str) {
        for part in self.of(namespace) {
            part.until(|delivery| delivery == Delivery::Delivered).await;
        }
    }

    /// Returns how long the API server has not responded, in the namespace in which this time is longest.
    pub(crate) fn silent_for(&self, now: Instant) -> Duration {
        self.parts.iter().map(|part| part.silent_for(now)).max().unwrap_or_default()
    }

    /// Returns how long the watch has delivered nothing although the API server responds, in the namespace in which
    /// this time is longest.
    pub(crate) fn stalled_for(&self, now: Instant) -> Duration {
        self.parts.iter().map(|part| part.stalled_for(now)).max().unwrap_or_default()
    }

    /// Returns the objects that cannot be read, by namespace and name.
    pub fn unreadable(&self) -> Vec<Arc<UnreadableObject>> {
        self.parts.iter().flat_map(|part| part.unreadable.all()).collect()
    }

    /// Returns the number of objects that cannot be read.
    pub(crate) fn unreadable_count(&self) -> usize {
        self.parts.iter().map(|part| part.unreadable.len()).sum()
    }

    /// Returns how many times the objects that cannot be read have changed.
    pub(crate) fn unreadable_changes(&self) -> u64 {
        self.parts.iter().map(|part| part.unreadable.changes()).sum()
    }

    /// Returns the status of watches that began at these times.
    #[cfg(any(test, feature = "testing"))]
    pub fn listening(kind: &str, since: &[Instant]) -> Self {
        Self::new(kind, since.iter().map(|since| Arc::new(WatchHealth::new(kind, None, *since))).collect())
    }

    /// Makes the responses of the API server count as unreadable from `now` on.
    #[cfg(any(test, feature = "testing"))]
    pub fn stall(&self, now: Instant) {
        for part in self.parts.iter() {
            part.failed(&kube::runtime::watcher::Error::NoResourceVersion, now);
        }
    }

    /// Records an object that cannot be read.
    #[cfg(any(test, feature = "testing"))]
    pub fn note(&self, object: &UnreadableObject) {
        for part in self.parts.iter() {
            part.unreadable.note(object.clone());
        }
    }

    /// Completes all first lists.
    #[cfg(any(test, feature = "testing"))]
    pub fn deliver(&self) {
        for part in self.parts.iter() {
            part.delivery.send_replace(Delivery::Delivered);
        }
    }

    fn of<'a>(&'a self, namespace: &'a str) -> impl Iterator<Item = &'a Arc<WatchHealth>> {
        self.parts.iter().filter(move |part| part.namespace.as_deref().is_none_or(|watched| watched == namespace))
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt as _;

    use super::{
        Delivery::{Delivered, Refused, Waiting},
        *,
    };

    fn progress(deliveries: &[(Option<&str>, Delivery)]) -> SyncStatus {
        let part = |&(namespace, delivery): &(Option<&str>, Delivery)| {
            let health = WatchHealth::new("pods", namespace, Instant::now());
            health.delivery.send_replace(delivery);
            Arc::new(health)
        };
        SyncStatus::new("pods", deliveries.iter().map(part).collect())
    }

    #[test]
    fn a_namespace_that_is_refused_does_not_hold_up_the_others() {
        let table = [
            (vec![(None, Waiting)], false),
            (vec![(None, Refused)], false),
            (vec![(None, Delivered)], true),
            (vec![(Some("a"), Delivered), (Some("b"), Waiting)], false),
            (vec![(Some("a"), Delivered), (Some("b"), Refused)], true),
            (vec![(Some("a"), Refused), (Some("b"), Refused)], false),
            (vec![(Some("a"), Delivered), (Some("b"), Delivered)], true),
        ];
        for (deliveries, expected) in table {
            let progress = progress(&deliveries);
            assert_eq!(progress.is_synced(), expected, "{deliveries:?}");
            assert_eq!(progress.synced().now_or_never().is_some(), expected, "{deliveries:?}");
        }
    }

    /// Otherwise workers that the watch cannot see would be created again and again.
    #[test]
    fn what_is_in_a_namespace_is_known_when_its_own_list_is_complete() {
        let table = [
            (progress(&[(None, Delivered)]), "a", true),
            (progress(&[(None, Waiting)]), "a", false),
            (progress(&[(Some("a"), Delivered), (Some("b"), Refused)]), "a", true),
            (progress(&[(Some("a"), Delivered), (Some("b"), Refused)]), "b", false),
            (progress(&[(Some("a"), Refused)]), "c", true),
        ];
        for (progress, namespace, expected) in table {
            assert_eq!(progress.knows(namespace), expected, "{progress:?} {namespace}");
            assert_eq!(progress.known(namespace).now_or_never().is_some(), expected, "{progress:?} {namespace}");
        }
    }
}
