//! The plugin resources: what is known of them, and the queue of those who look at them.

use std::sync::Arc;

use futures::channel::mpsc::UnboundedReceiver;
use kube::runtime::controller::ReconcileRequest;

use super::registry::PluginKey;
use crate::{
    crd::DaskOperatorPlugin,
    watch::{Cache, Queue, queue},
};

/// All plugin resources. Cloning shares the content.
#[derive(Clone)]
pub(crate) struct Plugins {
    pub(super) cache: Cache<DaskOperatorPlugin>,
    queue: Queue<DaskOperatorPlugin>,
}

/// The receiving end of the queue.
pub(crate) type Requests = UnboundedReceiver<ReconcileRequest<DaskOperatorPlugin>>;

impl Plugins {
    /// None yet, and the requests to look at them.
    pub(super) fn new() -> (Self, Requests) {
        let (queue, requests) = queue();
        (Self { cache: Cache::new(|_| None), queue }, requests)
    }

    pub(super) fn get(&self, key: &PluginKey) -> Option<Arc<DaskOperatorPlugin>> {
        self.cache.get(&key.namespace, &key.name)
    }

    pub(super) fn all(&self) -> Vec<Arc<DaskOperatorPlugin>> {
        self.cache.all()
    }

    /// Asks for another look at a plugin.
    pub(super) fn push(&self, key: &PluginKey) {
        self.queue.push(&key.namespace, &key.name);
    }
}
