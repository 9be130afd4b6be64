//! Manages the watches that plugins need. Each one is started when the first plugin needs its kind.
//!
//! Subjects have one watch for each of seven kinds, which is never closed. Children have one watch for each writer and
//! kind. Teams choose these kinds, so their watches are closed when no plugin needs them any more.

mod start;

use std::{
    collections::{HashMap, HashSet},
    sync::{Arc, Mutex, PoisonError, Weak},
    time::{Duration, Instant},
};

use dask_operator_api::SubjectKind;
use kube::{
    Client,
    api::{DynamicObject, PartialObjectMeta},
    core::ApiResource,
};
use operator_runtime::{
    liveness::Liveness,
    scope::Scope,
    watch::{Cache, MemoryBudget, SyncStatus, WatchTiming},
};
use tokio_util::sync::{CancellationToken, DropGuard};

use super::registry::Registry;
use crate::model::{
    child_meta::ChildMeta,
    stored_object::StoredObject,
    subject::SubjectKey,
    writer::{WatchKey, Writer},
};

/// An object without its content.
type Metadata = PartialObjectMeta<DynamicObject>;

/// How long a watch of children stays open after its last use if no plugin needs it.
const UNUSED: Duration = Duration::from_secs(30);

/// A watch of children. It ends when this is dropped.
struct Open {
    watched: Watched<ChildMeta>,
    closed: CancellationToken,
    _end: DropGuard,
    /// The time of the last use.
    used: Instant,
}

/// A running watch.
struct Watched<K> {
    cache: Cache<K>,
    progress: SyncStatus,
}

impl<K> Clone for Watched<K> {
    fn clone(&self) -> Self {
        Self { cache: self.cache.clone(), progress: self.progress.clone() }
    }
}

/// How a kind is watched.
pub(crate) struct WatchConfig {
    /// The namespaces that are watched for subjects, and for children unless their writer is limited to fewer.
    pub(crate) scope: Scope,
    pub(crate) timing: WatchTiming,
    /// The liveness check, which reports watches that receive nothing.
    pub(crate) liveness: Liveness,
    pub(crate) memory_budget: MemoryBudget,
}

/// The error for subjects in a namespace that may not be read or has not been read yet.
#[derive(Debug, thiserror::Error)]
#[error("the controller may not read {kind:?} objects of the namespace {namespace}, or has not read them yet")]
pub(crate) struct NotSynced {
    kind: SubjectKind,
    namespace: String,
}

/// The watches of subjects, owners and children that plugins need.
pub(crate) struct WatchManager {
    client: Client,
    watch_config: WatchConfig,
    registry: Arc<Registry>,
    cancel: CancellationToken,
    /// A weak reference for listeners, which must not keep the manager alive that owns them.
    myself: Weak<Self>,
    subjects: Mutex<HashMap<SubjectKind, Watched<StoredObject>>>,
    children: Mutex<HashMap<WatchKey, Open>>,
    namespaces: Mutex<Option<Watched<Metadata>>>,
}

/// A watch of children, for a caller that waits for it.
struct OpenWatch {
    watched: Watched<ChildMeta>,
    /// Cancelled when the watch is closed.
    closed: CancellationToken,
}

impl WatchManager {
    /// Returns a manager without watches.
    pub(crate) fn new(
        client: Client,
        watch_config: WatchConfig,
        registry: Arc<Registry>,
        cancel: CancellationToken,
    ) -> Arc<Self> {
        Arc::new_cyclic(|myself| Self {
            client,
            watch_config,
            registry,
            cancel,
            myself: myself.clone(),
            subjects: Mutex::default(),
            children: Mutex::default(),
            namespaces: Mutex::default(),
        })
    }

    /// Returns the objects of `kind`. Waits until they are complete in all namespaces that can be read.
    pub(crate) async fn subjects(&self, kind: SubjectKind) -> Cache<StoredObject> {
        let watched = self.watched(kind);
        watched.progress.synced().await;
        watched.cache
    }

    /// Returns an object if it exists. Fails if its namespace cannot be read, because a missing object must not be
    /// inferred from that.
    pub(crate) async fn subject(&self, key: &SubjectKey) -> Result<Option<Arc<StoredObject>>, NotSynced> {
        let cache = self.subjects(key.kind).await;
        if !self.knows(key.kind, &key.namespace) {
            return Err(NotSynced { kind: key.kind, namespace: key.namespace.clone() });
        }
        Ok(cache.get(&key.namespace, &key.name))
    }

    /// Returns whether the objects of `kind` in `namespace` are complete.
    pub(crate) fn knows(&self, kind: SubjectKind, namespace: &str) -> bool {
        self.watched(kind).progress.knows(namespace)
    }

