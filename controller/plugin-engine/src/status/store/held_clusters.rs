//! The clusters that plugins keep from becoming `Running`.

use std::{sync::MutexGuard, time::Instant};

use dask_operator_api::{DaskCluster, DaskOperatorPlugin, SubjectKind};
use kube::ResourceExt as _;

use super::{
    super::{
        cluster_gate::{self, GatePlugin, GatedCluster},
        schedule::MIN_INTERVAL,
    },
    SeenResource, State, StatusStore,
};
use crate::model::subject::SubjectKey;

impl StatusStore {
    /// Returns whether a plugin keeps `cluster` from becoming `Running`. If so, the cluster is enqueued again when that
    /// changes.
    pub fn holds(&self, cluster: &DaskCluster) -> bool {
        let key = cluster_key(cluster);
        let mut state = self.lock();
        let holders = self.holders_in(&state, cluster);
        if state.loaded && holders.is_empty() {
            return false;
        }
        state.held.insert(key.clone());
        // Most clusters are not held for long, so their status need not mention it.
        state.schedule.add(key, Instant::now() + MIN_INTERVAL);
        drop(state);
        self.changed.notify_one();
        true
    }

    /// Returns the plugins that keep `cluster` from becoming `Running`.
    pub(crate) fn holders(&self, cluster: &DaskCluster) -> Vec<String> {
        self.holders_in(&self.lock(), cluster)
    }

    fn holders_in(&self, state: &State, cluster: &DaskCluster) -> Vec<String> {
        let key = cluster_key(cluster);
        let plugins: Vec<_> = self.plugins.concerning(&key.namespace, &self.namespace);
        let plugins = plugins.iter().map(|plugin| GatePlugin {
            identity: self.identity(plugin),
            is_shared: plugin.namespace().as_deref() == Some(self.namespace.as_str()),
            resource: plugin.as_ref(),
        });
        let uid = cluster.uid().unwrap_or_default();
        let cluster = GatedCluster { namespace: &key.namespace, uid: &uid };
        cluster_gate::holders(plugins, cluster, state.reports.about(&key))
    }

    /// Records that all plugin resources are known.
    pub(crate) fn loaded(&self) {
        let mut state = self.lock();
        state.loaded = true;
        self.release_all(state);
    }

    /// Records that `plugin` is new or has changed.
    pub(crate) fn plugin_changed(&self, plugin: &DaskOperatorPlugin) {
        let generation = plugin.metadata.generation;
        let seen = SeenResource { generation, is_refused: cluster_gate::is_refused(plugin) };
        let mut state = self.lock();
        // Most changes only affect counts in the status.
        if state.seen.insert(self.identity(plugin), seen) != Some(seen) {
            self.release_all(state);
        }
    }

    /// Enqueues all held clusters, because the plugins that hold them may have changed.
    pub(super) fn release_all(&self, mut state: MutexGuard<'_, State>) {
        for cluster in std::mem::take(&mut state.held) {
            self.enqueue(&cluster);
            state.schedule.add(cluster, Instant::now());
        }
        state.stale = true;
        drop(state);
        self.changed.notify_one();
    }

    /// Enqueues `owner` if it is a cluster that was held.
    pub(super) fn release(&self, state: &mut State, owner: &SubjectKey) {
        if state.held.remove(owner) {
            self.enqueue(owner);
        }
    }

    fn enqueue(&self, cluster: &SubjectKey) {
        self.clusters.push(&cluster.namespace, &cluster.name);
    }
}

/// Returns the key of a cluster.
fn cluster_key(cluster: &DaskCluster) -> SubjectKey {
    let namespace = cluster.namespace().unwrap_or_default();
    SubjectKey { kind: SubjectKind::DaskCluster, namespace, name: cluster.name_any() }
}
