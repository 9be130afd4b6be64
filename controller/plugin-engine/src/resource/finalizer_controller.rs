//! Removes plugins' finalizers from Dask resources when they are no longer needed, or when their deadline has passed.
//!
//! The controller checks all objects periodically and needs no worker. So a plugin that is down, suspended, refused or
//! deleted cannot block the deletion of a Dask resource, even if the controller was not running when that happened. It
//! reads caches; only a removal is a request. All finalizers of an object that are due are removed in one request, and
//! namespaces take turns. So finalizers that a user invents do not delay the deletions of others.
//!
//! Objects that cannot be parsed are missing in the caches, or cached in an old version. Their metadata is known, which
//! is enough: a plugin cannot be called about them, and its finalizer is removed at the deadline.

use std::{
    collections::{HashMap, HashSet},
    fmt::Debug,
    sync::Arc,
    time::{Duration, Instant},
};

use dask_operator_api::{DaskCluster, DaskOperatorPlugin, GROUP, SubjectKind};
use futures::{FutureExt as _, StreamExt as _, future::BoxFuture, stream::FuturesUnordered};
use jiff::Timestamp;
use kube::{
    Resource, ResourceExt,
    api::{ObjectMeta, PartialObjectMeta},
    core::{NamespaceResourceScope, PartialObjectMetaExt as _},
    runtime::events::{Event, EventType},
};
use operator_runtime::{
    backoff::Backoff,
    fair_share::FairQueue,
    k8s,
    leader::Leading,
    report,
    watch::{Cache, SyncStatus, UnreadableObject},
};
use serde::de::DeserializeOwned;

use super::context::PluginContext;
use crate::model::key::identity_of;
use crate::model::owner_caches::OwnerCaches;
use crate::{
    finalize::{self, Action, Plugin, finalizers},
    index::registration::Registered,
    model::{
        key::key_of,
        subject::{self, SubjectKey},
    },
};
use plugin_protocol::Hook;

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
                controller.look_at_all(Instant::now());
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

/// The finalizers to remove from an object.
struct Removal {
    finalizers: HashSet<String>,
    /// One Event for each finalizer whose deadline has passed.
    events: Vec<Event>,
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
    fn look_at_all(&mut self, now: Instant) {
        let namespace = &self.context.settings.namespace;
        let plugins = self.context.plugins.all().into_iter();
        self.resources = plugins.map(|plugin| (key_of(&plugin).identity(namespace), plugin)).collect();
        self.unreadable = self.context.liveness.unreadable().iter().filter_map(|object| deleted(object)).collect();
        let caches = self.caches.clone();
        let mut pending = HashSet::new();
        self.look_at(SubjectKind::DaskCluster, &caches.clusters, (&mut pending, now));
        self.look_at(SubjectKind::DaskWorkerGroup, &caches.groups, (&mut pending, now));
        self.look_at(SubjectKind::DaskJob, &caches.jobs, (&mut pending, now));
        self.look_at(SubjectKind::DaskAutoscaler, &caches.autoscalers, (&mut pending, now));
        for (key, metadata) in self.unreadable.clone() {
            // The kind is in the key; the type parameter only says that it is a Dask resource.
            let owner: PartialObjectMeta<DaskCluster> = metadata.into_response_partial();
            self.look_at_one(key, &owner, &mut pending, now);
        }
        self.states.retain(|key, state| matches!(state, State::Queued) || pending.contains(key));
        self.failures.retain(|key| pending.contains(key));
    }

    fn look_at<K>(&mut self, kind: SubjectKind, owners: &Cache<K>, (pending, now): (&mut HashSet<SubjectKey>, Instant))
    where
        K: Resource<DynamicType = (), Scope = NamespaceResourceScope> + Clone,
    {
        for owner in owners.all() {
            let key = key_of_owner(kind, owner.as_ref());
            if !self.unreadable.contains_key(&key) {
                self.look_at_one(key, owner.as_ref(), pending, now);
            }
        }
    }

