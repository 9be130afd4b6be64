//! Reacts to changes of children: drift, kinds that are no longer listed, and children without a subject.

use std::{collections::HashSet, sync::Arc, time::Instant};

use dask_operator_api::DriftPolicy;
use futures::{FutureExt as _, future::BoxFuture};
use kube::ResourceExt as _;

use super::{super::removed_kinds, Worker};
use crate::{
    children::orphans,
    index::registration::Registered,
    model::{child_version::ChildChange, subject::SubjectKey, summary::SyncState},
};
use plugin_protocol::EventReason;

impl Worker {
    /// Starts to delete children of kinds that the plugin no longer lists.
    pub(super) fn prune_removed_kinds(&mut self, plugin: &Registered) {
        let before = std::mem::replace(&mut self.kinds, plugin.kinds.clone());
        let removed = removed_kinds::removed(&before, &plugin.kinds);
        if !removed.is_empty() {
            tokio::spawn(removed_kinds::prune(Arc::clone(&self.env), self.current.clone(), removed));
        }
    }

    /// Finds children of subjects that were deleted while no worker was running, because nothing else would ever find
    /// them. Returns a future that deletes them.
    pub(super) async fn prune_orphans(&mut self) -> BoxFuture<'static, bool> {
        let (env, plugin) = (Arc::clone(&self.env), Arc::clone(&self.current.borrow()));
        let existing = async || {
            let mut existing = HashSet::new();
            for kind in plugin.spec.subjects.iter().map(|rule| rule.kind) {
                existing.extend(env.watches.subjects(kind).await.all().iter().filter_map(|object| object.uid()));
            }
            existing
        };
        let orphans = orphans::orphans(&env, &plugin, existing).await;
        async move { orphans::prune_orphans(&env, &plugin, orphans).await }.boxed()
    }

    /// Enqueues the subjects in `namespace` that wait for a name, because a child is gone that may have had it.
    pub(super) fn name_freed(&mut self, namespace: &str) {
        self.name_waiters.freed(namespace, &self.in_flight);
        if !self.counter.waits_for_name() {
            return;
        }
        let waiting = |key: &&SubjectKey| key.namespace == namespace && self.waits_for_name(key);
        for subject in self.counter.failing().filter(waiting).cloned().collect::<Vec<_>>() {
            self.enqueue(subject, EventReason::ChildDrift);
        }
    }

    /// Returns whether the last pass over a subject found the name of a child in use.
    pub(super) fn waits_for_name(&self, subject: &SubjectKey) -> bool {
        let verdict = self.states.get(subject).and_then(|state| state.verdict.as_ref());
        verdict.is_some_and(SyncState::waits_for_name)
    }

    /// Enqueues the subject of a child that another client changed. A change during a pass is handled after it.
    pub(super) fn child_changed(&mut self, change: ChildChange) {
        let Some(key) = self.subjects.get(&change.subject_uid).cloned() else { return };
        if self.in_flight.contains(&key) {
            self.deferred.push(change);
            return;
        }
        let mut record = self.states.get_mut(&key).and_then(|memory| memory.written.get_mut(&change.child));
        let drifted = match (&mut record, &change.state) {
            (Some(record), Some(now)) => record.deliver(now),
            (Some(_), None) => true,
            // Not part of the last response: either we pruned it, or it has to be pruned.
            (None, state) => state.is_some(),
        };
        let corrects = self.current.borrow().spec.drift == DriftPolicy::Correct;
        if drifted && corrects {
            let now = Instant::now();
            let wait = record.and_then(|record| record.conflict_tracker.wait(now)).unwrap_or_default();
            self.enqueue_at(key, EventReason::ChildDrift, now + wait);
        }
    }
}
