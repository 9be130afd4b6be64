//! The watches of one kind. They fill its cache and notify listeners of changes.

mod api_scope;
mod reading;
mod rereading;
mod shared_store;

use std::{
    fmt::Debug,
    hash::Hash,
    sync::Arc,
    time::{Duration, Instant},
};

use futures::{
    StreamExt as _,
    stream::{BoxStream, FuturesUnordered, SelectAll},
};
use kube::{
    Api, Client, Resource, ResourceExt as _,
    runtime::{WatchStreamExt as _, reflector::store::Writer, watcher},
};
use serde::{Serialize, de::DeserializeOwned};
use tokio::time::MissedTickBehavior;

pub use self::api_scope::ApiScope;
use self::{rereading::Reread, shared_store::SharedStore};
use super::{
    Cache, Change, MemoryBudget, SyncStatus,
    admission::Admission,
    footprint::footprint,
    health::{Delivery, WatchHealth, is_refused},
    timing,
};
use crate::{received::Unparsed, scope::Scope};

/// A result of a watch, with the health of that watch.
type WatchEvent<K> = (Arc<WatchHealth>, watcher::Result<watcher::Event<Unparsed<K>>>);
type Listener<K> = Box<dyn Fn(&Change<K>) + Send>;

/// How often the watch looks for room for objects that the memory budget left out.
const REREAD_PERIOD: Duration = Duration::from_secs(2);

/// The watch of one namespace, or of all.
struct Part<K> {
    health: Arc<WatchHealth>,
    api: Api<Unparsed<K>>,
}

/// Returns the API of the objects in a namespace, or of those that are in none.
type ApiWithin<K> = Box<dyn Fn(&str) -> Api<Unparsed<K>> + Send>;

/// The watches of one kind, one in each namespace, with their listeners.
pub struct KindWatcher<K>
where
    K: Resource + Clone + 'static,
    K::DynamicType: Eq + Hash + Clone,
{
    parts: Vec<Part<K>>,
    /// Returns the API of the objects in a namespace, or of those that are in none.
    within: ApiWithin<K>,
    dynamic_type: K::DynamicType,
    config: watcher::Config,
    cache: Cache<K>,
    store: Option<SharedStore<K>>,
    listeners: Vec<Listener<K>>,
    optional: bool,
    on_list: Option<Box<dyn Fn() + Send + Sync>>,
    admission: Admission,
}

impl<K> KindWatcher<K>
where
    K: Resource + Clone + Serialize + DeserializeOwned + Debug + Send + Sync + 'static,
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
        K::Scope: ApiScope<Unparsed<K>>,
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
            Part { health, api }
        };
        let (client, within_type) = (client.clone(), dynamic_type.clone());
        Self {
            parts: scope.parts().into_iter().map(part).collect(),
            within: Box::new(move |namespace| match namespace {
                "" => Api::all_with(client.clone(), &within_type),
                namespace => K::Scope::within(client.clone(), namespace, &within_type),
            }),
            dynamic_type,
            config,
            cache,
            store: None,
            listeners: Vec::new(),
            optional: false,
            on_list: None,
            admission: Admission::new(MemoryBudget::unlimited()),
        }
    }

    /// Also fills a store that `kube::runtime::applier` reads.
    #[must_use]
    pub fn store(mut self, writer: Writer<K>) -> Self {
        self.store = Some(SharedStore::new(writer, self.dynamic_type.clone()));
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

    /// Returns the sync status of the watches.
    pub fn sync_status(&self) -> SyncStatus {
        let health = self.parts.iter().map(|part| Arc::clone(&part.health)).collect();
        SyncStatus::new(&K::plural(&self.dynamic_type), health)
    }

    /// Runs the watches for as long as the process lives. The objects of a namespace are held as far as `budget` allows.
    pub async fn run(mut self, budget: MemoryBudget) {
        self.admission = Admission::new(budget);
        let mut events: SelectAll<_> = self.parts.iter().map(|part| self.events(part)).collect();
        let mut rereads: FuturesUnordered<Reread<K>> = FuturesUnordered::new();
        let mut ticks = tokio::time::interval(REREAD_PERIOD);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                event = events.next() => match event {
                    Some((health, result)) => self.on_event(&health, result),
                    None => return,
                },
                Some(found) = rereads.next(), if !rereads.is_empty() => self.on_reread(found),
                _ = ticks.tick(), if rereads.is_empty() && self.admission.has_waiting() => {
                    rereads.extend(self.rereads());
                }
            }
        }
    }

    fn events(&self, part: &Part<K>) -> BoxStream<'static, WatchEvent<K>> {
        let health = Arc::clone(&part.health);
        watcher(part.api.clone(), self.config.clone())
            .backoff(timing::pauses(&self.config))
            .map(move |result| (Arc::clone(&health), result))
            .boxed()
    }

    fn on_event(&mut self, health: &WatchHealth, result: watcher::Result<watcher::Event<Unparsed<K>>>) {
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

    fn take(&mut self, health: &WatchHealth, event: watcher::Event<K>) {
        let part = health.namespace.as_deref();
        let is_list = matches!(event, watcher::Event::InitDone);
        if let watcher::Event::Delete(object) = &event {
            self.release(object);
        }
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
            for change in &changes {
                if let Change::Deleted(object) = change {
                    self.admission.release(&object.namespace().unwrap_or_default(), footprint(object.as_ref()));
                }
            }
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

#[cfg(test)]
mod tests;
