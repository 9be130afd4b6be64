use std::sync::Arc;

use super::{EndpointChange, context::PluginContext};
use crate::model::key::PluginKey;

/// For those who notice that something changed where a plugin listens.
#[derive(Clone)]
pub(crate) struct ProbeTrigger(pub(crate) Arc<PluginContext>);

impl ProbeTrigger {
    /// Has the plugin discovered again at once.
    pub(crate) fn wake(&self, key: &PluginKey, news: EndpointChange) {
        self.0.probes.notice(key.clone(), news);
        self.0.plugins.push(key);
    }
}
