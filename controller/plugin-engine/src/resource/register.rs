//! Registers a plugin after an inquiry: starts its worker, passes changes to it, or stops it.

use std::{collections::HashSet, sync::Arc};

use dask_operator_api::DaskOperatorPlugin;
use kube::ResourceExt as _;
use operator_runtime::rejection::Rejection;

use super::{
    context::PluginContext,
    endpoint_change::EndpointChange,
    inquiry_result::Usable,
    leave_of,
    reasons::INVALID_ENDPOINT,
    status::Findings,
    validate::{self, ValidatedPlugin},
};
use crate::{
    index::{
        registration::Registered,
        registry::{Command, WorkerHandle},
    },
    model::{
        key::{PluginKey, key_of},
        writer::WatchKey,
    },
    sync::worker,
};
use plugin_protocol::EventReason;

/// How many watches of children the plugins of one team may need: enough for 2 accounts with all kinds, or more
/// accounts with fewer kinds. Each watch is a connection, a task and a cache.
const MAX_WATCHES: usize = 64;

/// A plugin whose inquiry has ended.
pub(super) struct Inquired<'a> {
    pub(super) plugin: &'a DaskOperatorPlugin,
    pub(super) valid: &'a ValidatedPlugin,
    /// What syncing requires, if the plugin may sync.
    pub(super) usable: Option<Usable>,
    /// What had changed at the plugin's endpoint before the inquiry.
    pub(super) change: EndpointChange,
    /// Whether the previous inquiry has failed.
    pub(super) recovered: bool,
}

/// Registers the plugin, or stops its worker if it must not continue. A refusal is recorded in `findings`.
pub(super) fn settle(context: &PluginContext, inquired: Inquired<'_>, findings: &mut Findings) {
    let Inquired { plugin, valid, usable, change, recovered } = inquired;
    let key = key_of(plugin);
    let home = &context.settings.namespace;
    // Plugins in the operator's namespace may need any number of watches.
    if let Some(found) = usable.as_ref().filter(|_| key.namespace != *home) {
        let needed = watches_of_team(&context.registry.all(), &key, found).len();
        if let Err(refusal) = check_watches(&key.namespace, needed) {
            findings.refusal = Some(refusal);
            context.registry.remove(&key);
            return;
        }
    }
    // A worker must not continue with a spec that no longer exists.
    let outdated = |worker: &WorkerHandle| {
        let registered = worker.registered.borrow();
        Some(&registered.uid) != plugin.metadata.uid.as_ref()
            || Some(registered.generation) != plugin.metadata.generation
    };
    let stale = usable.is_none() && context.registry.get(&key).as_ref().is_some_and(outdated);
    // Missing credentials do not close open connections, but an endpoint that became invalid does.
    let turned_bad = findings.refusal.as_ref().is_some_and(|refusal| refusal.reason == INVALID_ENDPOINT);
    if plugin.spec.suspend || stale || turned_bad {
        context.registry.remove(&key);
    } else if let Some(Usable { kinds, writer, caller, discovery }) = usable {
        let registered = Registered {
            registration: validate::registration(plugin, valid, kinds, home),
            hooks: discovery.hooks,
            writer,
            version: discovery.version,
            caller,
            allow_prune: leave_of(plugin),
        };
        register(context, registered, change, recovered);
    }
}

/// Refuses the plugin if the plugins of its namespace would need too many watches.
fn check_watches(namespace: &str, needed: usize) -> Result<(), Rejection> {
    if needed <= MAX_WATCHES {
        return Ok(());
    }
    let message = format!(
        "children: the plugins of the namespace {namespace} need {needed} watches, one for each ServiceAccount and kind, \
         and may have {MAX_WATCHES}; list fewer kinds, or let plugins share a ServiceAccount"
    );
    Err(Rejection::new("TooManyWatches", message))
}

/// Returns the watches that the plugins of a namespace need together, if `plugin` is registered with `usable`.
fn watches_of_team(registered: &[Arc<Registered>], plugin: &PluginKey, usable: &Usable) -> HashSet<WatchKey> {
    let others = registered.iter().filter(|other| other.key.namespace == plugin.namespace && other.key != *plugin);
    let (writer, kinds) = (usable.writer.key(), usable.kinds.iter());
    let own = kinds.map(|kind| WatchKey { writer: writer.clone(), resource: kind.resource.clone() });
    others.flat_map(|other| other.watches()).chain(own).collect()
}

/// Starts the plugin's worker, or passes the changes to it.
fn register(context: &PluginContext, registered: Registered, change: EndpointChange, recovered: bool) {
    let key = registered.key.clone();
    let registered = Arc::new(registered);
    let uid = registered.uid.clone();
    let Some(worker) = context.registry.get(&key) else {
        let worker = worker::spawn(Arc::clone(&context.env), registered);
        context.registry.insert(key.clone(), worker);
        // The resource may have been deleted while the plugin was called. Nothing else would stop the worker then.
        let live = context.plugins.get(&key);
        if live.and_then(|plugin| plugin.uid()) != Some(uid) {
            context.registry.remove(&key);
        }
        return;
    };
    let differs = change.replaced || worker.registered.borrow().asks_differently(&registered);
    // Running calls continue with the registration that they began with.
    worker.registered.send_replace(registered);
    // An error means that the worker is being stopped. `EnqueueAll` includes the subjects that failed.
    if differs {
        let _ = worker.commands.send(Command::EnqueueAll(EventReason::PluginChanged));
    } else if recovered {
        let _ = worker.commands.send(Command::Recovered);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_team_that_needs_too_many_watches_is_refused() {
        assert!(check_watches("team-a", MAX_WATCHES).is_ok());
        let refusal = check_watches("team-a", MAX_WATCHES + 1).unwrap_err();
        assert_eq!(refusal.reason, "TooManyWatches");
        assert!(refusal.message.contains("team-a need 65 watches"), "{}", refusal.message);
    }
}
