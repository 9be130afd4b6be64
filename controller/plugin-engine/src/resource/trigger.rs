//! Triggers a new discovery of a plugin when its endpoint changes.

use std::sync::Arc;

use super::{context::PluginContext, endpoint_change::EndpointChange};
use crate::model::key::PluginKey;

/// A handle for tasks that detect changes of plugin endpoints.
#[derive(Clone)]
pub(crate) struct ProbeTrigger(pub(crate) Arc<PluginContext>);

impl ProbeTrigger {
    /// Makes the reconciler discover the plugin again immediately.
    pub(crate) fn wake(&self, key: &PluginKey, change: EndpointChange) {
        self.0.probes.notice(key.clone(), change);
        self.0.plugins.push(key);
    }
}
