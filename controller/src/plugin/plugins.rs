//! The plugin resources: which namespaces they are looked for in, what is known of them, and the queues of those
//! who look at them.

use std::sync::Arc;

use futures::channel::mpsc::UnboundedReceiver;
use kube::runtime::controller::ReconcileRequest;

use super::{
    registry::PluginKey,
    resource::{READY, key_of},
    wiring::Settings,
};
use crate::{
    crd::DaskOperatorPlugin,
    watch::{Cache, Queue, queue},
};

/// All plugin resources. Cloning shares the content.
#[derive(Clone)]
pub(crate) struct Plugins(Arc<[Part]>);

/// Those of one watch.
#[derive(Clone)]
pub(crate) struct Part {
    /// All of them unless given.
    pub(super) namespace: Option<String>,
    pub(super) cache: Cache<DaskOperatorPlugin>,
    pub(super) queue: Queue<DaskOperatorPlugin>,
}

/// The receiving end of a part's queue.
pub(super) type Requests = UnboundedReceiver<ReconcileRequest<DaskOperatorPlugin>>;

/// All parts, each with the requests of its queue.
pub(crate) type Parts = Vec<(Part, Requests)>;

impl Plugins {
    /// None yet, and what is to be watched.
    pub(super) fn new(settings: &Settings) -> (Self, Parts) {
        let parts = namespaces(settings).into_iter().map(|namespace| {
            let (queue, requests) = queue();
            (Part { namespace, cache: Cache::new(|_| None), queue }, requests)
        });
        let parts: Parts = parts.collect();
        (Self(parts.iter().map(|(part, _)| part.clone()).collect()), parts)
    }

    pub(super) fn get(&self, key: &PluginKey) -> Option<Arc<DaskOperatorPlugin>> {
        self.part(key)?.cache.get(&key.namespace, &key.name)
    }

    pub(super) fn all(&self) -> impl Iterator<Item = Arc<DaskOperatorPlugin>> {
        self.0.iter().flat_map(|part| part.cache.all())
    }

    /// Whether each plugin that is not suspended is ready, by its identity with an operator in this namespace.
    pub(super) fn readiness(&self, operator_namespace: &str) -> Vec<(String, bool)> {
        let called = self.all().filter(|plugin| !plugin.spec.suspend);
        called.map(|plugin| (key_of(&plugin).identity(operator_namespace), is_ready(&plugin))).collect()
    }

    /// Asks for another look at a plugin.
    pub(super) fn push(&self, key: &PluginKey) {
        if let Some(part) = self.part(key) {
            part.queue.push(&key.namespace, &key.name);
        }
    }

    fn part(&self, key: &PluginKey) -> Option<&Part> {
        self.0.iter().find(|part| part.namespace.as_ref().is_none_or(|namespace| *namespace == key.namespace))
    }
}

fn is_ready(plugin: &DaskOperatorPlugin) -> bool {
    let conditions = plugin.status.iter().flat_map(|status| &status.conditions);
    conditions.into_iter().any(|condition| condition.type_ == READY && condition.status == "True")
}

/// Where to look for plugins. Without teams' plugins that is the operator's namespace alone: the controller need
/// not have the right to read those of others.
fn namespaces(settings: &Settings) -> Vec<Option<String>> {
    let own = Some(settings.namespace.clone());
    match (settings.tenants, &settings.watched) {
        (true, None) => vec![None],
        (true, Some(watched)) if *watched != settings.namespace => vec![own, Some(watched.clone())],
        _ => vec![own],
    }
}

#[cfg(test)]
mod tests {
    use kube::runtime::watcher::Event;
    use serde_json::json;

    use super::*;
    use crate::plugin::wiring::test_settings;

    #[test]
    fn plugins_are_looked_for_where_they_can_be_accepted() {
        type Case = (bool, Option<&'static str>, &'static [Option<&'static str>]);
        let table: [Case; 6] = [
            (false, None, &[Some("dask-operator")]),
            (false, Some("team-a"), &[Some("dask-operator")]),
            (false, Some("dask-operator"), &[Some("dask-operator")]),
            (true, None, &[None]),
            (true, Some("team-a"), &[Some("dask-operator"), Some("team-a")]),
            (true, Some("dask-operator"), &[Some("dask-operator")]),
        ];
        for (tenants, watched, expected) in table {
            let settings = Settings { tenants, watched: watched.map(str::to_owned), ..test_settings() };
            let found = namespaces(&settings);
            assert_eq!(found.iter().map(Option::as_deref).collect::<Vec<_>>(), expected, "{tenants} {watched:?}");
        }
    }
    #[test]
    fn plugins_are_ready_if_they_say_so_and_suspended_ones_need_not_be() {
        let plugin = |namespace: &str, name: &str, suspend: bool, ready: &str| -> DaskOperatorPlugin {
            serde_json::from_value(json!({
                "apiVersion": "kubernetes.dask.org/v1alpha1",
                "kind": "DaskOperatorPlugin",
                "metadata": {"namespace": namespace, "name": name},
                "spec": {"endpoint": {"socket": "echo.sock"}, "subjects": [], "children": [], "suspend": suspend},
                "status": {"conditions": [{
                    "type": "Ready", "status": ready, "reason": "Because", "message": "",
                    "lastTransitionTime": "2026-11-28T00:00:00Z",
                }]},
            }))
            .unwrap()
        };
        let (plugins, parts) = Plugins::new(&Settings { tenants: true, ..test_settings() });
        for plugin in [
            plugin("dask-operator", "good", false, "True"),
            plugin("team-a", "bad", false, "False"),
            plugin("dask-operator", "paused", true, "False"),
        ] {
            parts[0].0.cache.apply(&Event::Apply(plugin));
        }
        let mut readiness = plugins.readiness("dask-operator");
        readiness.sort();
        assert_eq!(readiness, [("bad.team-a".to_owned(), false), ("good".to_owned(), true)]);
    }
}
