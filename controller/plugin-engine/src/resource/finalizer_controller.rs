//! Removes plugins' finalizers from Dask resources when they are no longer needed, or when their deadline has passed.
//!
//! The controller checks all objects periodically and needs no worker. So a plugin that is down, suspended, refused or
//! deleted cannot block the deletion of a Dask resource, even if the controller was not running when that happened. It
//! reads caches; only a removal is a request. All finalizers of an object that are due are removed in one request, and
//! namespaces take turns. So finalizers that a user invents do not delay the deletions of others.
//!
//! Objects that cannot be parsed are missing in the caches, or cached in an old version. Their metadata is known, which
//! is enough: a plugin cannot be called about them, and its finalizer is removed at the deadline.

mod removal;
mod unreadable;

use std::{
    collections::{HashMap, HashSet},
    fmt::Debug,
    sync::Arc,
    time::{Duration, Instant},
};

use dask_operator_api::{DaskCluster, DaskOperatorPlugin, SubjectKind};
use futures::{FutureExt as _, StreamExt as _, future::BoxFuture, stream::FuturesUnordered};
use kube::{
    Resource, ResourceExt,
    api::{ObjectMeta, PartialObjectMeta},
    core::{NamespaceResourceScope, PartialObjectMetaExt as _},
};
use operator_runtime::{
    backoff::Backoff,
    fair_share::FairQueue,
    k8s,
    leader::Leading,
    watch::{Cache, SyncStatus},
};
use serde::de::DeserializeOwned;

use self::removal::Removal;
use super::context::PluginContext;
use crate::{
    finalize::finalizers,
    model::{key::key_of, owner_caches::OwnerCaches, subject::SubjectKey},
};

/// How often deadlines are checked.
const PERIOD: Duration = Duration::from_secs(1);
/// The shortest pause between two checks of all objects, because workers may report progress continuously.
const SHORTEST: Duration = Duration::from_millis(100);
/// When an object is checked again after a removal that the watch has not reported.
const UNTOLD: Duration = Duration::from_secs(30);
/// How many removals run at the same time; the slots are shared among namespaces.
const PARALLEL: usize = 32;

/// Removes finalizers that are no longer needed, forever. The finalizer of a plugin that does not exist is removed
/// immediately, so `plugins`, the watch of plugin resources, must have synced for the namespaces in question.
pub(crate) async fn run(context: Arc<PluginContext>, caches: OwnerCaches, plugins: SyncStatus, _: Leading) {
    let mut controller = FinalizerController::new(context, caches, plugins);
    let (mut next, mut running) = (tokio::time::Instant::now(), Running::new());
    loop {
        tokio::select! {
            () = tokio::time::sleep_until(next) => {
                controller.enqueue_all(Instant::now());
                next = tokio::time::Instant::now() + PERIOD;
            }
            () = controller.context.env.finalize_progress.changed() => next = next.min(tokio::time::Instant::now() + SHORTEST),
            Some(done) = running.next() => controller.finish(done, Instant::now()),
        }
        running.extend(std::iter::from_fn(|| controller.start()));
    }
}

/// The running removals.
type Running = FuturesUnordered<BoxFuture<'static, Done>>;

/// The result of a removal.
struct Done {
    key: SubjectKey,
    /// The resource version of the object that the removal was decided on.
    version: Option<String>,
    result: Result<bool, k8s::Error>,
}

/// The state of an object that has finalizers to remove.
#[derive(Debug)]
enum State {
    /// A removal is queued or running.
    Queued,
    /// This version of the object needs nothing more. The watch should report the next version before that time.
    Done(Option<String>, Instant),
    /// A removal failed, and is not retried before that time.
    Paused(Instant),
}

struct FinalizerController {
    context: Arc<PluginContext>,
    caches: OwnerCaches,
    plugins: SyncStatus,
    /// The plugin resources by identity, as of the last check of all objects.
    resources: HashMap<String, Arc<DaskOperatorPlugin>>,
    /// The metadata of Dask resources that cannot be parsed and are being deleted, as of the last check of all objects.
    unreadable: HashMap<SubjectKey, ObjectMeta>,
    failures: Backoff<SubjectKey>,
    states: HashMap<SubjectKey, State>,
    queue: FairQueue<SubjectKey>,
}

impl FinalizerController {
    fn new(context: Arc<PluginContext>, caches: OwnerCaches, plugins: SyncStatus) -> Self {
        Self {
            context,
            caches,
            plugins,
            resources: HashMap::new(),
            unreadable: HashMap::new(),
            failures: Backoff::default(),
            states: HashMap::new(),
            queue: FairQueue::new(PARALLEL),
        }
    }

