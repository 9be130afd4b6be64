//! Restarts retired workers that were not deleted, as a kubelet does: the controller was interrupted, or more workers are
//! wanted again. The process of such a worker has ended, and its replacement registers with the scheduler.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::{Duration, Instant},
};

use serde_json::Value;
use tokio::task::AbortHandle;

use crate::support::{TestContext, name, scheduler::FakeScheduler};

const PERIOD: Duration = Duration::from_millis(500);
/// The time that a process takes to start.
const START: Duration = Duration::from_secs(2);

/// Restarts workers until it is dropped.
pub(crate) struct KubeletRestart(AbortHandle);

impl Drop for KubeletRestart {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl KubeletRestart {
    pub(crate) fn begin(context: TestContext, scheduler: Arc<FakeScheduler>) -> Self {
        let restarting = tokio::spawn(async move {
            let mut missing: BTreeMap<String, Instant> = BTreeMap::new();
            loop {
                tokio::time::sleep(PERIOD).await;
                let workers = context.list("Deployment", "dask.org/component=worker").await;
                restart_missing(&workers, &scheduler, &mut missing);
            }
        });
        Self(restarting.abort_handle())
    }
}

fn restart_missing(workers: &[Value], scheduler: &FakeScheduler, missing: &mut BTreeMap<String, Instant>) {
    let connected: BTreeSet<String> = scheduler.workers().into_iter().collect();
    let names: BTreeSet<&str> = workers.iter().map(name).collect();
    // Their pods were deleted with them.
    connected.iter().filter(|worker| !names.contains(worker.as_str())).for_each(|worker| scheduler.unregister(worker));
    let is_ready =
        |worker: &&Value| worker["status"]["readyReplicas"] == 1 && worker["metadata"]["deletionTimestamp"].is_null();
    let ready: BTreeSet<&str> = workers.iter().filter(is_ready).map(name).collect();
    missing.retain(|worker, _| ready.contains(worker.as_str()) && !connected.contains(worker));
    for worker in ready.into_iter().filter(|worker| !connected.contains(*worker)) {
        let since = missing.entry(worker.to_owned()).or_insert_with(Instant::now);
        if since.elapsed() > START {
            scheduler.register(worker);
        }
    }
}
