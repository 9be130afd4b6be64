//! The store of a reconciler's own kind.

use std::{hash::Hash, sync::Arc};

use kube::{
    Resource,
    runtime::{
        reflector::{ObjectRef, Store, store::Writer},
        watcher,
    },
};

/// A store that holds the same instances as the cache.
pub(super) struct SharedStore<K>
where
    K: Resource + Clone + 'static,
    K::DynamicType: Eq + Hash + Clone,
{
    writer: Writer<K>,
    reader: Store<K>,
    dynamic_type: K::DynamicType,
}

impl<K> SharedStore<K>
where
    K: Resource + Clone + 'static,
    K::DynamicType: Eq + Hash + Clone,
{
    /// Returns the store that `writer` fills. An empty list makes it ready. Its content depends on the cache: kube's
    /// applier only runs once a list is complete, and the complete lists of the watches are awaited separately.
    pub(super) fn new(mut writer: Writer<K>, dynamic_type: K::DynamicType) -> Self {
        writer.apply_watcher_event(&watcher::Event::Init);
        writer.apply_watcher_event(&watcher::Event::InitDone);
        Self { reader: writer.as_reader(), writer, dynamic_type }
    }

    /// Puts `object` into the store, and returns the instance that the store holds. One copy is enough, because there
    /// are thousands of objects.
    pub(super) fn share(&mut self, object: K) -> Arc<K> {
        let key = ObjectRef::from_obj_with(&object, self.dynamic_type.clone());
        self.writer.apply_watcher_event(&watcher::Event::Apply(object.clone()));
        self.reader.get(&key).unwrap_or_else(|| Arc::new(object))
    }

    /// Removes `object` from the store.
    pub(super) fn forget(&mut self, object: &K) {
        self.writer.apply_watcher_event(&watcher::Event::Delete(object.clone()));
    }
}
