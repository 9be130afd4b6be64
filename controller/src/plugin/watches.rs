//! The watches that plugins need: started when the first plugin asks for a kind.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError, Weak},
};

use k8s_openapi::api::core::v1::Namespace;
use kube::{
    Client, Resource, ResourceExt as _,
    api::{DynamicObject, PartialObjectMeta},
    core::{ApiResource, DynamicResourceScope},
};
use plugin_protocol::EventReason;
use tokio_util::sync::CancellationToken;

use super::{
    registry::{ChildChange, ChildVersion, Registry, child_name},
    screen::{PLUGIN_LABEL, SUBJECT_LABEL},
    subject::{self, SubjectKey},
    writer::{Writer, WriterKey},
};
use crate::{
    crd::SubjectKind,
    scope::Scope,
    vitals::Vitals,
    watch::{Cache, Change, Feed, Pace, Progress},
};

/// An object without its content.
type Metadata = PartialObjectMeta<DynamicObject>;
/// A child without its content.
pub(super) type ChildMeta = Metadata;

/// A watch in progress.
struct Watched<K> {
    cache: Cache<K>,
    progress: Progress,
}

impl<K> Clone for Watched<K> {
    fn clone(&self) -> Self {
        Self { cache: self.cache.clone(), progress: self.progress.clone() }
    }
}

/// How is watched.
pub(super) struct Sight {
    /// Where subjects are, and children unless their writer is limited to less.
    pub(super) scope: Scope,
    pub(super) pace: Pace,
    /// Where watches are seen that hear nothing.
    pub(super) vitals: Vitals,
}

/// Subjects of a namespace are not known: it may not be read, or not yet.
#[derive(Debug, thiserror::Error)]
#[error("the controller may not read {kind:?} objects of the namespace {namespace}, or has not yet")]
pub(super) struct Unread {
    kind: SubjectKind,
    namespace: String,
}

/// Subjects, owners and children, as far as some plugin needs them.
pub(super) struct Watches {
    client: Client,
    sight: Sight,
    registry: Arc<Registry>,
    cancel: CancellationToken,
    /// For listeners, which must not keep alive what they are part of.
    myself: Weak<Self>,
    subjects: Mutex<HashMap<SubjectKind, Watched<DynamicObject>>>,
    children: Mutex<HashMap<(WriterKey, ApiResource), Watched<ChildMeta>>>,
    namespaces: Mutex<Option<Watched<Metadata>>>,
}

impl Watches {
    /// No watches yet.
    pub(super) fn new(client: Client, sight: Sight, registry: Arc<Registry>, cancel: CancellationToken) -> Arc<Self> {
        Arc::new_cyclic(|myself| Self {
            client,
            sight,
            registry,
            cancel,
            myself: myself.clone(),
            subjects: Mutex::default(),
            children: Mutex::default(),
            namespaces: Mutex::default(),
        })
    }

    /// The objects of `kind`, complete in all namespaces that can be read.
    pub(super) async fn subjects(&self, kind: SubjectKind) -> Cache<DynamicObject> {
        let watched = self.watched(kind);
        watched.progress.synced().await;
        watched.cache
    }

    /// One object, if it is there. That it is not must not be taken from a namespace that cannot be read.
    pub(super) async fn subject(&self, key: &SubjectKey) -> Result<Option<Arc<DynamicObject>>, Unread> {
        let cache = self.subjects(key.kind).await;
        if !self.knows(key.kind, &key.namespace) {
            return Err(Unread { kind: key.kind, namespace: key.namespace.clone() });
        }
        Ok(cache.get(&key.namespace, &key.name))
    }

    /// Whether the objects of `kind` in `namespace` are complete.
    pub(super) fn knows(&self, kind: SubjectKind, namespace: &str) -> bool {
        self.watched(kind).progress.knows(namespace)
    }

    fn watched(&self, kind: SubjectKind) -> Watched<DynamicObject> {
        let mut subjects = self.subjects.lock().unwrap_or_else(PoisonError::into_inner);
        subjects.entry(kind).or_insert_with(|| self.start_subjects(kind)).clone()
    }

    /// The children of `resource` that `writer` may see, complete, by `{plugin}/{subject uid}`.
    pub(super) async fn children(&self, writer: &Writer, resource: &ApiResource) -> Cache<ChildMeta> {
        let watched = {
            let mut children = self.children.lock().unwrap_or_else(PoisonError::into_inner);
            children
                .entry((writer.key(), resource.clone()))
                .or_insert_with(|| self.start_children(writer, resource))
                .clone()
        };
        watched.progress.synced().await;
        watched.cache
    }

