//! A cache of the objects of one kind, which its watches fill.

use std::{
    collections::HashMap,
    sync::{Arc, PoisonError, RwLock},
};

use kube::{Resource, ResourceExt, runtime::watcher::Event};

use crate::object_key::ObjectKey;

/// A change that a watch event made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change<K> {
    /// The object is new or has changed.
    Applied(Arc<K>),
    /// The object is gone. This is its last known state.
    Deleted(Arc<K>),
}

impl<K> Change<K> {
    /// Returns the object: its current state or, if it is gone, its last one.
    pub fn object(&self) -> &Arc<K> {
        match self {
            Self::Applied(object) | Self::Deleted(object) => object,
        }
    }
}

/// Objects of one kind, by namespace and name and by one index, such as the group that a worker belongs to.
///
/// A read takes time in proportion to the number of objects that it returns. Clones share the content.
pub struct Cache<K> {
    content: Arc<RwLock<Content<K>>>,
    index_of: fn(&K) -> Option<String>,
}

struct Content<K> {
    objects: HashMap<ObjectKey, Arc<K>>,
    /// The objects by index value, each list sorted by namespace and name. Most lists have one object, for which a tree
    /// would take more memory than the object itself.
    index: HashMap<String, Vec<Arc<K>>>,
    /// Objects of lists in progress, each of one namespace or of all. When a list is complete, its objects replace the
    /// others of the same namespace. `None` is an object that cannot be read, which stays as it was.
    relists: HashMap<Option<String>, HashMap<ObjectKey, Option<K>>>,
}

impl<K> Clone for Cache<K> {
    fn clone(&self) -> Self {
        Self { content: Arc::clone(&self.content), index_of: self.index_of }
    }
}

impl<K: Resource + Clone> Cache<K> {
    /// Returns an empty cache whose index is the value of `index_of`.
    pub fn new(index_of: fn(&K) -> Option<String>) -> Self {
        let content = Content { objects: HashMap::new(), index: HashMap::new(), relists: HashMap::new() };
        Self { content: Arc::new(RwLock::new(content)), index_of }
    }

    /// Returns the object of this name.
    pub fn get(&self, namespace: &str, name: &str) -> Option<Arc<K>> {
        let content = self.content.read().unwrap_or_else(PoisonError::into_inner);
        content.objects.get(&ObjectKey::new(namespace, name)).map(Arc::clone)
    }

    /// Returns the objects with this value of the index, sorted by namespace and name.
    pub fn indexed(&self, value: &str) -> Vec<Arc<K>> {
        let content = self.content.read().unwrap_or_else(PoisonError::into_inner);
        content.index.get(value).cloned().unwrap_or_default()
    }

    /// Returns the objects of the namespace `part`, or of all namespaces.
    pub fn part(&self, part: Option<&str>) -> Vec<Arc<K>> {
        let content = self.content.read().unwrap_or_else(PoisonError::into_inner);
        let objects = content.objects.iter().filter(|(key, _)| is_in(part, key));
        objects.map(|(_, object)| Arc::clone(object)).collect()
    }

    /// Returns all objects.
    pub fn all(&self) -> Vec<Arc<K>> {
        let content = self.content.read().unwrap_or_else(PoisonError::into_inner);
        content.objects.values().map(Arc::clone).collect()
    }

    /// Calls `visit` with each object. It must not block, because the cache is locked meanwhile.
    pub fn for_each(&self, visit: impl FnMut(&Arc<K>)) {
        let content = self.content.read().unwrap_or_else(PoisonError::into_inner);
        content.objects.values().for_each(visit);
    }

    /// Applies `event` from the watch of `part`, a namespace or all of them. Returns the changes that it made. After a
    /// relist, these include the deletion of objects that vanished while the watch was broken. `share` may put an
    /// object where others need it as well.
    pub fn apply(&self, part: Option<&str>, event: Event<K>, share: &mut dyn FnMut(K) -> Arc<K>) -> Vec<Change<K>> {
        let mut content = self.content.write().unwrap_or_else(PoisonError::into_inner);
        match event {
            Event::Apply(object) => vec![content.insert(share(object), self.index_of)],
            Event::Delete(object) => {
                content.remove(&ObjectKey::of(&object), self.index_of);
                vec![Change::Deleted(Arc::new(object))]
            }
            Event::Init => {
                content.relists.insert(part.map(str::to_owned), HashMap::new());
                Vec::new()
            }
            Event::InitApply(object) => {
                let relist = content.relists.entry(part.map(str::to_owned)).or_default();
                relist.insert(ObjectKey::of(&object), Some(object));
                Vec::new()
            }
            Event::InitDone => content.finish_relist(part, self.index_of, share),
        }
    }