    fn watched(&self, kind: SubjectKind) -> Watched<StoredObject> {
        let mut subjects = self.subjects.lock().unwrap_or_else(PoisonError::into_inner);
        subjects.entry(kind).or_insert_with(|| self.start_subjects(kind)).clone()
    }

    /// Returns the children of `resource` that `writer` may see, by `{plugin}/{subject uid}`. Waits until they are
    /// complete.
    pub(crate) async fn children(&self, writer: &Writer, resource: &ApiResource) -> Cache<ChildMeta> {
        loop {
            let OpenWatch { watched, closed } = self.open(writer, resource, Instant::now());
            tokio::select! {
                biased;
                () = watched.progress.synced() => return watched.cache,
                // The watch was closed while a caller is waiting for it, so it is opened again.
                () = closed.cancelled(), if !self.cancel.is_cancelled() => {}
            }
        }
    }

    /// Returns the watch of `resource` by `writer`.
    fn open(&self, writer: &Writer, resource: &ApiResource, now: Instant) -> OpenWatch {
        let key = WatchKey { writer: writer.key(), resource: resource.clone() };
        let mut children = self.children.lock().unwrap_or_else(PoisonError::into_inner);
        let open = children.entry(key).or_insert_with(|| {
            let closed = self.cancel.child_token();
            let watched = self.start_children(writer, resource, closed.clone());
            Open { watched, _end: closed.clone().drop_guard(), closed, used: now }
        });
        open.used = now;
        OpenWatch { watched: open.watched.clone(), closed: open.closed.clone() }
    }

    /// Closes the watches of children that are not in `wanted` and have not been used for a while.
    pub(crate) fn close(&self, wanted: &HashSet<WatchKey>, now: Instant) {
        let mut children = self.children.lock().unwrap_or_else(PoisonError::into_inner);
        children.retain(|key, open| {
            let stays = wanted.contains(key) || now.saturating_duration_since(open.used) < UNUSED;
            if !stays {
                // Otherwise the liveness check would mistake the silence of a closed watch for that of the API server.
                self.watch_config.liveness.forget(&open.watched.progress);
            }
            stays
        });
    }

    /// Returns all Namespaces. This needs a cluster-wide watch, so it is not available to installations in one
    /// namespace.
    pub(crate) async fn namespaces(&self) -> Cache<Metadata> {
        let watched = {
            let mut namespaces = self.namespaces.lock().unwrap_or_else(PoisonError::into_inner);
            namespaces.get_or_insert_with(|| self.start_namespaces()).clone()
        };
        watched.progress.synced().await;
        watched.cache
    }
}

/// Returns the index key of child caches.
pub(crate) fn child_index(plugin: &str, subject_uid: &str) -> String {
    format!("{plugin}/{subject_uid}")
}

#[cfg(test)]
mod tests {
    use futures::FutureExt as _;

    use super::*;
    use crate::model::writer::test_writer;
    use dask_operator_api::testing::mk_resource;

    fn watches() -> Arc<WatchManager> {
        let watch_config = WatchConfig {
            scope: Scope::all(),
            timing: WatchTiming::default(),
            liveness: Liveness::default(),
            memory_budget: MemoryBudget::unlimited(),
        };
        WatchManager::new(test_writer().client, watch_config, Arc::default(), CancellationToken::new())
    }

    #[tokio::test]
    async fn a_watch_that_no_plugin_needs_any_more_is_closed() {
        let (watches, writer) = (watches(), test_writer());
        let [kept, dropped] = ["ConfigMap", "Ingress"].map(|kind| mk_resource("v1", kind));
        let now = Instant::now();
        let open = watches.open(&writer, &kept, now).closed;
        let closed = watches.open(&writer, &dropped, now).closed;
        let wanted = HashSet::from([WatchKey { writer: writer.key(), resource: kept }]);
        watches.close(&wanted, now + UNUSED / 2);
        assert!(!closed.is_cancelled(), "it was used just now");
        watches.close(&wanted, now + UNUSED);
        assert!(closed.is_cancelled() && !open.is_cancelled());
        assert_eq!(watches.children.lock().unwrap().len(), 1);
        assert_eq!(watches.watch_config.liveness.watches().len(), 1, "the API server is not expected to speak of it");
    }

    /// Otherwise a caller that is waiting when the watch is closed would wait forever.
    #[tokio::test]
    async fn a_watch_that_is_closed_while_a_caller_waits_is_opened_again() {
        let (watches, writer, kind) = (watches(), test_writer(), mk_resource("v1", "ConfigMap"));
        let mut waiting = Box::pin(watches.children(&writer, &kind));
        assert!(waiting.as_mut().now_or_never().is_none());
        watches.close(&HashSet::new(), Instant::now() + UNUSED);
        assert!(watches.children.lock().unwrap().is_empty());
        assert!(waiting.as_mut().now_or_never().is_none());
        assert_eq!(watches.children.lock().unwrap().len(), 1);
    }
}
