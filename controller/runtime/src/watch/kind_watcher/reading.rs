//! What a watch does with objects that cannot be read, or that do not fit into the memory budget.

use std::{fmt::Debug, hash::Hash};

use kube::{Resource, ResourceExt as _, runtime::watcher};
use serde::{Serialize, de::DeserializeOwned};

use super::KindWatcher;
use crate::{
    received::{Received, Unparsed, Unreadable},
    rejection::Rejection,
    watch::{
        admission::{Candidate, Decision, Replaced},
        footprint::footprint,
        health::WatchHealth,
        memory_limits::{MemoryLimits, Shortage},
        unreadable::UnreadableObject,
    },
};

/// Removes the `managedFields`, which no user of the caches needs.
pub(super) fn without_managers<K: Resource>(mut object: K) -> K {
    object.meta_mut().managed_fields = None;
    object
}

impl<K> KindWatcher<K>
where
    K: Resource + Clone + Serialize + DeserializeOwned + Debug + Send + Sync + 'static,
    K::DynamicType: Eq + Hash + Clone + Debug + Unpin + Send + Sync,
{
    /// Filters out objects that cannot be read. Such an object stays in the cache as it was, for the objects that
    /// depend on it. It is removed from the store of its own reconciler, which would act on an old spec.
    pub(super) fn readable(
        &mut self,
        health: &WatchHealth,
        event: watcher::Event<Unparsed<K>>,
    ) -> Option<watcher::Event<K>> {
        use watcher::Event::{Apply, Delete, Init, InitApply, InitDone};
        let part = health.namespace.as_deref();
        match event {
            Init => {
                health.unreadable.begin_list();
                self.admission.begin_list(part);
                Some(Init)
            }
            InitApply(object) => match object.read() {
                Received::Readable { object, bytes } => {
                    self.listed(health, without_managers(object), bytes).map(InitApply)
                }
                Received::Unreadable(object) => {
                    let (namespace, name) = object.key();
                    self.cache.keep_listed(part, namespace, name);
                    self.leave_out(health, *object);
                    None
                }
            },
            InitDone => {
                health.unreadable.end_list();
                self.admission.end_list(part);
                Some(InitDone)
            }
            Apply(object) => match object.read() {
                Received::Readable { object, bytes } => {
                    self.applied(health, without_managers(object), bytes).map(Apply)
                }
                Received::Unreadable(object) => {
                    let (namespace, name) = object.key();
                    self.admission.forget(namespace, name);
                    self.leave_out(health, *object);
                    None
                }
            },
            Delete(object) => {
                let (namespace, name) = (object.namespace().unwrap_or_default(), object.name_any());
                health.unreadable.forget(&namespace, &name);
                self.admission.forget(&namespace, &name);
                if let Received::Readable { object, .. } = object.read() {
                    return Some(Delete(object));
                }
                let last = self.cache.get(&namespace, &name)?;
                Some(Delete(last.as_ref().clone()))
            }
        }
    }

    /// Returns an object of a list if it is to be held. Objects that have not changed are not exchanged.
    fn listed(&mut self, health: &WatchHealth, object: K, bytes: usize) -> Option<K> {
        let (part, namespace, name) =
            (health.namespace.as_deref(), object.namespace().unwrap_or_default(), object.name_any());
        let known = self.cache.get(&namespace, &name);
        if known.is_some_and(|known| known.resource_version() == object.resource_version()) {
            self.cache.keep_listed(part, &namespace, &name);
            return None;
        }
        let wanted = candidate(&object);
        let old = self.held(&wanted);
        match self.admission.list(part, &wanted, old) {
            Decision::Held(replaced) => {
                for Replaced { namespace, name, shortage, .. } in replaced {
                    if let Some(other) = self.cache.unlist(part, &namespace, &name) {
                        let cause = cause(self.admission.limits(), shortage);
                        self.leave_waiting(health, Unreadable::over_budget(&other, None, cause), candidate(&other));
                    }
                }
                Some(object)
            }
            Decision::LeftOut(shortage) => {
                self.cache.keep_listed(part, &wanted.namespace, &wanted.name);
                let cause = cause(self.admission.limits(), shortage);
                self.leave_waiting(health, Unreadable::over_budget(&object, Some(bytes), cause), wanted);
                None
            }
        }
    }

    /// Returns an object that was created or changed if it is to be held.
    pub(super) fn applied(&mut self, health: &WatchHealth, object: K, bytes: usize) -> Option<K> {
        let candidate = candidate(&object);
        let old = self.held(&candidate);
        if let Err(shortage) = self.admission.apply(&candidate, old) {
            let cause = cause(self.admission.limits(), shortage);
            self.leave_waiting(health, Unreadable::over_budget(&object, Some(bytes), cause), candidate);
            return None;
        }
        self.admission.forget(&candidate.namespace, &candidate.name);
        health.unreadable.forget(&candidate.namespace, &candidate.name);
        Some(object)
    }

    /// Leaves out an object for which there is no room, until there is room.
    fn leave_waiting(&mut self, health: &WatchHealth, object: Unreadable, wanted: Candidate) {
        self.leave_out(health, object);
        self.admission.wait(wanted);
    }

    /// Reports an object that cannot be read, and keeps its own reconciler from acting on the last version.
    fn leave_out(&mut self, health: &WatchHealth, object: Unreadable) {
        let (namespace, name) = object.key();
        if let (Some(store), Some(known)) = (&mut self.store, self.cache.get(namespace, name)) {
            store.forget(&known);
        }
        let is_reconciled = self.store.is_some();
        health.unreadable.note(UnreadableObject::new::<K>(object, &self.dynamic_type, is_reconciled));
    }

    /// Returns the bytes of the version of an object that the cache has.
    pub(super) fn held(&self, object: &Candidate) -> usize {
        self.cache.get(&object.namespace, &object.name).map(|known| footprint(known.as_ref())).unwrap_or_default()
    }

    /// Gives back the bytes of an object that was deleted.
    pub(super) fn release(&mut self, object: &K) {
        let (namespace, name) = (object.namespace().unwrap_or_default(), object.name_any());
        if let Some(known) = self.cache.get(&namespace, &name) {
            self.admission.release(&namespace, footprint(known.as_ref()));
        }
    }
}

/// Returns the rejection of an object for which there is no room. They name no number that changes.
fn cause(limits: &MemoryLimits, shortage: Shortage) -> Rejection {
    match shortage {
        Shortage::Namespace => {
            let message = format!(
                "the objects of this namespace that the controller watches take more than the {} MiB that it holds for \
                 a namespace; this one is left alone until others are deleted or become smaller",
                limits.namespace >> 20
            );
            Rejection::new("NamespaceTooLarge", message)
        }
        Shortage::Total => {
            let message = format!(
                "the objects that the controller watches take nearly all of the {} MiB that it holds for all namespaces, \
                 and this namespace has more than its share of what is left; this object is left alone until others are \
                 deleted or become smaller",
                limits.total >> 20
            );
            Rejection::new("ControllerMemoryFull", message)
        }
    }
}

fn candidate<K: Resource + Serialize>(object: &K) -> Candidate {
    Candidate {
        namespace: object.namespace().unwrap_or_default(),
        name: object.name_any(),
        resource_version: object.resource_version(),
        created: object.creation_timestamp().map(|time| time.0),
        bytes: footprint(object),
    }
}
