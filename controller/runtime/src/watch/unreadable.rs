//! The objects of a watch that cannot be read. They are kept by name until they can be read or are gone.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use k8s_openapi::{
    api::core::v1::ObjectReference,
    apimachinery::pkg::apis::meta::v1::{Condition, Time},
};
use kube::{Resource, api::ObjectMeta};

use crate::{object_key::ObjectKey, received::Unreadable};

/// An object that the API server has and the controller cannot read.
#[derive(Clone, Debug, PartialEq)]
pub struct UnreadableObject {
    /// The reference to the object.
    pub reference: ObjectReference,
    /// The plural of the object's kind, as in API paths.
    pub plural: String,
    /// Why the object cannot be read, as one word.
    pub reason: &'static str,
    /// Why the object cannot be read, for its author. The text may quote the object.
    pub message: String,
    /// The conditions in the object's status, as far as they can be read.
    pub conditions: Vec<Condition>,
    /// The generation of the object's spec.
    pub generation: Option<i64>,
    /// The length of the object's text.
    pub bytes: usize,
    /// Whether a reconciler writes the conditions of the object. Other watches have copies for plugins.
    pub is_reconciled: bool,
    /// The state of the object's deletion, if it has begun.
    pub deletion: Option<Deletion>,
}

/// The state of an object's deletion.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Deletion {
    /// When the object was deleted.
    pub since: Time,
    /// The object's finalizers.
    pub finalizers: Vec<String>,
}

impl UnreadableObject {
    /// Returns the record of an object of kind `K`.
    pub(crate) fn new<K: Resource>(object: Unreadable, dynamic_type: &K::DynamicType, is_reconciled: bool) -> Self {
        let reference = ObjectReference {
            api_version: Some(K::api_version(dynamic_type).into_owned()),
            kind: Some(K::kind(dynamic_type).into_owned()),
            namespace: object.metadata.namespace,
            name: object.metadata.name,
            uid: object.metadata.uid,
            resource_version: object.metadata.resource_version,
            field_path: None,
        };
        let finalizers = object.metadata.finalizers.unwrap_or_default();
        Self {
            reference,
            plural: K::plural(dynamic_type).into_owned(),
            reason: object.reason,
            message: object.message,
            conditions: object.conditions,
            generation: object.metadata.generation,
            bytes: object.bytes,
            is_reconciled,
            deletion: object.metadata.deletion_timestamp.map(|since| Deletion { since, finalizers }),
        }
    }

    /// Returns the known metadata of an object that is being deleted.
    pub fn deleted_metadata(&self) -> Option<ObjectMeta> {
        let Deletion { since, finalizers } = self.deletion.clone()?;
        let ObjectReference { name, namespace, uid, resource_version, .. } = self.reference.clone();
        Some(ObjectMeta {
            name,
            namespace,
            uid,
            resource_version,
            deletion_timestamp: Some(since),
            finalizers: Some(finalizers),
            ..ObjectMeta::default()
        })
    }

    fn key(&self) -> ObjectKey {
        let text = |text: &Option<String>| text.clone().unwrap_or_default();
        ObjectKey { namespace: text(&self.reference.namespace), name: text(&self.reference.name) }
    }
}

type Objects = BTreeMap<ObjectKey, Arc<UnreadableObject>>;

/// The unreadable objects of one watch.
#[derive(Debug, Default)]
pub(crate) struct UnreadableObjects(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    known: Objects,
    /// The objects of a list in progress. They replace `known` when the list is complete.
    listed: Option<Objects>,
    /// How many times `known` has changed.
    changes: u64,
}

impl UnreadableObjects {
    /// Begins a list. Its unreadable objects are noted one by one.
    pub(crate) fn begin_list(&self) {
        self.state().listed = Some(Objects::new());
    }

