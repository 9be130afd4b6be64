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
use serde_json::Value;
use tokio::task::AbortHandle;

use crate::{
    hostile,
    invariants::Wanted,
    support::{TestContext, name, uid},
};

/// Uids of all workers that were seen, by the uid of their group.
type Seen = BTreeMap<String, BTreeSet<String>>;

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

    /// How many workers were made so far, by the uid of their group.
    pub(crate) fn so_far(&self) -> BTreeMap<String, usize> {
        self.seen.lock().unwrap().iter().map(|(group, workers)| (group.clone(), workers.len())).collect()
    }
}

/// No group had more workers `made` than it ever needed. Only those count that stand after `made` was counted: when a group
/// is deleted its workers go one by one, and who has not heard of it makes them again.
pub(crate) fn check(made: &BTreeMap<String, usize>, standing: &[Value], wanted: &Wanted) -> Result<(), String> {
    for group in standing.iter().filter(|group| group["metadata"]["deletionTimestamp"].is_null()) {
        let made = made.get(uid(group)).copied().unwrap_or_default();
        let needed = wanted.needed.get(name(group)).copied().unwrap_or_default();
        if made > needed && wanted.groups.contains_key(name(group)) {
            return Err(format!("{made} workers of {} were made, and {needed} were needed", name(group)));
        }
    }
    Ok(())
}

/// The uids of the group and of the worker.
fn worker_of(worker: &DynamicObject) -> Option<(String, String)> {
    let owner = worker.owner_references().iter().find(|owner| owner.kind == "DaskWorkerGroup")?;
    (!hostile::is_of(&worker.name_any())).then_some((owner.uid.clone(), worker.uid()?))
}
