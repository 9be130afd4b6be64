use std::sync::Arc;

use super::{
    registry::PluginKey,
    resource::{News, PluginContext},
};
use crate::{crd::DaskOperatorPlugin, watch::Queue};

/// For those who notice that something changed where a plugin listens.
#[derive(Clone)]
pub(super) struct Waker {
    pub(super) context: Arc<PluginContext>,
    pub(super) queue: Queue<DaskOperatorPlugin>,
}

impl Waker {
    /// Has the plugin discovered again at once.
    pub(super) fn wake(&self, key: &PluginKey, news: News) {
        self.context.probes.notice(key.clone(), news);
        self.queue.push(&key.namespace, &key.name);
    }
}