    /// Queues `owner` if it has a finalizer to remove and is due.
    fn look_at_one<K>(&mut self, key: SubjectKey, owner: &K, pending: &mut HashSet<SubjectKey>, now: Instant)
    where
        K: Resource<DynamicType = (), Scope = NamespaceResourceScope>,
    {
        if self.removal(key.kind, owner).is_none() {
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
        let (_, key) = self.queue.pop()?;
        let caches = &self.caches;
        Some(match key.kind {
            SubjectKind::DaskWorkerGroup => self.remove(key, &caches.groups),
            SubjectKind::DaskJob => self.remove(key, &caches.jobs),
            SubjectKind::DaskAutoscaler => self.remove(key, &caches.autoscalers),
            // Other kinds are never queued.
            _ => self.remove(key, &caches.clusters),
        })
    }

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
                    report::publish(&context.recorder, &owner, event).await;
                }
            }
            Done { key, version, result }
        }
        .boxed()
    }

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

    /// Returns the finalizers to remove from `owner`, if there are any.
    fn removal<K>(&self, kind: SubjectKind, owner: &K) -> Option<Removal>
    where
        K: Resource<DynamicType = (), Scope = NamespaceResourceScope>,
    {
        // A finalizer may be listed several times.
        let named = owner.finalizers().iter().filter(|finalizer| identity_of(finalizer).is_some());
        let named: HashSet<&String> = named.collect();
        if named.is_empty() || !self.knows_plugins_of(owner) {
            return None;
        }
        let now = Timestamp::now();
        let since = owner.meta().deletion_timestamp.as_ref().map(|time| time.0);
        let mut removal = Removal { finalizers: HashSet::new(), events: Vec::new() };
        for finalizer in named {
            let resource = identity_of(finalizer).and_then(|identity| self.resources.get(identity));
            let plugin = self.plugin(resource.map(AsRef::as_ref), kind, owner);
            let deadline = resource.map(|resource| resource.spec.finalize.deadline()).unwrap_or_default();
            match finalize::decide(plugin, since, deadline, now) {
                Action::Keep => continue,
                Action::Remove => {}
                Action::RemoveLate => removal.events.push(overdue(finalizer, deadline, plugin)),
            }
            removal.finalizers.insert(finalizer.clone());
        }
        (!removal.finalizers.is_empty()).then_some(removal)
    }

    /// Returns whether all plugins that may serve `owner` are known. They are in the operator's namespace or in that of
    /// the owner.
    fn knows_plugins_of(&self, owner: &impl Resource) -> bool {
        self.plugins.knows(&self.context.settings.namespace)
            && self.plugins.knows(&owner.namespace().unwrap_or_default())
    }

    fn plugin(&self, resource: Option<&DaskOperatorPlugin>, kind: SubjectKind, owner: &impl Resource) -> Plugin {
        let Some(resource) = resource.filter(|resource| resource.spec.finalize.enabled) else { return Plugin::Off };
        let serves = [Some(self.context.settings.namespace.clone()), owner.namespace()].contains(&resource.namespace());
        if !serves {
            // A plugin of another team is never called about the object, so it must not block its deletion either.
            return Plugin::Off;
        }
        let Some(worker) = self.context.registry.get(&key_of(resource)) else { return Plugin::Away };
        let registered = Arc::clone(&worker.registered.borrow());
        if !registered.hooks.contains(&Hook::Finalize) {
            return Plugin::Off;
        }
        let looked = worker.summary.borrow().is_some();
        match self.waiting(&registered, kind, owner) {
            Some(waiting) => Plugin::Called { looked, waiting },
            None => Plugin::Called { looked: false, waiting: 0 },
        }
    }

    /// Returns the number of subjects that keep the finalizer in place, or `None` while not all of them are known.
    fn waiting(&self, registered: &Registered, kind: SubjectKind, owner: &impl Resource) -> Option<usize> {
        let env = &self.context.env;
        let key = key_of_owner(kind, owner);
        let above = env.watches.subjects(kind).now_or_never()?.get(&key.namespace, &key.name)?;
        let going = owner.meta().deletion_timestamp.is_some();
        let kinds: HashSet<SubjectKind> = registered.spec.subjects.iter().map(|rule| rule.kind).collect();
        let mut waiting = 0;
        if !kinds.iter().all(|kind| env.watches.knows(*kind, &key.namespace)) {
            return None;
        }
        for kind in kinds {
            let cache = env.watches.subjects(kind).now_or_never()?;
            let subjects = match subject::label_selector(kind) {
                Some(_) => cache.indexed(&key.to_string()),
                None if kind == key.kind => vec![Arc::clone(&above)],
                None => Vec::new(),
            };
            let counts = subjects.iter().filter(|object| {
                let mark = env.finalize_progress.get(&registered.identity, &object.uid().unwrap_or_default());
                subject::is_below(kind, object.as_ref(), above.as_ref())
                    && finalize::is_waited_for(going, registered.matches(kind, object.as_ref()), mark)
            });
            waiting += counts.count();
        }
        Some(waiting)
    }
}

/// Returns the key and the metadata of a Dask resource that cannot be parsed and is being deleted.
fn deleted(object: &UnreadableObject) -> Option<(SubjectKey, ObjectMeta)> {
    let metadata = object.deleted_metadata()?;
    let (group, _) = object.reference.api_version.as_deref()?.split_once('/')?;
    let kind = match object.reference.kind.as_deref()? {
        "DaskCluster" => SubjectKind::DaskCluster,
        "DaskWorkerGroup" => SubjectKind::DaskWorkerGroup,
        "DaskJob" => SubjectKind::DaskJob,
        "DaskAutoscaler" => SubjectKind::DaskAutoscaler,
        _ => return None,
    };
    let key = SubjectKey { kind, namespace: metadata.namespace.clone()?, name: metadata.name.clone()? };
    (group == GROUP).then_some((key, metadata))
}

fn key_of_owner(kind: SubjectKind, owner: &impl Resource) -> SubjectKey {
    SubjectKey { kind, namespace: owner.namespace().unwrap_or_default(), name: owner.name_any() }
}

fn overdue(finalizer: &str, deadline: Duration, plugin: Plugin) -> Event {
    let why = match plugin {
        Plugin::Called { looked: true, waiting } => {
            format!("the plugin has not finalized {waiting} of the objects that it was asked about")
        }
        _ => "the plugin could not be called".to_owned(),
    };
    let note = format!(
        "removed the finalizer {finalizer} {} s after the deletion: {why}; what it holds outside of the \
         cluster may be left",
        deadline.as_secs()
    );
    Event {
        type_: EventType::Warning,
        reason: "FinalizeDeadlineExceeded".to_owned(),
        note: Some(note),
        action: "Finalize".to_owned(),
        secondary: None,
    }
}

#[cfg(test)]
mod tests;
