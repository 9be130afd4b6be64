//! Decides which subjects a worker syncs next.

use std::{collections::HashSet, sync::Arc, time::Instant};

use kube::runtime::scheduler::ScheduleRequest;

use super::Worker;
use crate::model::subject::SubjectKey;
use plugin_protocol::EventReason;

/// The number of concurrent calls to one plugin.
const PARALLEL: usize = 8;
/// Additional calls for namespaces without a running call. Without them, the calls of other namespaces could block a
/// namespace by hanging until they time out.
const SPARE: usize = 2;
impl Worker {
    /// Enqueues a subject that is due now.
    pub(super) fn enqueue(&mut self, key: SubjectKey, reason: EventReason) {
        self.enqueue_at(key, reason, Instant::now());
    }

    /// Enqueues a subject for a pass at `when`. If several reasons come together, the strongest one is kept.
    pub(super) fn enqueue_at(&mut self, key: SubjectKey, reason: EventReason, when: Instant) {
        // `Updated` may turn out to change nothing, and only `PluginChanged` discards the last response.
        let rank = |reason: &EventReason| match reason {
            EventReason::Updated => 0,
            EventReason::PluginChanged => 2,
            _ => 1,
        };
        let strongest = self.reasons.get(&key).copied().into_iter().chain([reason]).max_by_key(rank).unwrap_or(reason);
        self.reasons.insert(key.clone(), strongest);
        self.schedule(key, when);
    }

    /// Schedules a pass over a subject.
    pub(super) fn schedule(&self, message: SubjectKey, run_at: Instant) {
        // An error means that the worker is being stopped.
        let _ = self.requests.unbounded_send(ScheduleRequest { message, run_at: run_at.into() });
    }

    /// Enqueues all subjects of the plugin's kinds, and the subjects that have a state here. If `namespace` is given,
    /// enqueues only those in it. Returns the subjects.
    pub(super) async fn enqueue_all(&mut self, reason: EventReason, namespace: Option<&str>) -> HashSet<SubjectKey> {
        let plugin = Arc::clone(&self.current.borrow_and_update());
        self.prune_removed_kinds(&plugin);
        let mut keys: HashSet<SubjectKey> = self.states.keys().cloned().collect();
        for kind in plugin.spec.subjects.iter().map(|rule| rule.kind).collect::<HashSet<_>>() {
            let subjects = self.env.watches.subjects(kind).await;
            keys.extend(subjects.all().iter().map(|object| SubjectKey::of(kind, object.as_ref())));
        }
        keys.retain(|key| {
            plugin.serves(Some(&key.namespace)) && namespace.is_none_or(|namespace| key.namespace == namespace)
        });
        for key in &keys {
            self.enqueue(key.clone(), reason);
        }
        keys
    }

    /// Returns the next subject to sync. Returns `None` if no further pass may start while `running` passes are
    /// running.
    pub(super) fn next_subject(&mut self, running: usize) -> Option<SubjectKey> {
        match room(running, self.breaker.parallel(PARALLEL)) {
            Room::ForAny => self.waiting.pop(|_| true),
            Room::ForIdle => {
                let busy: HashSet<&str> = self.in_flight.iter().map(|key| key.namespace.as_str()).collect();
                self.waiting.pop(|namespace| !busy.contains(namespace))
            }
            Room::None => None,
        }
    }
}

/// The subjects that another call may start for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Room {
    ForAny,
    /// Only subjects in namespaces without a running call.
    ForIdle,
    None,
}

/// Returns the subjects that another call may start for while `running` of `most` calls are running. A plugin that may
/// be down gets no additional calls.
fn room(running: usize, most: usize) -> Room {
    match running {
        _ if running < most => Room::ForAny,
        _ if most == PARALLEL && running < most + SPARE => Room::ForIdle,
        _ => Room::None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spare_calls_are_for_idle_namespaces_of_a_plugin_that_responds() {
        let table = [
            (0, PARALLEL, Room::ForAny),
            (PARALLEL - 1, PARALLEL, Room::ForAny),
            (PARALLEL, PARALLEL, Room::ForIdle),
            (PARALLEL + SPARE - 1, PARALLEL, Room::ForIdle),
            (PARALLEL + SPARE, PARALLEL, Room::None),
            (0, 0, Room::None),
            (0, 1, Room::ForAny),
            (1, 1, Room::None),
        ];
        for (running, most, expected) in table {
            assert_eq!(room(running, most), expected, "{running} of {most}");
        }
    }
}
