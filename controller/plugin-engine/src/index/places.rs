//! Decides which plugins of a tenant are served, if it has more than it may have.
//!
//! Each plugin that is served has a worker, a queue and inquiries, and is called. The oldest ones of a namespace are
//! served; the others wait until one of these is deleted. Plugins in the operator's namespace always are.

use std::{
    collections::{BTreeSet, HashMap},
    sync::{Mutex, MutexGuard, PoisonError},
};

use dask_operator_api::DaskOperatorPlugin;
use jiff::Timestamp;
use kube::ResourceExt as _;

use crate::model::key::{PluginKey, key_of};

/// The plugins of all tenants, by their age.
#[derive(Debug)]
pub(crate) struct Places {
    /// The operator's namespace.
    home: String,
    /// How many plugins of another namespace are served.
    limit: usize,
    namespaces: Mutex<HashMap<String, Tenant>>,
}

/// The plugins of one tenant.
#[derive(Debug, Default)]
struct Tenant {
    created: HashMap<String, Option<Timestamp>>,
    order: BTreeSet<Rank>,
}

/// The order of plugins in a namespace: the oldest first.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Rank {
    created: Option<Timestamp>,
    name: String,
}

impl Tenant {
    /// Returns the names of the plugins that are served.
    fn served(&self, limit: usize) -> BTreeSet<String> {
        self.order.iter().take(limit).map(|rank| rank.name.clone()).collect()
    }

    fn remove(&mut self, name: &str) {
        if let Some(created) = self.created.remove(name) {
            self.order.remove(&Rank { created, name: name.to_owned() });
        }
    }

    fn insert(&mut self, name: &str, created: Option<Timestamp>) {
        self.remove(name);
        self.created.insert(name.to_owned(), created);
        self.order.insert(Rank { created, name: name.to_owned() });
    }
}

impl Places {
    /// Returns places for `limit` plugins in each namespace other than `home`, the operator's.
    pub(crate) fn new(home: &str, limit: usize) -> Self {
        Self { home: home.to_owned(), limit, namespaces: Mutex::default() }
    }

    /// Returns how many plugins of a tenant are served.
    pub(crate) fn limit(&self) -> usize {
        self.limit
    }

    /// Records a plugin that is new or has changed. Returns the other plugins that are served or not served because of
    /// it.
    pub(crate) fn applied(&self, plugin: &DaskOperatorPlugin) -> Vec<PluginKey> {
        let (key, created) = (key_of(plugin), plugin.creation_timestamp().map(|created| created.0));
        let known = self.lock().get(&key.namespace).and_then(|tenant| tenant.created.get(&key.name).copied());
        if known == Some(created) { Vec::new() } else { self.change(key, |tenant, name| tenant.insert(name, created)) }
    }

    /// Records that a plugin is gone. Returns the plugins that are served in its place.
    pub(crate) fn deleted(&self, plugin: &DaskOperatorPlugin) -> Vec<PluginKey> {
        self.change(key_of(plugin), Tenant::remove)
    }

    fn change(&self, plugin: PluginKey, change: impl FnOnce(&mut Tenant, &str)) -> Vec<PluginKey> {
        let PluginKey { namespace, name } = plugin;
        if namespace == self.home {
            return Vec::new();
        }
        let mut namespaces = self.lock();
        let tenant = namespaces.entry(namespace.clone()).or_default();
        let before = tenant.served(self.limit);
        change(tenant, &name);
        let after = tenant.served(self.limit);
        if tenant.order.is_empty() {
            namespaces.remove(&namespace);
        }
        let others = before.symmetric_difference(&after).filter(|other| **other != name);
        others.map(|name| PluginKey { namespace: namespace.clone(), name: name.clone() }).collect()
    }

    /// Returns whether the plugin is one of those that are served. One that is not known is.
    pub(crate) fn is_served(&self, plugin: &PluginKey) -> bool {
        let namespaces = self.lock();
        let Some(tenant) = namespaces.get(&plugin.namespace) else { return true };
        let is_known = tenant.created.contains_key(&plugin.name);
        !is_known || tenant.order.iter().take(self.limit).any(|rank| rank.name == plugin.name)
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, Tenant>> {
        self.namespaces.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn plugin(namespace: &str, name: &str, second: u32) -> DaskOperatorPlugin {
        serde_json::from_value(json!({
            "apiVersion": "kubernetes.dask.org/v1alpha1",
            "kind": "DaskOperatorPlugin",
            "metadata": {
                "namespace": namespace, "name": name, "creationTimestamp": format!("2026-01-01T00:00:{second:02}Z"),
            },
            "spec": {"endpoint": {"socket": "echo.sock"}, "subjects": [], "children": []},
        }))
        .unwrap()
    }

    /// Returns which of the plugins of `team-a` are served.
    fn served(places: &Places, names: &[&str]) -> Vec<String> {
        let is_served =
            |name: &&&str| places.is_served(&PluginKey { namespace: "team-a".to_owned(), name: (**name).to_owned() });
        names.iter().filter(is_served).map(|name| (*name).to_owned()).collect()
    }

    fn names(keys: &[PluginKey]) -> Vec<&str> {
        keys.iter().map(|key| key.name.as_str()).collect()
    }

    #[test]
    fn the_oldest_plugins_of_a_namespace_are_served_in_whatever_order_they_are_listed() {
        let all = ["a", "b", "c", "d"];
        let plugins = all.map(|name| plugin("team-a", name, if name == "d" { 1 } else { 5 }));
        for order in [[0, 1, 2, 3], [3, 2, 1, 0], [2, 3, 0, 1]] {
            let places = Places::new("dask-operator", 2);
            for index in order {
                places.applied(&plugins[index]);
            }
            assert_eq!(served(&places, &all), ["a", "d"], "{order:?}: of equally old ones, the name decides");
        }
    }

    #[test]
    fn the_next_plugin_is_served_when_one_is_deleted_and_only_then() {
        let places = Places::new("dask-operator", 2);
        let plugins = ["a", "b", "c", "d"].map(|name| plugin("team-a", name, 5));
        for plugin in &plugins {
            assert_eq!(places.applied(plugin), []);
            assert_eq!(places.applied(plugin), [], "a change of a status changes nothing");
        }
        assert_eq!(places.deleted(&plugins[3]), []);
        assert_eq!(names(&places.deleted(&plugins[0])), ["c"]);
        assert_eq!(served(&places, &["b", "c"]), ["b", "c"]);
        // It was deleted and created again while the watch was broken.
        places.applied(&plugins[3]);
        assert_eq!(names(&places.applied(&plugin("team-a", "b", 9))), ["d"]);
        assert_eq!(served(&places, &["b", "c", "d"]), ["c", "d"]);
    }

    #[test]
    fn other_namespaces_and_the_operators_own_plugins_are_not_affected() {
        let places = Places::new("dask-operator", 1);
        for namespace in ["dask-operator", "team-a", "team-b"] {
            for name in ["a", "b"] {
                places.applied(&plugin(namespace, name, 5));
            }
        }
        let is_served = |namespace: &str, name: &str| {
            places.is_served(&PluginKey { namespace: namespace.to_owned(), name: name.to_owned() })
        };
        assert!(is_served("dask-operator", "b") && is_served("team-b", "a") && is_served("team-a", "a"));
        assert!(!is_served("team-a", "b") && !is_served("team-b", "b"));
        assert!(is_served("team-c", "a"), "the watch has not reported it yet");
    }
}
