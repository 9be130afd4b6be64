//! Explains why a cluster or its namespace is being deleted and still exists.

use serde_json::Value;

use super::Finding;
use crate::{
    json::{age, is_being_deleted, list, text, time},
    snapshot::Snapshot,
};

/// What the finalizers of plugins begin with.
const OF_PLUGIN: &str = "plugin.kubernetes.dask.org/";

pub(super) fn namespace(seen: &Snapshot) -> Option<Finding> {
    let is_going = |namespace: &&Value| text(namespace, "/status/phase") == "Terminating";
    seen.namespace_object.as_ref().filter(is_going)?;
    let cause = format!("the namespace {} is being deleted, and everything in it", seen.namespace);
    Some(Finding::broken("namespace-terminating", cause, "use another namespace"))
}

pub(super) fn of(seen: &Snapshot) -> Option<Finding> {
    let cluster = seen.cluster.as_ref().filter(|cluster| is_being_deleted(cluster))?;
    let finalizers = list(cluster, "/metadata/finalizers").iter().filter_map(Value::as_str);
    let since = age(time(cluster, "/metadata/deletionTimestamp"), seen.now);
    let held = finalizers
        .filter(|finalizer| !finalizer.starts_with("foregroundDeletion"))
        .min_by_key(|finalizer| !finalizer.starts_with(OF_PLUGIN));
    let Some(finalizer) = held else {
        return Some(Finding::waiting(
            "deleting",
            format!("the cluster is being deleted, for {since}: its pods are shutting down"),
        ));
    };
    let cause = format!("the deletion of the cluster waits for the finalizer {finalizer}, for {since}");
    let action = match finalizer.strip_prefix(OF_PLUGIN) {
        Some(plugin) => format!(
            "see why the plugin {plugin} does not finish: {}; the operator gives up at its deadline",
            seen.kubectl_dask(&format!("plugins {}", seen.name))
        ),
        None => format!("ask the owner of {finalizer} why it does not remove it"),
    };
    Some(Finding::broken("deletion-held", cause, action))
}
