//! The set of watches and tasks of one part of the controller.

use std::{fmt::Debug, hash::Hash, time::Instant};

use futures::future::{BoxFuture, join_all};
use kube::Resource;
use serde::{Serialize, de::DeserializeOwned};
use tokio_util::sync::CancellationToken;

use crate::{
    leader::{Leadership, Leading},
    liveness::Liveness,
    watch::{KindWatcher, MemoryBudget, SyncStatus},
};

/// A future that runs until shutdown.
pub struct Task {
    /// The name, for errors.
    pub name: &'static str,
    /// The future.
    pub run: BoxFuture<'static, ()>,
}

/// Collects the tasks to run. Nothing runs before [`drive`](crate::task_runner::drive) is called. Watches run on
/// standbys too. Tasks of [`TaskSet::after_sync`] and [`TaskSet::until_shutdown`] start only when this process leads.
pub struct TaskSet {
    /// The sync status of each watch.
    pub watches: Vec<SyncStatus>,
    /// The tasks, including those that run the watches.
    pub tasks: Vec<Task>,
    /// The liveness of watches and passes.
    pub liveness: Liveness,
    leadership: Leadership,
    budget: MemoryBudget,
    shutdown: CancellationToken,
}

impl TaskSet {
    /// Returns an empty set whose tasks end when `shutdown` is cancelled, and whose watches share `budget`.
    pub fn new(liveness: Liveness, leadership: Leadership, budget: MemoryBudget, shutdown: CancellationToken) -> Self {
        Self { watches: Vec::new(), tasks: Vec::new(), liveness, leadership, budget, shutdown }
    }

    /// Adds a watch. Returns its sync status.
    pub fn watch<K>(&mut self, watcher: KindWatcher<K>) -> SyncStatus
    where
        K: Resource + Clone + Serialize + DeserializeOwned + Debug + Send + Sync + 'static,
        K::DynamicType: Eq + Hash + Clone + Debug + Unpin + Send + Sync,
    {
        let progress = watcher.sync_status();
        let run = watcher.run(self.budget.clone());
        self.watches.push(progress.clone());
        self.liveness.watch(progress.clone());
        let shutdown = self.shutdown.clone();
        self.tasks.push(Task { name: "a watch", run: Box::pin(until(shutdown, run)) });
        progress
    }

    /// Adds a task that is dropped at shutdown. It starts under the same conditions as one of [`TaskSet::after_sync`].
    pub fn until_shutdown<Run>(&mut self, name: &'static str, run: impl FnOnce(Leading) -> Run + Send + 'static)
    where
        Run: Future<Output = ()> + Send + 'static,
    {
        let shutdown = self.shutdown.clone();
        self.after_sync(name, |leading| until(shutdown, run(leading)));
    }

    /// Adds a reconciler, which ends by itself at shutdown. It starts when this process leads and all watches added so
    /// far have synced. Otherwise it would take a child that the watch has not reported yet for a missing one.
    pub fn after_sync<Run>(&mut self, name: &'static str, run: impl FnOnce(Leading) -> Run + Send + 'static)
    where
        Run: Future<Output = ()> + Send + 'static,
    {
        let (watches, leadership, shutdown) = (self.watches.clone(), self.leadership.clone(), self.shutdown.clone());
        let (liveness, waiting) = (self.liveness.clone(), self.liveness.expect(name));
        let run = async move {
            let begun = async {
                let leading = leadership.begun().await;
                liveness.leads(Instant::now());
                join_all(watches.iter().map(SyncStatus::synced)).await;
                leading
            };
            tokio::select! {
                leading = begun => {
                    drop(waiting);
                    run(leading).await;
                }
                () = shutdown.cancelled() => {}
            }
        };
        self.tasks.push(Task { name, run: Box::pin(run) });
    }

    /// Adds a task that starts at shutdown.
    pub fn at_shutdown(&mut self, name: &'static str, run: impl Future<Output = ()> + Send + 'static) {
        let shutdown = self.shutdown.clone();
        let run = async move {
            shutdown.cancelled().await;
            run.await;
        };
        self.tasks.push(Task { name, run: Box::pin(run) });
    }
}

async fn until(shutdown: CancellationToken, run: impl Future<Output = ()>) {
    tokio::select! { () = run => {}, () = shutdown.cancelled() => {} }
}
