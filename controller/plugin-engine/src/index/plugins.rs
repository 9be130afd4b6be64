//! The cache of plugin resources, their work queue, and which of them are served.

use std::sync::Arc;

use dask_operator_api::DaskOperatorPlugin;
use kube::ResourceExt as _;
use operator_runtime::watch::{Cache, Queue};

use super::places::Places;
use crate::{
    config::Settings,
    model::{
        key::{PluginKey, key_of},
        labels::READY,
    },
};

/// All plugin resources. Cloning shares the content.
#[derive(Clone)]
pub(crate) struct Plugins {
    pub(crate) cache: Cache<DaskOperatorPlugin>,
    queue: Queue<DaskOperatorPlugin>,
    pub(crate) places: Arc<Places>,
}

impl Plugins {
    /// Returns an empty cache, with the work queue of plugin resources.
    pub(crate) fn new(settings: &Settings, queue: Queue<DaskOperatorPlugin>) -> Self {
        let places = Arc::new(Places::new(&settings.namespace, settings.plugins_per_namespace));
        Self { cache: Cache::new(DaskOperatorPlugin::namespace), queue, places }
    }

    pub(crate) fn get(&self, key: &PluginKey) -> Option<Arc<DaskOperatorPlugin>> {
        self.cache.get(&key.namespace, &key.name)
    }

    pub(crate) fn all(&self) -> Vec<Arc<DaskOperatorPlugin>> {
        self.cache.all()
    }

    /// Returns the plugins that may be called about objects in `namespace`. Those in `home`, the operator's namespace, may
    /// be called about all. Other namespaces may have any number.
    pub(crate) fn concerning(&self, namespace: &str, home: &str) -> Vec<Arc<DaskOperatorPlugin>> {
        let mut plugins = self.cache.indexed(home);
        if namespace != home {
            plugins.extend(self.cache.indexed(namespace));
        }
        plugins
    }

    /// Returns whether each plugin that is served and not suspended is ready. Plugins are named by their identity with an operator
    /// in `operator_namespace`.
    pub(crate) fn readiness(&self, operator_namespace: &str) -> Vec<(String, bool)> {
        let is_called =
            |plugin: &Arc<DaskOperatorPlugin>| !plugin.spec.suspend && self.places.is_served(&key_of(plugin));
        let called = self.all().into_iter().filter(is_called);
        called.map(|plugin| (key_of(&plugin).identity(operator_namespace), is_ready(&plugin))).collect()
    }

    /// Enqueues a plugin.
    pub(crate) fn push(&self, key: &PluginKey) {
        self.queue.push(&key.namespace, &key.name);
    }
}

fn is_ready(plugin: &DaskOperatorPlugin) -> bool {
    let conditions = plugin.status.iter().flat_map(|status| &status.conditions);
    conditions.into_iter().any(|condition| condition.type_ == READY && condition.status == "True")
}

#[cfg(test)]
mod tests {
    use kube::runtime::watcher::Event;
    use operator_runtime::watch::{Expectations, queue};
    use serde_json::json;

    use super::*;
    use crate::config::test_settings;

    #[test]
    fn suspended_plugins_do_not_count_for_readiness() {
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
        let plugins = Plugins::new(&test_settings(), queue(&Expectations::default()).0);
        for plugin in [
            plugin("dask-operator", "good", false, "True"),
            plugin("team-a", "bad", false, "False"),
            plugin("dask-operator", "paused", true, "False"),
        ] {
            plugins.cache.apply(None, Event::Apply(plugin), &mut Arc::new);
        }
        let mut readiness = plugins.readiness("dask-operator");
        readiness.sort();
        assert_eq!(readiness, [("bad.team-a".to_owned(), false), ("good".to_owned(), true)]);
    }
}
