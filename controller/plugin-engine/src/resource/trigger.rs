//! Triggers a new discovery of a plugin when its endpoint changes.

use std::sync::Arc;

use super::{EndpointChange, context::PluginContext};
use crate::model::key::PluginKey;

/// A handle for tasks that detect changes of plugin endpoints.
#[derive(Clone)]
pub(crate) struct ProbeTrigger(pub(crate) Arc<PluginContext>);

impl ProbeTrigger {
    /// Makes the reconciler discover the plugin again immediately.
    pub(crate) fn wake(&self, key: &PluginKey, news: EndpointChange) {
        self.0.probes.notice(key.clone(), news);
        self.0.plugins.push(key);
    }
}
