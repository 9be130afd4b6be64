//! Starts watches. Their events are passed to the workers of plugins.

use std::sync::{Arc, PoisonError};

use dask_operator_api::SubjectKind;
use k8s_openapi::api::core::v1::Namespace;
use kube::{
    Resource, ResourceExt as _,
    core::{ApiResource, DynamicResourceScope},
};
use operator_runtime::{
    scope::Scope,
    watch::{Cache, Change, KindWatcher},
};
use tokio_util::sync::CancellationToken;

use super::{Metadata, WatchManager, Watched, child_index};
use crate::model::{
    child_meta::ChildMeta,
    child_version::{ChildChange, ChildName, ChildVersion},
    labels::{PLUGIN_LABEL, SUBJECT_LABEL},
    stored_object::StoredObject,
    subject::{self, SubjectKey},
    writer::Writer,
};
use plugin_protocol::EventReason;

impl WatchManager {
    /// Returns the subjects of `kind` that are already watched and are owned by `owner`.
    fn below(&self, kind: SubjectKind, owner: &SubjectKey) -> Vec<SubjectKey> {
        let subjects = self.subjects.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(watched) = subjects.get(&kind) else { return Vec::new() };
        watched.cache.indexed(&owner.to_string()).iter().map(|object| SubjectKey::of(kind, object.as_ref())).collect()
    }

    /// Starts the watch of a kind of subjects. A change enqueues the subject and those that it owns.
    pub(super) fn start_subjects(&self, kind: SubjectKind) -> Watched<StoredObject> {
        let resource = subject::api_resource(kind);
        let cache = Cache::new(index_of(kind));
        let config = self.watch_config.timing.config(subject::label_selector(kind));
        let (registry, myself) = (Arc::clone(&self.registry), self.myself.clone());
        let watcher = KindWatcher::new(&self.client, &self.watch_config.scope, resource, config, cache.clone()).listen(
            move |change| {
                let key = SubjectKey::of(kind, change.object().as_ref());
                registry.enqueue(&key, EventReason::Updated);
                // Requests include the Dask resource that owns the subject, so a change of it also changes the requests
                // of its subjects.
                if let (None, Some(watches)) = (subject::label_selector(kind), myself.upgrade()) {
                    for below in [SubjectKind::Service, SubjectKind::Deployment, SubjectKind::Pod] {
                        watches.below(below, &key).iter().for_each(|key| registry.enqueue(key, EventReason::Updated));
                    }
                }
            },
        );
        self.run(watcher, cache, self.cancel.clone())
    }

    /// Starts the watch of Namespaces. A change enqueues the subjects in it.
    pub(super) fn start_namespaces(&self) -> Watched<Metadata> {
        let resource = ApiResource::erase::<Namespace>(&());
        let (cache, registry) = (Cache::new(|_: &Metadata| None), Arc::clone(&self.registry));
        let config = self.watch_config.timing.config(None);
        let watcher = KindWatcher::new(&self.client, &Scope::all(), resource, config, cache.clone())
            .listen(move |change| registry.enqueue_namespace(&change.object().name_any()));
        self.run(watcher, cache, self.cancel.clone())
    }

    /// Starts the watch of a kind of children. A change is passed to the worker of the plugin.
    pub(super) fn start_children(
        &self,
        writer: &Writer,
        resource: &ApiResource,
        cancel: CancellationToken,
    ) -> Watched<ChildMeta> {
        let cache = Cache::new(|child: &ChildMeta| {
            let labels = child.labels();
            Some(child_index(labels.get(PLUGIN_LABEL)?, labels.get(SUBJECT_LABEL)?))
        });
        let (registry, kind) = (Arc::clone(&self.registry), resource.clone());
        let (scope, config) =
            (writer.scope(&self.watch_config.scope), self.watch_config.timing.config(Some(PLUGIN_LABEL)));
        let watcher =
            KindWatcher::new(&writer.client, &scope, resource.clone(), config, cache.clone()).listen(move |change| {
                let child = change.object();
                let labels = child.labels();
                let (Some(plugin), Some(subject_uid)) = (labels.get(PLUGIN_LABEL), labels.get(SUBJECT_LABEL)) else {
                    return;
                };
                let state = match change {
                    Change::Applied(child) => Some(ChildVersion::of(child.as_ref())),
                    Change::Deleted(_) => None,
                };
                let change = ChildChange {
                    namespace: child.namespace().unwrap_or_default(),
                    subject_uid: subject_uid.clone(),
                    child: ChildName::of(&kind, &child.name_any()),
                    state,
                };
                registry.child_changed(plugin, &change);
            });
        self.run(watcher, cache, cancel)
    }

    /// Runs a watch until it is closed.
    fn run<K>(&self, watcher: KindWatcher<K>, cache: Cache<K>, cancel: CancellationToken) -> Watched<K>
    where
        K: Resource<DynamicType = ApiResource, Scope = DynamicResourceScope>
            + Clone
            + serde::Serialize
            + serde::de::DeserializeOwned
            + std::fmt::Debug
            + Send
            + Sync
            + 'static,
    {
        let progress = watcher.sync_status();
        let run = watcher.run(self.watch_config.memory_budget.clone());
        self.watch_config.liveness.watch(progress.clone());
        tokio::spawn(async move {
            tokio::select! { () = run => {}, () = cancel.cancelled() => {} }
        });
        Watched { cache, progress }
    }
}

/// Returns the index of subjects: the Dask resource that owns them.
fn index_of(kind: SubjectKind) -> fn(&StoredObject) -> Option<String> {
    match kind {
        SubjectKind::Service => |object| Some(subject::owner_of(SubjectKind::Service, object)?.to_string()),
        SubjectKind::Deployment => |object| Some(subject::owner_of(SubjectKind::Deployment, object)?.to_string()),
        SubjectKind::Pod => |object| Some(subject::owner_of(SubjectKind::Pod, object)?.to_string()),
        _ => |_| None,
    }
}