    /// Records an object of a list in progress or of a watch event.
    pub(crate) fn note(&self, object: UnreadableObject) {
        let mut state = self.state();
        let key = object.key();
        if let Some(listed) = &mut state.listed {
            listed.insert(key, Arc::new(object));
            return;
        }
        let is_new = state.known.get(&key).is_none_or(|known| known.reason != object.reason);
        log(&object, is_new);
        state.known.insert(key, Arc::new(object));
        state.changes += 1;
    }

    /// Forgets an object that is gone or can be read again.
    pub(crate) fn forget(&self, namespace: &str, name: &str) {
        let mut state = self.state();
        if state.known.is_empty() {
            return;
        }
        if state.known.remove(&ObjectKey::new(namespace, name)).is_some() {
            state.changes += 1;
        }
    }

    /// Ends a list. An object that was not recorded during the list is gone or can be read, and is forgotten.
    pub(crate) fn end_list(&self) {
        let mut state = self.state();
        let listed = state.listed.take().unwrap_or_default();
        for (key, object) in &listed {
            let is_new = state.known.get(key).is_none_or(|known| known.reason != object.reason);
            log(object, is_new);
        }
        if state.known != listed {
            state.known = listed;
            state.changes += 1;
        }
    }

    /// Returns all objects, by namespace and name.
    pub(crate) fn all(&self) -> Vec<Arc<UnreadableObject>> {
        self.state().known.values().map(Arc::clone).collect()
    }

    /// Returns the number of objects.
    pub(crate) fn len(&self) -> usize {
        self.state().known.len()
    }

    /// Returns how many times the objects have changed.
    pub(crate) fn changes(&self) -> u64 {
        self.state().changes
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Logs the name of the object. The message, which may quote the object, is logged at debug level only, because the log
/// has other readers than the object's author. A warning is logged only if `is_new`, so that a user who changes an
/// object again and again does not fill the log.
fn log(object: &UnreadableObject, is_new: bool) {
    let UnreadableObject { reference, plural, reason, message, .. } = object;
    let (namespace, name) = (reference.namespace.as_deref(), reference.name.as_deref());
    if is_new {
        tracing::warn!(kind = plural, namespace, name, reason, "an object cannot be read and is skipped");
    }
    tracing::debug!(kind = plural, namespace, name, message, "an object cannot be read");
}

#[cfg(test)]
mod tests {
    use super::*;

    fn object(name: &str, reason: &'static str) -> UnreadableObject {
        UnreadableObject {
            reference: ObjectReference {
                namespace: Some("ns".to_owned()),
                name: Some(name.to_owned()),
                ..ObjectReference::default()
            },
            plural: "daskclusters".to_owned(),
            reason,
            message: String::new(),
            conditions: Vec::new(),
            generation: None,
            bytes: 1000,
            is_reconciled: true,
            deletion: None,
        }
    }

    fn names(objects: &UnreadableObjects) -> Vec<String> {
        objects.all().iter().filter_map(|object| object.reference.name.clone()).collect()
    }

    #[test]
    fn a_list_replaces_what_was_known() {
        let objects = UnreadableObjects::default();
        objects.note(object("a", "TooDeep"));
        objects.note(object("b", "TooDeep"));
        objects.begin_list();
        objects.note(object("b", "TooDeep"));
        assert_eq!(names(&objects), ["a", "b"], "the list is not complete");
        objects.end_list();
        assert_eq!(names(&objects), ["b"]);
        let changes = objects.changes();
        objects.begin_list();
        objects.note(object("b", "TooDeep"));
        objects.end_list();
        assert_eq!(objects.changes(), changes, "the same list is no change");
    }

    #[test]
    fn an_object_that_can_be_read_again_or_is_gone_is_forgotten() {
        let objects = UnreadableObjects::default();
        objects.note(object("a", "TooDeep"));
        let changes = objects.changes();
        objects.forget("other", "a");
        assert_eq!((objects.len(), objects.changes()), (1, changes));
        objects.forget("ns", "a");
        assert_eq!(objects.len(), 0);
        assert_ne!(objects.changes(), changes);
    }
}
