//! How many workers were made. In the end one too many is gone again, and while it is there it is hidden by those that are
//! on their way out; but it was made.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex},
};

use futures::StreamExt as _;
use kube::{
    ResourceExt as _,
    api::DynamicObject,
    runtime::{WatchStreamExt as _, watcher},
};
use tokio::task::AbortHandle;

use crate::{hostile, invariants::Wanted, support::TestContext};

const GROUP: &str = "dask.org/workergroup-name";

/// Uids of all workers that were seen, by group and its uid.
type Seen = BTreeMap<(String, String), BTreeSet<String>>;

/// Counts until it is dropped.
pub(crate) struct Made {
    seen: Arc<Mutex<Seen>>,
    counting: AbortHandle,
}

impl Drop for Made {
    fn drop(&mut self) {
        self.counting.abort();
    }
}

impl Made {
    pub(crate) fn begin(context: &TestContext) -> Self {
        let seen: Arc<Mutex<Seen>> = Arc::default();
        let (counted, workers) = (Arc::clone(&seen), context.api("Deployment"));
        let counting = tokio::spawn(async move {
            let config = watcher::Config::default().labels("dask.org/component=worker");
            // After an error it lists again: what came and went meanwhile is not counted, and nothing is counted twice.
            let mut objects = watcher(workers, config).default_backoff().touched_objects().boxed();
            while let Some(object) = objects.next().await {
                if let Some((group, uid)) = object.ok().as_ref().and_then(worker_of) {
                    counted.lock().unwrap().entry(group).or_default().insert(uid);
                }
            }
        });
        Self { seen, counting: counting.abort_handle() }
    }

    /// No group had more workers made than it ever needed.
    pub(crate) fn check(&self, wanted: &Wanted) -> Result<(), String> {
        for ((group, _), workers) in &*self.seen.lock().unwrap() {
            let needed = wanted.needed.get(group).copied().unwrap_or_default();
            if workers.len() > needed {
                return Err(format!("{} workers of {group} were made, and {needed} were needed", workers.len()));
            }
        }
        Ok(())
    }
}

/// The group with its uid, and the worker's uid.
fn worker_of(worker: &DynamicObject) -> Option<((String, String), String)> {
    let owner = worker.owner_references().iter().find(|owner| owner.kind == "DaskWorkerGroup")?;
    let group = worker.labels().get(GROUP)?.clone();
    (!hostile::is_of(&worker.name_any())).then_some(((group, owner.uid.clone()), worker.uid()?))
}
