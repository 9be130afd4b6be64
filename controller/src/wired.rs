//! Watches and tasks of one half of the controller.

use std::{fmt::Debug, hash::Hash};

use futures::future::{BoxFuture, join_all};
use kube::Resource;
use serde::de::DeserializeOwned;
use tokio_util::sync::CancellationToken;

use crate::{
    vitals::Vitals,
    watch::{Feed, Progress},
};

/// Something that runs until shutdown, with its name for errors.
pub(crate) type Task = (&'static str, BoxFuture<'static, ()>);

/// Collects what is to be driven; nothing runs before the tasks are.
pub(crate) struct Wired {
    pub(crate) watches: Vec<Progress>,
    pub(crate) tasks: Vec<Task>,
    pub(crate) vitals: Vitals,
    shutdown: CancellationToken,
}

impl Wired {
    pub(crate) fn new(vitals: Vitals, shutdown: CancellationToken) -> Self {
        Self { watches: Vec::new(), tasks: Vec::new(), vitals, shutdown }
    }

    /// Adds a watch; how far it is.
    pub(crate) fn watch<K>(&mut self, feed: Feed<K>) -> Progress
    where
        K: Resource + Clone + DeserializeOwned + Debug + Send + Sync + 'static,
        K::DynamicType: Eq + Hash + Clone + Debug + Unpin + Send + Sync,
    {
        let (progress, run) = feed.start();
        self.watches.push(progress.clone());
        self.vitals.watch(progress.clone());
        self.until_shutdown("a watch", run);
        progress
    }

    /// Adds a task that is dropped at shutdown.
    pub(crate) fn until_shutdown(&mut self, name: &'static str, run: impl Future<Output = ()> + Send + 'static) {
        let shutdown = self.shutdown.clone();
        let run = async move {
            tokio::select! { () = run => {}, () = shutdown.cancelled() => {} }
        };
        self.tasks.push((name, Box::pin(run)));
    }

    /// Adds a reconciler, which ends by itself at shutdown. It starts when all watches so far have
    /// delivered: a missing child must not be mistaken for one not yet seen.
    pub(crate) fn after_sync(&mut self, name: &'static str, run: impl Future<Output = ()> + Send + 'static) {
        let watches = self.watches.clone();
        let run = async move {
            join_all(watches.iter().map(Progress::synced)).await;
            run.await;
        };
        self.tasks.push((name, Box::pin(run)));
    }
}
