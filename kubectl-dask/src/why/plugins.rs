//! Explains what plugins have not done for a cluster.

use dask_operator_api::conditions::PLUGINS_SYNCED;
use serde_json::Value;

use super::Finding;
use crate::{
    json::{Condition, conditions, failed, list, name, text},
    snapshot::Snapshot,
};

/// Plugins with `failurePolicy: Fail` keep a cluster from becoming `Running`.
pub(super) fn holding(seen: &Snapshot) -> Option<Finding> {
    let cluster = seen.cluster.as_ref()?;
    failed(cluster, "Ready").filter(|ready| ready.reason == "WaitingForPlugins")?;
    let is_strict = |entry: &&Value| {
        plugin(seen, text(entry, "/name")).is_none_or(|plugin| text(plugin, "/spec/failurePolicy") == "Fail")
    };
    let unsynced = || list(cluster, "/status/plugins").iter().filter(|entry| entry["synced"] == false);
    let Some(entry) = unsynced().find(is_strict).or_else(|| unsynced().next()) else {
        let message = failed(cluster, PLUGINS_SYNCED).map_or("it has no result yet", |synced| synced.message);
        let cause = format!("a plugin with failurePolicy Fail holds the cluster at Pending: {message}");
        return Some(Finding::broken("plugin-holds", cause, action(seen, "")));
    };
    let plugin_name = text(entry, "/name");
    let cause = format!("plugin {plugin_name} holds the cluster at Pending: {}", reason(seen, entry));
    Some(Finding::broken("plugin-holds", cause, action(seen, plugin_name)))
}

/// Other plugins only have not added what they should.
pub(super) fn of(seen: &Snapshot) -> Option<Finding> {
    let cluster = seen.cluster.as_ref()?;
    let objects = std::iter::once(cluster).chain(&seen.groups);
    let mut entries = objects.flat_map(|object| list(object, "/status/plugins"));
    let waits = failed(cluster, PLUGINS_SYNCED).is_some_and(|synced| synced.may_pass());
    let entry = entries.find(|entry| entry["synced"] == false && !(waits && text(entry, "/message").is_empty()))?;
    let plugin_name = text(entry, "/name");
    let (kind, verb) = match trouble(seen, plugin_name) {
        Some(trouble) if trouble.reason == "Unreachable" => ("plugin-unreachable", "cannot be reached"),
        _ => ("plugin-failing", "has not added what it should"),
    };
    let cause = format!("plugin {plugin_name} {verb}; the cluster works without it: {}", reason(seen, entry));
    Some(Finding::broken(kind, cause, action(seen, plugin_name)))
}

fn plugin<'a>(seen: &'a Snapshot, plugin: &str) -> Option<&'a Value> {
    // A team's own plugin may have the name of another team's, which is not called about this cluster.
    let named = || seen.plugins.iter().filter(|object| name(object) == plugin);
    named().find(|object| text(object, "/metadata/namespace") == seen.namespace).or_else(|| named().next())
}

/// Returns the first condition of a plugin that is false.
fn trouble<'a>(seen: &'a Snapshot, name: &str) -> Option<Condition<'a>> {
    let plugin = plugin(seen, name)?;
    conditions(plugin)
        .find(|condition| ["Accepted", "Discovered", "Authorized"].contains(&condition.type_) && condition.is_false())
}

fn reason(seen: &Snapshot, entry: &Value) -> String {
    if let Some(trouble) = trouble(seen, text(entry, "/name")) {
        return format!("{} ({})", trouble.message, trouble.reason);
    }
    let message = text(entry, "/message");
    if message.is_empty() { "it has no result yet".to_owned() } else { message.to_owned() }
}

/// Returns who can say more. Users may have no right to see the plugin, which is in another namespace.
fn action(seen: &Snapshot, name: &str) -> String {
    match plugin(seen, name) {
        Some(plugin) => {
            let describe = format!("describe daskoperatorplugin {name}");
            format!("have its owner see {}", seen.kubectl_in(text(plugin, "/metadata/namespace"), &describe))
        }
        None => format!("have its owner find it: {}", seen.kubectl_everywhere("get daskoperatorplugins")),
    }
}
