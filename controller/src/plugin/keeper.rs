//! Takes plugins' finalizers off Dask resources when nobody needs them any more, or when their time is over.
//!
//! It looks at all of them again and again and needs no worker, so that no plugin can hold a Dask resource by being
//! down, suspended, refused or deleted, and none is held because the controller was away when one of that
//! happened. It looks into caches; only a removal is a request.

use std::{
    collections::{HashMap, HashSet},
    fmt::Debug,
    sync::Arc,
    time::{Duration, Instant},
};

use futures::FutureExt as _;
use jiff::Timestamp;
use kube::{
    Resource, ResourceExt as _,
    core::NamespaceResourceScope,
    runtime::events::{Event, EventType},
};
use plugin_protocol::Hook;
use serde::de::DeserializeOwned;

use super::{
    finalize::{self, Action, Plugin},
    finalizers,
    registry::Registered,
    resource::{PluginContext, key_of},
    subject::{self, SubjectKey},
};
use crate::{
    backoff::Backoff,
    context::Caches,
    crd::{DaskOperatorPlugin, SubjectKind},
    leader::Leading,
    report,
    watch::{Cache, Progress},
};

/// How often is looked whether a deadline has passed.
const PERIOD: Duration = Duration::from_secs(1);

/// The uid of a Dask resource and a finalizer.
type Held = (String, String);

/// Keeps finalizers only as long as they are needed, for ever. The finalizer of a plugin that seems not to exist is
/// removed at once: `plugins`, the watch of plugin resources, says where all of them are known.
pub(super) async fn keep(context: Arc<PluginContext>, caches: Caches, plugins: Progress, _: Leading) {
    let mut keeper = Keeper { context, plugins, failures: Backoff::default(), pauses: HashMap::new() };
    let mut ticks = tokio::time::interval(PERIOD);
    loop {
        tokio::select! {
            _ = ticks.tick() => {}
            () = keeper.context.env.ledger.changed() => {}
        }
        let now = Instant::now();
        keeper.pauses.retain(|_, until| *until > now);
        keeper.look_at(SubjectKind::DaskCluster, &caches.clusters).await;
        keeper.look_at(SubjectKind::DaskWorkerGroup, &caches.groups).await;
        keeper.look_at(SubjectKind::DaskJob, &caches.jobs).await;
        keeper.look_at(SubjectKind::DaskAutoscaler, &caches.autoscalers).await;
    }
}

struct Keeper {
    context: Arc<PluginContext>,
    plugins: Progress,
    failures: Backoff<Held>,
    /// Until when a removal that failed is not tried again.
    pauses: HashMap<Held, Instant>,
}

impl Keeper {
    async fn look_at<K>(&mut self, kind: SubjectKind, owners: &Cache<K>)
    where
        K: Resource<DynamicType = (), Scope = NamespaceResourceScope> + Clone + DeserializeOwned + Debug,
    {
        for owner in owners.all() {
            for finalizer in owner.finalizers() {
                let Some(identity) = finalize::identity_of(finalizer) else { continue };
                let held = (owner.uid().unwrap_or_default(), finalizer.clone());
                if self.pauses.contains_key(&held) || !self.knows_plugins_of(owner.as_ref()) {
                    continue;
                }
                let resource = self.resource(identity);
                let plugin = self.plugin(resource.as_deref(), kind, owner.as_ref());
                let deadline = resource.map_or(0, |resource| resource.spec.finalize.deadline_seconds);
                let since = owner.meta().deletion_timestamp.as_ref().map(|time| time.0);
                let action = finalize::decide(plugin, since, deadline, Timestamp::now());
                if action == Action::Keep {
                    continue;
                }
                match finalizers::release(&self.context.client, owner.as_ref(), finalizer).await {
                    Ok(released) => {
                        self.failures.succeeded(&held);
                        if released && action == Action::RemoveLate {
                            let event = overdue(finalizer, deadline, plugin);
                            report::publish(&self.context.recorder, owner.as_ref(), event).await;
                        }
                    }
                    Err(error) => {
                        tracing::warn!(owner = owner.name_any(), %error, "failed to remove a plugin's finalizer");
                        let pause = self.failures.failed(held.clone());
                        self.pauses.insert(held, Instant::now() + pause);
                    }
                }
            }
        }
    }

    /// Plugins are in the operator's namespace, or in that of the objects they serve.
    fn knows_plugins_of(&self, owner: &impl Resource) -> bool {
        self.plugins.knows(&self.context.settings.namespace)
            && self.plugins.knows(&owner.namespace().unwrap_or_default())
    }

    fn resource(&self, identity: &str) -> Option<Arc<DaskOperatorPlugin>> {
        let namespace = &self.context.settings.namespace;
        self.context.plugins.all().into_iter().find(|plugin| key_of(plugin).identity(namespace) == identity)
    }

    fn plugin(&self, resource: Option<&DaskOperatorPlugin>, kind: SubjectKind, owner: &impl Resource) -> Plugin {
        let Some(resource) = resource.filter(|resource| resource.spec.finalize.enabled) else { return Plugin::Off };
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

    /// For how many subjects the finalizer has to stay; `None` while not all of them are known.
    fn waiting(&self, registered: &Registered, kind: SubjectKind, owner: &impl Resource) -> Option<usize> {
        let env = &self.context.env;
        let namespace = owner.namespace().unwrap_or_default();
        let key = SubjectKey { kind, namespace, name: owner.name_any() };
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
                let mark = env.ledger.get(&registered.identity, &object.uid().unwrap_or_default());
                subject::is_below(kind, object, &above)
                    && finalize::is_waited_for(going, registered.matches(kind, object), mark)
            });
            waiting += counts.count();
        }
        Some(waiting)
    }
}

fn overdue(finalizer: &str, deadline: u32, plugin: Plugin) -> Event {
    let why = match plugin {
        Plugin::Called { looked: true, waiting } => {
            format!("the plugin has not finalized {waiting} of the objects that it was asked about")
        }
        _ => "the plugin could not be called".to_owned(),
    };
    let note = format!(
        "removed the finalizer {finalizer} {deadline} s after the deletion: {why}; what it holds outside of the \
         cluster may be left"
    );
    Event {
        type_: EventType::Warning,
        reason: "FinalizeDeadlineExceeded".to_owned(),
        note: Some(note),
        action: "Finalize".to_owned(),
        secondary: None,
    }
}