    /// All Namespaces, which is one request to the whole cluster: not for installations in one namespace.
    pub(super) async fn namespaces(&self) -> Cache<Metadata> {
        let watched = {
            let mut namespaces = self.namespaces.lock().unwrap_or_else(PoisonError::into_inner);
            namespaces.get_or_insert_with(|| self.start_namespaces()).clone()
        };
        watched.progress.synced().await;
        watched.cache
    }

    /// Subjects of `kind` that are watched already and are below `owner`.
    fn below(&self, kind: SubjectKind, owner: &SubjectKey) -> Vec<SubjectKey> {
        let subjects = self.subjects.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(watched) = subjects.get(&kind) else { return Vec::new() };
        watched.cache.indexed(&owner.to_string()).iter().map(|object| SubjectKey::of(kind, object)).collect()
    }

    fn start_subjects(&self, kind: SubjectKind) -> Watched<DynamicObject> {
        let resource = subject::api_resource(kind);
        let cache = Cache::new(index_of(kind));
        let config = self.sight.pace.config(subject::label_selector(kind));
        let (registry, myself) = (Arc::clone(&self.registry), self.myself.clone());
        let feed = Feed::new(&self.client, &self.sight.scope, resource, config, cache.clone()).listen(move |change| {
            let key = SubjectKey::of(kind, change.object());
            registry.look(&key, EventReason::Updated);
            // Subjects below a Dask resource are sent with it, so a change of it is one of theirs.
            if let (None, Some(watches)) = (subject::label_selector(kind), myself.upgrade()) {
                for below in [SubjectKind::Service, SubjectKind::Deployment, SubjectKind::Pod] {
                    watches.below(below, &key).iter().for_each(|key| registry.look(key, EventReason::Updated));
                }
            }
        });
        self.drive(feed, cache)
    }

    fn start_namespaces(&self) -> Watched<Metadata> {
        let resource = ApiResource::erase::<Namespace>(&());
        let (cache, registry) = (Cache::new(|_: &Metadata| None), Arc::clone(&self.registry));
        let config = self.sight.pace.config(None);
        let feed = Feed::new(&self.client, &Scope::all(), resource, config, cache.clone())
            .listen(move |change| registry.look_into(&change.object().name_any()));
        self.drive(feed, cache)
    }

    fn start_children(&self, writer: &Writer, resource: &ApiResource) -> Watched<ChildMeta> {
        let cache = Cache::new(|child: &ChildMeta| {
            let labels = child.labels();
            Some(child_index(labels.get(PLUGIN_LABEL)?, labels.get(SUBJECT_LABEL)?))
        });
        let (registry, kind) = (Arc::clone(&self.registry), resource.clone());
        let (scope, config) = (writer.scope(&self.sight.scope), self.sight.pace.config(Some(PLUGIN_LABEL)));
        let feed = Feed::new(&writer.client, &scope, resource.clone(), config, cache.clone()).listen(move |change| {
            let child = change.object();
            let labels = child.labels();
            let (Some(plugin), Some(subject_uid)) = (labels.get(PLUGIN_LABEL), labels.get(SUBJECT_LABEL)) else {
                return;
            };
            let state = match change {
                Change::Applied(child) => Some(ChildVersion::of(child.as_ref())),
                Change::Deleted(_) => None,
            };
            let child = child_name(&kind, &child.name_any());
            registry.child_changed(plugin, &ChildChange { subject_uid: subject_uid.clone(), child, state });
        });
        self.drive(feed, cache)
    }

    fn drive<K>(&self, feed: Feed<K>, cache: Cache<K>) -> Watched<K>
    where
        K: Resource<DynamicType = ApiResource, Scope = DynamicResourceScope>
            + Clone
            + serde::de::DeserializeOwned
            + std::fmt::Debug
            + Send
            + Sync
            + 'static,
    {
        let (progress, run) = feed.start();
        self.sight.vitals.watch(progress.clone());
        let cancel = self.cancel.clone();
        tokio::spawn(async move {
            tokio::select! { () = run => {}, () = cancel.cancelled() => {} }
        });
        Watched { cache, progress }
    }
}

/// The index of child caches.
pub(super) fn child_index(plugin: &str, subject_uid: &str) -> String {
    format!("{plugin}/{subject_uid}")
}

/// Subjects are found by the Dask resource above them.
fn index_of(kind: SubjectKind) -> fn(&DynamicObject) -> Option<String> {
    match kind {
        SubjectKind::Service => |object| Some(subject::owner_of(SubjectKind::Service, object)?.to_string()),
        SubjectKind::Deployment => |object| Some(subject::owner_of(SubjectKind::Deployment, object)?.to_string()),
        SubjectKind::Pod => |object| Some(subject::owner_of(SubjectKind::Pod, object)?.to_string()),
        _ => |_| None,
    }
}
