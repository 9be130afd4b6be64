//! The watches that plugins need: started when the first plugin asks for a kind.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError, Weak},
};

use k8s_openapi::api::core::v1::Namespace;
use kube::{
    Api, Client, Resource, ResourceExt as _,
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
    run::watch_config,
    watch::{Cache, Change, Feed, Progress},
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

/// Subjects, owners and children, as far as some plugin needs them.
pub(super) struct Watches {
    client: Client,
    namespace: Option<String>,
    registry: Arc<Registry>,
    cancel: CancellationToken,
    /// For listeners, which must not keep alive what they are part of.
    myself: Weak<Self>,
    subjects: Mutex<HashMap<SubjectKind, Watched<DynamicObject>>>,
    children: Mutex<HashMap<(WriterKey, ApiResource), Watched<ChildMeta>>>,
    namespaces: Mutex<Option<Watched<Metadata>>>,
}

impl Watches {
    /// No watches yet. `namespace` narrows all of them.
    pub(super) fn new(
        client: Client,
        namespace: Option<String>,
        registry: Arc<Registry>,
        cancel: CancellationToken,
    ) -> Arc<Self> {
        Arc::new_cyclic(|myself| Self {
            client,
            namespace,
            registry,
            cancel,
            myself: myself.clone(),
            subjects: Mutex::default(),
            children: Mutex::default(),
            namespaces: Mutex::default(),
        })
    }

    /// The objects of `kind`, complete.
    pub(super) async fn subjects(&self, kind: SubjectKind) -> Cache<DynamicObject> {
        let watched = {
            let mut subjects = self.subjects.lock().unwrap_or_else(PoisonError::into_inner);
            subjects.entry(kind).or_insert_with(|| self.start_subjects(kind)).clone()
        };
        watched.progress.synced().await;
        watched.cache
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
        let config = watch_config(subject::label_selector(kind));
        let (registry, myself) = (Arc::clone(&self.registry), self.myself.clone());
        let feed = Feed::new(api(&self.client, self.namespace.as_deref(), &resource), resource, config, cache.clone())
            .listen(move |change| {
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
        let feed = Feed::new(api(&self.client, None, &resource), resource, watch_config(None), cache.clone())
            .listen(move |change| registry.look_into(&change.object().name_any()));
        self.drive(feed, cache)
    }

    fn start_children(&self, writer: &Writer, resource: &ApiResource) -> Watched<ChildMeta> {
        let cache = Cache::new(|child: &ChildMeta| {
            let labels = child.labels();
            Some(child_index(labels.get(PLUGIN_LABEL)?, labels.get(SUBJECT_LABEL)?))
        });
        let (registry, kind) = (Arc::clone(&self.registry), resource.clone());
        let config = watch_config(Some(PLUGIN_LABEL));
        let namespace = writer.namespace.as_deref().or(self.namespace.as_deref());
        let api = api(&writer.client, namespace, resource);
        let feed = Feed::new(api, resource.clone(), config, cache.clone()).listen(move |change| {
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
        K: Resource<DynamicType = ApiResource>
            + Clone
            + serde::de::DeserializeOwned
            + std::fmt::Debug
            + Send
            + Sync
            + 'static,
    {
        let (progress, run) = feed.start();
        let cancel = self.cancel.clone();
        tokio::spawn(async move {
            tokio::select! { () = run => {}, () = cancel.cancelled() => {} }
        });
        Watched { cache, progress }
    }
}

fn api<K: Resource<DynamicType = ApiResource, Scope = DynamicResourceScope>>(
    client: &Client,
    namespace: Option<&str>,
    resource: &ApiResource,
) -> Api<K> {
    match namespace {
        Some(namespace) => Api::namespaced_with(client.clone(), namespace, resource),
        None => Api::all_with(client.clone(), resource),
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