    /// Queues all objects that have a finalizer to remove.
    fn enqueue_all(&mut self, now: Instant) {
        let namespace = &self.context.settings.namespace;
        let plugins = self.context.plugins.all().into_iter();
        self.resources = plugins.map(|plugin| (key_of(&plugin).identity(namespace), plugin)).collect();
        self.unreadable =
            self.context.liveness.unreadable().iter().filter_map(|object| unreadable::deleted(object)).collect();
        let caches = self.caches.clone();
        let mut pending = HashSet::new();
        self.enqueue_kind(SubjectKind::DaskCluster, &caches.clusters, &mut pending, now);
        self.enqueue_kind(SubjectKind::DaskWorkerGroup, &caches.groups, &mut pending, now);
        self.enqueue_kind(SubjectKind::DaskJob, &caches.jobs, &mut pending, now);
        self.enqueue_kind(SubjectKind::DaskAutoscaler, &caches.autoscalers, &mut pending, now);
        for (key, metadata) in self.unreadable.clone() {
            // The kind is in the key; the type parameter only says that it is a Dask resource.
            let owner: PartialObjectMeta<DaskCluster> = metadata.into_response_partial();
            self.enqueue_if_due(key, &owner, &mut pending, now);
        }
        self.states.retain(|key, state| matches!(state, State::Queued) || pending.contains(key));
        self.failures.retain(|key| pending.contains(key));
    }

    /// Queues the objects of one kind that have a finalizer to remove. Adds all of them to `pending`.
    fn enqueue_kind<K>(&mut self, kind: SubjectKind, owners: &Cache<K>, pending: &mut HashSet<SubjectKey>, now: Instant)
    where
        K: Resource<DynamicType = (), Scope = NamespaceResourceScope> + Clone,
    {
        for owner in owners.all() {
            let key = SubjectKey::of(kind, owner.as_ref());
            if !self.unreadable.contains_key(&key) {
                self.enqueue_if_due(key, owner.as_ref(), pending, now);
            }
        }
    }

    /// Queues `owner` if it has a finalizer to remove and is due.
    fn enqueue_if_due<K>(&mut self, key: SubjectKey, owner: &K, pending: &mut HashSet<SubjectKey>, now: Instant)
    where
        K: Resource<DynamicType = (), Scope = NamespaceResourceScope>,
    {
        // The finalizers of another release's plugins look like those of plugins that do not exist.
        if self.removal(key.kind, owner).is_none() || self.context.env.releases.is_served_alone(&key.namespace) {
            return;
        }
        let is_due = match self.states.get(&key) {
            None => true,
            Some(State::Queued) => false,
            Some(State::Done(version, until)) => *version != owner.resource_version() || *until <= now,
            Some(State::Paused(until)) => *until <= now,
        };
        if is_due {
            self.queue.push(&key.namespace, key.clone());
            self.states.insert(key.clone(), State::Queued);
        }
        pending.insert(key);
    }

    /// Returns the next removal. It is decided again now, because the object may have been queued for a long time.
    fn start(&mut self) -> Option<BoxFuture<'static, Done>> {
        let key = self.queue.pop()?.item;
        let caches = &self.caches;
        Some(match key.kind {
            SubjectKind::DaskWorkerGroup => self.remove(key, &caches.groups),
            SubjectKind::DaskJob => self.remove(key, &caches.jobs),
            SubjectKind::DaskAutoscaler => self.remove(key, &caches.autoscalers),
            // Other kinds are never queued.
            _ => self.remove(key, &caches.clusters),
        })
    }

    /// Returns a removal of the finalizers of one object.
    fn remove<K>(&self, key: SubjectKey, owners: &Cache<K>) -> BoxFuture<'static, Done>
    where
        K: Resource<DynamicType = (), Scope = NamespaceResourceScope>
            + Clone
            + DeserializeOwned
            + Debug
            + Send
            + Sync
            + 'static,
    {
        let known = || owners.get(&key.namespace, &key.name).map(|owner| owner.meta().clone());
        let metadata = self.unreadable.get(&key).cloned().or_else(known);
        let owner: Option<PartialObjectMeta<K>> = metadata.map(ObjectMeta::into_response_partial);
        let removal = owner.as_ref().and_then(|owner| self.removal(key.kind, owner));
        let version = owner.as_ref().and_then(ResourceExt::resource_version);
        let (Some(owner), Some(Removal { finalizers, events })) = (owner, removal) else {
            return std::future::ready(Done { key, version, result: Ok(false) }).boxed();
        };
        let context = Arc::clone(&self.context);
        async move {
            let result = finalizers::release(&context.client, &owner, &finalizers).await;
            if matches!(result, Ok(true)) {
                for event in events {
                    context.reporter.publish(&owner, event).await;
                }
            }
            Done { key, version, result }
        }
        .boxed()
    }

    /// Records the result of a removal.
    fn finish(&mut self, done: Done, now: Instant) {
        let Done { key, version, result } = done;
        self.queue.release(&key.namespace);
        let state = match result {
            Ok(true) => {
                self.failures.succeeded(&key);
                State::Done(version, now + UNTOLD)
            }
            Ok(false) => State::Paused(now + PERIOD),
            Err(error) => {
                tracing::warn!(owner = %key, %error, "failed to remove plugins' finalizers");
                State::Paused(now + self.failures.failed(key.clone()))
            }
        };
        self.states.insert(key, state);
    }
}

#[cfg(test)]
mod tests;
