//! What a kubelet does with a worker that was retired and not deleted, because the controller was interrupted or more
//! workers are wanted again: its process has ended, is started anew and connects again.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::{Duration, Instant},
};

use serde_json::Value;
use tokio::task::AbortHandle;

use crate::support::{TestContext, name, scheduler::FakeScheduler};

const PERIOD: Duration = Duration::from_millis(500);
/// How long a process takes to start.
const START: Duration = Duration::from_secs(2);

/// Goes on until it is dropped.
pub(crate) struct Revival(AbortHandle);

impl Drop for Revival {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Revival {
    pub(crate) fn begin(context: TestContext, scheduler: Arc<FakeScheduler>) -> Self {
        let reviving = tokio::spawn(async move {
            let mut missing: BTreeMap<String, Instant> = BTreeMap::new();
            loop {
                tokio::time::sleep(PERIOD).await;
                let workers = context.list("Deployment", "dask.org/component=worker").await;
                look(&workers, &scheduler, &mut missing);
            }
        });
        Self(reviving.abort_handle())
    }
}

fn look(workers: &[Value], scheduler: &FakeScheduler, missing: &mut BTreeMap<String, Instant>) {
    let connected: BTreeSet<String> = scheduler.workers().into_iter().collect();
    let names: BTreeSet<&str> = workers.iter().map(name).collect();
    // Their pods have gone with them.
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
