use std::sync::Arc;

use super::{News, context::PluginContext};
use crate::model::key::PluginKey;

/// For those who notice that something changed where a plugin listens.
#[derive(Clone)]
pub(crate) struct Waker(pub(crate) Arc<PluginContext>);

impl Waker {
    /// Has the plugin discovered again at once.
    pub(crate) fn wake(&self, key: &PluginKey, news: News) {
        self.0.probes.notice(key.clone(), news);
        self.0.plugins.push(key);
    }
}
