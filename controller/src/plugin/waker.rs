use std::sync::Arc;

use super::{
    registry::PluginKey,
    resource::{News, PluginContext},
};

/// For those who notice that something changed where a plugin listens.
#[derive(Clone)]
pub(super) struct Waker(pub(super) Arc<PluginContext>);

impl Waker {
    /// Has the plugin discovered again at once.
    pub(super) fn wake(&self, key: &PluginKey, news: News) {
        self.0.probes.notice(key.clone(), news);
        self.0.plugins.push(key);
    }
}
