//! The watches of one kind. They fill its cache and notify listeners of changes.

use std::{fmt::Debug, hash::Hash, sync::Arc, time::Instant};

use futures::{
    StreamExt as _,
    stream::{BoxStream, SelectAll},
};
use k8s_openapi::api::core::v1::ObjectReference;
use kube::{
    Api, Client, Resource, ResourceExt as _,
    core::{DynamicResourceScope, NamespaceResourceScope},
    runtime::{
        WatchStreamExt as _,
        reflector::{ObjectRef, Store, store::Writer},
        watcher,
    },
};
use serde::de::DeserializeOwned;

use super::{
    Cache, Change, SyncStatus,
    health::{Delivery, WatchHealth, is_refused},
    timing,
    unreadable::{Deletion, UnreadableObject},
};
use crate::{
    received::{Received, Unreadable},
    scope::Scope,
};

/// How the API of a kind in one namespace is constructed. kube has a separate function for kinds that are known only at
/// run time.
pub trait ApiScope<K: Resource> {
    /// Returns the API of the objects in `namespace`.
    fn within(client: Client, namespace: &str, dynamic_type: &K::DynamicType) -> Api<K>;
}

impl<K: Resource<Scope = Self, DynamicType = ()>> ApiScope<K> for NamespaceResourceScope {
    fn within(client: Client, namespace: &str, (): &()) -> Api<K> {
        Api::namespaced(client, namespace)
    }
}

impl<K: Resource<Scope = Self>> ApiScope<K> for DynamicResourceScope {
    fn within(client: Client, namespace: &str, dynamic_type: &K::DynamicType) -> Api<K> {
        Api::namespaced_with(client, namespace, dynamic_type)
    }
}

/// A result of a watch, with the health of that watch.
type WatchEvent<K> = (Arc<WatchHealth>, watcher::Result<watcher::Event<Received<K>>>);
type Listener<K> = Box<dyn Fn(&Change<K>) + Send>;

/// The watches of one kind, one in each namespace, with their listeners.
pub struct KindWatcher<K>
where
    K: Resource + Clone + 'static,
    K::DynamicType: Eq + Hash + Clone,
{
    parts: Vec<(Arc<WatchHealth>, Api<Received<K>>)>,
    dynamic_type: K::DynamicType,
    config: watcher::Config,
    cache: Cache<K>,
    store: Option<Shared<K>>,
    listeners: Vec<Listener<K>>,
    optional: bool,
    on_list: Option<Box<dyn Fn() + Send + Sync>>,
}

/// Removes the `managedFields`, which no user of the caches needs.
fn without_managers<K: Resource>(mut object: K) -> K {
    object.meta_mut().managed_fields = None;
    object
}

/// A store that holds the same instances as the cache.
struct Shared<K>
where
    K: Resource + Clone + 'static,
    K::DynamicType: Eq + Hash + Clone,
{
    writer: Writer<K>,
    reader: Store<K>,
    dynamic_type: K::DynamicType,
}

