//! Watches the sockets of plugins that run beside the controller, and discovers a plugin again when its socket changes.

use std::time::Duration;

use operator_runtime::leader::Leading;
use tokio::time::MissedTickBehavior;

use super::{
    sockets::{PluginSocket, SocketChange, path_below},
    trigger::ProbeTrigger,
};
use crate::model::key::key_of;

/// How often the sockets are checked. A check is one system call per socket, and works on every file system.
const PERIOD: Duration = Duration::from_secs(1);

/// Discovers plugins again whose sockets appear, disappear or are replaced.
pub(crate) async fn follow(trigger: ProbeTrigger, _: Leading) {
    let mut ticks = tokio::time::interval(PERIOD);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let mut sockets = Vec::new();
        for plugin in trigger.0.plugins.all() {
            let Some(socket) = &plugin.spec.endpoint.socket else { continue };
            let plugin = key_of(&plugin);
            // Paths that may lead elsewhere are refused, and must not be examined either.
            if let Some(path) = path_below(&plugin.name, socket) {
                sockets.push(PluginSocket { plugin, path });
            }
        }
        for SocketChange { plugin, change } in trigger.0.sockets.changes(sockets) {
            tracing::info!(plugin = plugin.name, replaced = change.replaced, "a plugin's socket changed");
            trigger.wake(&plugin, change);
        }
    }
}