    /// Keeps an object of a list in progress as it was, because it exists but cannot be read.
    pub(crate) fn keep_listed(&self, part: Option<&str>, namespace: &str, name: &str) {
        let mut content = self.content.write().unwrap_or_else(PoisonError::into_inner);
        let relist = content.relists.entry(part.map(str::to_owned)).or_default();
        relist.insert(ObjectKey::new(namespace, name), None);
    }

    /// Takes an object out of a list in progress. The version of an earlier list, if any, is kept.
    pub(crate) fn unlist(&self, part: Option<&str>, namespace: &str, name: &str) -> Option<K> {
        let mut content = self.content.write().unwrap_or_else(PoisonError::into_inner);
        let relist = content.relists.get_mut(&part.map(str::to_owned))?;
        relist.get_mut(&ObjectKey::new(namespace, name))?.take()
    }
}

impl<K: Resource + Clone> Content<K> {
    fn insert(&mut self, object: Arc<K>, index_of: fn(&K) -> Option<String>) -> Change<K> {
        let key = ObjectKey::of(object.as_ref());
        self.remove(&key, index_of);
        if let Some(value) = index_of(&object) {
            // Reserves room for one object: `Vec` would begin with four.
            let objects = self.index.entry(value).or_insert_with(|| Vec::with_capacity(1));
            // The object was just removed, so that both variants hold the position to insert it at.
            let (Ok(place) | Err(place)) = place_of(&key, objects);
            objects.insert(place, Arc::clone(&object));
        }
        self.objects.insert(key, Arc::clone(&object));
        Change::Applied(object)
    }

    fn remove(&mut self, key: &ObjectKey, index_of: fn(&K) -> Option<String>) -> Option<Arc<K>> {
        let old = self.objects.remove(key)?;
        if let Some(value) = index_of(&old)
            && let Some(objects) = self.index.get_mut(&value)
        {
            if let Ok(place) = place_of(key, objects) {
                objects.remove(place);
            }
            if objects.is_empty() {
                self.index.remove(&value);
            }
        }
        Some(old)
    }

    fn finish_relist(
        &mut self,
        part: Option<&str>,
        index_of: fn(&K) -> Option<String>,
        share: &mut dyn FnMut(K) -> Arc<K>,
    ) -> Vec<Change<K>> {
        let listed = self.relists.remove(&part.map(str::to_owned)).unwrap_or_default();
        let vanished = |key: &&ObjectKey| is_in(part, key) && !listed.contains_key(*key);
        let vanished: Vec<ObjectKey> = self.objects.keys().filter(vanished).cloned().collect();
        let deleted = vanished.iter().filter_map(|key| self.remove(key, index_of)).map(Change::Deleted);
        let mut changes: Vec<Change<K>> = deleted.collect();
        for (key, object) in listed {
            let Some(object) = object else { continue };
            let known = self.objects.get(&key).map(|old| old.resource_version());
            if known != Some(object.resource_version()) {
                changes.push(self.insert(share(object), index_of));
            }
        }
        changes
    }
}

/// Returns whether `part` is the namespace of `key`, or all namespaces.
fn is_in(part: Option<&str>, key: &ObjectKey) -> bool {
    part.is_none_or(|part| part == key.namespace)
}

/// Returns the position of the object with this key or, as an error, the position to insert it at.
fn place_of<K: Resource>(key: &ObjectKey, objects: &[Arc<K>]) -> Result<usize, usize> {
    objects.binary_search_by(|object| {
        let meta = object.meta();
        let found = (meta.namespace.as_deref().unwrap_or_default(), meta.name.as_deref().unwrap_or_default());
        found.cmp(&(key.namespace.as_str(), key.name.as_str()))
    })
}

#[cfg(test)]
mod tests {
    use k8s_openapi::api::core::v1::ConfigMap;
    use serde_json::json;

    use super::*;

    fn config_map(name: &str, group: &str, version: u32) -> ConfigMap {
        serde_json::from_value(json!({
            "metadata": {"namespace": "ns", "name": name, "labels": {"group": group}, "resourceVersion": version.to_string()}
        }))
        .unwrap()
    }

    fn cache() -> Cache<ConfigMap> {
        Cache::new(|object| object.labels().get("group").cloned())
    }

