use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use futures::future::select_all;

use super::{
    health::{Delivery, WatchHealth},
    unreadable::UnreadableObject,
};

/// How far the watch of one kind is, in each of the namespaces that are watched.
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

    /// Returns whether both are of one watch.
    pub fn is_same(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.parts, &other.parts)
    }

    /// Waits until the first lists are complete. A namespace that is refused, as one may not read it or it does not
    /// exist yet, does not hold up the others; but if all are, there is nothing to work with.
    ///
    /// What is in a namespace that was refused is not known: see [`SyncStatus::knows`].
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

    /// Whether [`SyncStatus::synced`] has come.
    pub fn is_synced(&self) -> bool {
        let is_settled = |part: &Arc<WatchHealth>| *part.delivery.borrow() != Delivery::Waiting;
        self.parts.iter().all(is_settled) && self.parts.iter().any(|part| part.is_delivered())
    }

    /// Whether what this watch has not seen in `namespace` is not there. In a namespace that it is not meant to see,
    /// nothing is.
    pub fn knows(&self, namespace: &str) -> bool {
        self.of(namespace).all(|part| part.is_delivered())
    }

    /// Waits until [`SyncStatus::knows`].
    pub async fn known(&self, namespace: &str) {
        for part in self.of(namespace) {
            part.until(|delivery| delivery == Delivery::Delivered).await;
        }
    }

    /// How long the API server has not answered: that of the namespace in which it is longest.
    pub fn silent_for(&self, now: Instant) -> Duration {
        self.parts.iter().map(|part| part.silent_for(now)).max().unwrap_or_default()
    }

    /// Returns how long the watch has delivered nothing although the API server answers: that of the namespace in which
    /// it is longest.
    pub fn stalled_for(&self, now: Instant) -> Duration {
        self.parts.iter().map(|part| part.stalled_for(now)).max().unwrap_or_default()
    }

    /// Returns the objects that cannot be read, by namespace and name.
    pub fn unreadable(&self) -> Vec<Arc<UnreadableObject>> {
        self.parts.iter().flat_map(|part| part.unreadable.all()).collect()
    }

    /// Returns the number of objects that cannot be read.
    pub fn unreadable_count(&self) -> usize {
        self.parts.iter().map(|part| part.unreadable.len()).sum()
    }

    /// Returns how often the objects that cannot be read have changed.
    pub fn unreadable_changes(&self) -> u64 {
        self.parts.iter().map(|part| part.unreadable.changes()).sum()
    }

    /// Watches that began to listen at these times.
    #[cfg(any(test, feature = "testing"))]
    pub fn listening(kind: &str, since: &[Instant]) -> Self {
        Self::new(kind, since.iter().map(|since| Arc::new(WatchHealth::new(kind, None, *since))).collect())
    }

    /// What the API server says cannot be read from `now` on.
    #[cfg(any(test, feature = "testing"))]
    pub fn stall(&self, now: Instant) {
        for part in self.parts.iter() {
            part.failed(&kube::runtime::watcher::Error::NoResourceVersion, now);
        }
    }

    /// An object cannot be read.
    #[cfg(any(test, feature = "testing"))]
    pub fn note(&self, object: &UnreadableObject) {
        for part in self.parts.iter() {
            part.unreadable.note(object.clone());
        }
    }

    /// All first lists are complete.
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
            let pulse = WatchHealth::new("pods", namespace, Instant::now());
            pulse.delivery.send_replace(delivery);
            Arc::new(pulse)
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

    /// Workers that are not seen would be made again and again.
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
