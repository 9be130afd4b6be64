//! Decides which finalizers are removed from a Dask resource.

use std::{collections::HashSet, sync::Arc, time::Duration};

use dask_operator_api::{DaskOperatorPlugin, SubjectKind};
use futures::FutureExt as _;
use jiff::Timestamp;
use kube::{
    Resource, ResourceExt,
    core::NamespaceResourceScope,
    runtime::events::{Event, EventType},
};

use super::FinalizerController;
use crate::{
    finalize::{self, Action, Plugin},
    index::registration::Registered,
    model::{
        key::{identity_of, key_of},
        subject::{self, SubjectKey},
    },
};
use plugin_protocol::Hook;

/// The finalizers to remove from an object.
pub(super) struct Removal {
    pub(super) finalizers: HashSet<String>,
    /// One Event for each finalizer whose deadline has passed.
    pub(super) events: Vec<Event>,
}

impl FinalizerController {
    /// Returns the finalizers to remove from `owner`, if there are any.
    pub(super) fn removal<K>(&self, kind: SubjectKind, owner: &K) -> Option<Removal>
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

    /// Returns the state of a plugin, as far as it concerns the finalization of `owner`.
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
        let key = SubjectKey::of(kind, owner);
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

/// Returns the Event about a finalizer whose deadline has passed.
fn overdue(finalizer: &str, deadline: Duration, plugin: Plugin) -> Event {
    let why = match plugin {
        Plugin::Called { looked: true, waiting } => {
            format!("the plugin has not finalized {waiting} of the objects that it was called about")
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