    /// An object that a user made unreadable stays as it was until it is deleted.
    #[test]
    fn a_listed_object_that_cannot_be_read_stays_as_it_was() {
        let cache = cache();
        apply(&cache, Event::Apply(config_map("a", "x", 1)));
        apply(&cache, Event::Init);
        cache.keep_listed(None, "ns", "a");
        cache.keep_listed(None, "ns", "never-read");
        assert_eq!(apply(&cache, Event::InitDone), []);
        assert_eq!(names(&cache.all()), ["a"]);
        apply(&cache, Event::Init);
        assert_eq!(apply(&cache, Event::InitDone).len(), 1);
        assert_eq!(cache.indexed("x"), []);
    }

    fn names(objects: &[Arc<ConfigMap>]) -> Vec<String> {
        objects.iter().map(|object| object.name_any()).collect()
    }

    fn apply(cache: &Cache<ConfigMap>, event: Event<ConfigMap>) -> Vec<Change<ConfigMap>> {
        cache.apply(None, event, &mut Arc::new)
    }

    #[test]
    fn an_object_that_moves_to_another_group_leaves_the_old_one() {
        let cache = cache();
        apply(&cache, Event::Apply(config_map("a", "one", 1)));
        apply(&cache, Event::Apply(config_map("a", "two", 2)));
        assert!(cache.indexed("one").is_empty());
        assert_eq!(names(&cache.indexed("two")), ["a"]);
    }

    #[test]
    fn a_deleted_object_leaves_cache_and_index() {
        let cache = cache();
        apply(&cache, Event::Apply(config_map("a", "one", 1)));
        apply(&cache, Event::Delete(config_map("a", "one", 2)));
        assert!(cache.get("ns", "a").is_none());
        assert!(cache.indexed("one").is_empty());
    }

    /// Otherwise a child that was deleted while the watch was broken would never be created again.
    #[test]
    fn a_relist_reports_what_vanished_what_changed_and_nothing_else() {
        let cache = cache();
        for name in ["vanished", "changed", "same"] {
            apply(&cache, Event::Apply(config_map(name, "one", 1)));
        }
        assert!(apply(&cache, Event::Init).is_empty());
        assert!(apply(&cache, Event::InitApply(config_map("changed", "one", 2))).is_empty());
        assert!(apply(&cache, Event::InitApply(config_map("same", "one", 1))).is_empty());
        assert!(cache.get("ns", "vanished").is_some(), "until the list is complete the old state stays");

        let changes = apply(&cache, Event::InitDone);
        let expected = [
            Change::Deleted(Arc::new(config_map("vanished", "one", 1))),
            Change::Applied(Arc::new(config_map("changed", "one", 2))),
        ];
        assert_eq!(changes, expected);
        assert_eq!(names(&cache.indexed("one")), ["changed", "same"]);
    }

    /// Otherwise a relist in the namespace of one team would drop the clusters of all others.
    #[test]
    fn a_relist_of_one_namespace_replaces_its_own_part_even_while_another_is_listed() {
        let cache = cache();
        let of = |namespace: &str, name: &str| {
            let mut object = config_map(name, "one", 1);
            object.metadata.namespace = Some(namespace.to_owned());
            object
        };
        let deliver = |part: &str, event| cache.apply(Some(part), event, &mut Arc::new);
        for namespace in ["a", "b"] {
            deliver(namespace, Event::Apply(of(namespace, "old")));
        }
        deliver("a", Event::Init);
        deliver("b", Event::Init);
        deliver("a", Event::InitApply(of("a", "new")));
        deliver("b", Event::InitApply(of("b", "new")));
        let changes = deliver("a", Event::InitDone);
        assert_eq!(changes, [Change::Deleted(Arc::new(of("a", "old"))), Change::Applied(Arc::new(of("a", "new")))]);
        assert_eq!(names(&cache.part(Some("a"))), ["new"]);
        assert_eq!(names(&cache.part(Some("b"))), ["old"]);
        let changes = deliver("b", Event::InitDone);
        assert_eq!(changes.len(), 2);
        assert_eq!(names(&cache.part(Some("b"))), ["new"]);
        assert_eq!(cache.part(None).len(), 2);
    }

    /// A reconciler's store holds the same objects, of which there may be thousands.
    #[test]
    fn objects_are_held_once_and_those_that_did_not_change_stay_as_they_are() {
        let cache = cache();
        let mut shared = Vec::new();
        let mut deliver = |event| {
            let mut share = |object| {
                let object = Arc::new(object);
                shared.push(Arc::clone(&object));
                object
            };
            cache.apply(None, event, &mut share)
        };
        deliver(Event::Apply(config_map("a", "one", 1)));
        for event in [Event::Init, Event::InitApply(config_map("a", "one", 1)), Event::InitDone] {
            deliver(event);
        }
        assert_eq!(shared.len(), 1);
        assert!(Arc::ptr_eq(&shared[0], &cache.get("ns", "a").unwrap()));
    }
}