impl<K> KindWatcher<K>
where
    K: Resource + Clone + DeserializeOwned + Debug + Send + Sync + 'static,
    K::DynamicType: Eq + Hash + Clone + Debug + Unpin + Send + Sync,
{
    /// Returns watches of `scope`, restricted by `config`, that fill `cache`.
    pub fn new(
        client: &Client,
        scope: &Scope,
        dynamic_type: K::DynamicType,
        mut config: watcher::Config,
        cache: Cache<K>,
    ) -> Self
    where
        K::Scope: ApiScope<Received<K>>,
    {
        let (kind, now) = (K::plural(&dynamic_type).into_owned(), Instant::now());
        if let Some(fields) = scope.field_selector() {
            config = config.fields(&fields);
        }
        let part = |namespace: Option<&str>| {
            let health = Arc::new(WatchHealth::new(&kind, namespace, now));
            let client = health.listen(client);
            let api = match namespace {
                Some(namespace) => K::Scope::within(client, namespace, &dynamic_type),
                None => Api::all_with(client, &dynamic_type),
            };
            (health, api)
        };
        Self {
            parts: scope.parts().into_iter().map(part).collect(),
            dynamic_type,
            config,
            cache,
            store: None,
            listeners: Vec::new(),
            optional: false,
            on_list: None,
        }
    }

    /// Also fills a store that `kube::runtime::applier` reads.
    #[must_use]
    pub fn store(mut self, mut writer: Writer<K>) -> Self {
        // An empty list makes the store ready. Its content depends on the cache: kube's applier only runs once a list
        // is complete, and the complete lists of the watches are awaited separately.
        writer.apply_watcher_event(&watcher::Event::Init);
        writer.apply_watcher_event(&watcher::Event::InitDone);
        let (reader, dynamic_type) = (writer.as_reader(), self.dynamic_type.clone());
        self.store = Some(Shared { writer, reader, dynamic_type });
        self
    }

    /// Treats a kind that is not served as one without objects, because dask-kubernetes' CRDs lack it.
    #[must_use]
    pub fn optional(mut self) -> Self {
        self.optional = true;
        self
    }

    /// Calls `on_list` after each list, and reports all objects of the namespace as changed. Lists are rare, and one
    /// takes place whenever the kind's CRD is replaced.
    #[must_use]
    pub fn resync(mut self, on_list: impl Fn() + Send + Sync + 'static) -> Self {
        self.on_list = Some(Box::new(on_list));
        self
    }

    /// Calls `listener` with each change, after the cache was updated. It must not block.
    #[must_use]
    pub fn listen(mut self, listener: impl Fn(&Change<K>) + Send + 'static) -> Self {
        self.listeners.push(Box::new(listener));
        self
    }

    /// Returns the sync status of the watches, and the future that runs them for as long as the process lives.
    pub fn start(self) -> (SyncStatus, impl Future<Output = ()> + Send) {
        let health = self.parts.iter().map(|(health, _)| Arc::clone(health)).collect();
        (SyncStatus::new(&K::plural(&self.dynamic_type), health), self.run())
    }

    async fn run(mut self) {
        let mut events: SelectAll<_> = self.parts.iter().map(|(health, api)| self.events(health, api)).collect();
        while let Some((health, result)) = events.next().await {
            self.on_event(&health, result);
        }
    }

    fn events(&self, health: &Arc<WatchHealth>, api: &Api<Received<K>>) -> BoxStream<'static, WatchEvent<K>> {
        let health = Arc::clone(health);
        watcher(api.clone(), self.config.clone())
            .backoff(timing::pauses(&self.config))
            .map(move |result| (Arc::clone(&health), result))
            .boxed()
    }

    fn on_event(&mut self, health: &WatchHealth, result: watcher::Result<watcher::Event<Received<K>>>) {
        match result {
            Ok(event) => {
                health.delivers();
                if let Some(event) = self.readable(health, event) {
                    self.take(health, event);
                }
            }
            Err(error) if self.optional && is_refused(&error, 404) => {
                if !health.is_delivered() {
                    let kind = K::plural(&self.dynamic_type);
                    tracing::info!(%kind, "this kind is not installed; it is watched as soon as it is");
                    self.take(health, watcher::Event::Init);
                    self.take(health, watcher::Event::InitDone);
                }
            }
            Err(error) => {
                health.failed(&error, Instant::now());
                if is_refused(&error, 403) && !health.is_delivered() {
                    health.delivery.send_replace(Delivery::Refused);
                }
            }
        }
    }

    /// Filters out objects that cannot be read. Such an object stays in the cache as it was, for the objects that
    /// depend on it. It is removed from the store of its own reconciler, which would act on an old spec.
    fn readable(&mut self, health: &WatchHealth, event: watcher::Event<Received<K>>) -> Option<watcher::Event<K>> {
        use watcher::Event::{Apply, Delete, Init, InitApply, InitDone};
        match event {
            Init => {
                health.unreadable.begin_list();
                Some(Init)
            }
            InitApply(Received::Readable { object, .. }) => Some(InitApply(without_managers(object))),
            InitApply(Received::Unreadable(object)) => {
                let (namespace, name) = object.key();
                self.cache.keep_listed(health.namespace.as_deref(), namespace, name);
                self.set_aside(namespace, name);
                health.unreadable.note(self.reported(*object));
                None
            }
            InitDone => {
                health.unreadable.end_list();
                Some(InitDone)
            }
            Apply(Received::Readable { object, .. }) => {
                health.unreadable.forget(&object.namespace().unwrap_or_default(), &object.name_any());
                Some(Apply(without_managers(object)))
            }
            Apply(Received::Unreadable(object)) => {
                let (namespace, name) = object.key();
                self.set_aside(namespace, name);
                health.unreadable.note(self.reported(*object));
                None
            }
            Delete(object) => {
                let (namespace, name) = (object.namespace().unwrap_or_default(), object.name_any());
                health.unreadable.forget(&namespace, &name);
                if let Received::Readable { object, .. } = object {
                    return Some(Delete(object));
                }
                let last = self.cache.get(&namespace, &name)?;
                Some(Delete(last.as_ref().clone()))
            }
        }
    }

    fn set_aside(&mut self, namespace: &str, name: &str) {
        if let (Some(store), Some(known)) = (&mut self.store, self.cache.get(namespace, name)) {
            store.forget(&known);
        }
    }

    fn reported(&self, object: Unreadable) -> UnreadableObject {
        let dynamic_type = &self.dynamic_type;
        let reference = ObjectReference {
            api_version: Some(K::api_version(dynamic_type).into_owned()),
            kind: Some(K::kind(dynamic_type).into_owned()),
            namespace: object.metadata.namespace,
            name: object.metadata.name,
            uid: object.metadata.uid,
            resource_version: object.metadata.resource_version,
            field_path: None,
        };
        let plural = K::plural(dynamic_type).into_owned();
        let finalizers = object.metadata.finalizers.unwrap_or_default();
        let deletion = object.metadata.deletion_timestamp.map(|since| Deletion { since, finalizers });
        UnreadableObject {
            reference,
            plural,
            reason: object.reason,
            message: object.message,
            conditions: object.conditions,
            generation: object.metadata.generation,
            bytes: object.bytes,
            deletion,
        }
    }

    fn take(&mut self, health: &WatchHealth, event: watcher::Event<K>) {
        let part = health.namespace.as_deref();
        let is_list = matches!(event, watcher::Event::InitDone);
        let mut share = |object: K| match &mut self.store {
            Some(store) => store.share(object),
            // A clone has no spare capacity, which takes up to a third of a parsed object.
            None => Arc::new(K::clone(&object)),
        };
        let mut changes = self.cache.apply(part, event, &mut share);
        if let Some(store) = &mut self.store {
            for change in &changes {
                if let Change::Deleted(object) = change {
                    store.forget(object);
                }
            }
        }
        if is_list {
            health.delivery.send_replace(Delivery::Delivered);
        }
        if let (Some(on_list), true) = (&self.on_list, is_list) {
            on_list();
            changes.retain(|change| matches!(change, Change::Deleted(_)));
            changes.extend(self.cache.part(part).into_iter().map(Change::Applied));
        }
        for change in &changes {
            for listener in &self.listeners {
                listener(change);
            }
        }
    }
}

impl<K> Shared<K>
where
    K: Resource + Clone + 'static,
    K::DynamicType: Eq + Hash + Clone,
{
    /// Puts `object` into the store, and returns the instance that the store holds. One copy is enough, because there
    /// are thousands of objects.
    fn share(&mut self, object: K) -> Arc<K> {
        let key = ObjectRef::from_obj_with(&object, self.dynamic_type.clone());
        self.writer.apply_watcher_event(&watcher::Event::Apply(object.clone()));
        self.reader.get(&key).unwrap_or_else(|| Arc::new(object))
    }

    fn forget(&mut self, object: &K) {
        self.writer.apply_watcher_event(&watcher::Event::Delete(object.clone()));
    }
}

#[cfg(test)]
mod tests;
