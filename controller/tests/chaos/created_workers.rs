//! Counts the workers that were created. A surplus worker is deleted again in the end, and until then the workers that are
//! being deleted hide it in the counts; the number of creations shows it.

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
type Uids = BTreeMap<String, BTreeSet<String>>;

/// Counts until it is dropped.
pub(crate) struct CreatedWorkers {
    seen: Arc<Mutex<Uids>>,
    counting: AbortHandle,
}

impl Drop for CreatedWorkers {
    fn drop(&mut self) {
        self.counting.abort();
    }
}

impl CreatedWorkers {
    pub(crate) fn begin(context: &TestContext) -> Self {
        let seen: Arc<Mutex<Uids>> = Arc::default();
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

    /// Returns how many workers were created so far, by the uid of their group.
    pub(crate) fn so_far(&self) -> BTreeMap<String, usize> {
        self.seen.lock().unwrap().iter().map(|(group, workers)| (group.clone(), workers.len())).collect()
    }
}

/// Checks that no group had more workers `created` than it ever needed. `existing` are the groups that exist after `created` was
/// counted: when a group is deleted, its workers are collected one by one, and a controller that has not observed the deletion
/// creates them again.
pub(crate) fn check(created: &BTreeMap<String, usize>, existing: &[Value], wanted: &Wanted) -> Result<(), String> {
    for group in existing.iter().filter(|group| group["metadata"]["deletionTimestamp"].is_null()) {
        let created = created.get(uid(group)).copied().unwrap_or_default();
        let needed = wanted.needed.get(name(group)).copied().unwrap_or_default();
        if created > needed && wanted.groups.contains_key(name(group)) {
            return Err(format!("{created} workers of {} were created, and {needed} were needed", name(group)));
        }
    }
    Ok(())
}

/// The uids of the group and of the worker.
fn worker_of(worker: &DynamicObject) -> Option<(String, String)> {
    let owner = worker.owner_references().iter().find(|owner| owner.kind == "DaskWorkerGroup")?;
    (!hostile::is_of(&worker.name_any())).then_some((owner.uid.clone(), worker.uid()?))
}
