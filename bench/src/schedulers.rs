//! Fake schedulers of many DaskClusters. A worker is registered with its scheduler as long as its Deployment exists.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex, PoisonError},
};

use futures::{StreamExt as _, pin_mut};
use kube::{
    ResourceExt as _,
    api::{DynamicObject, PartialObjectMeta},
    runtime::{
        WatchStreamExt as _, watcher,
        watcher::{Config, Event},
    },
};
use serde_json::{Value, json};
use tokio::task::AbortHandle;

use crate::{
    cluster::{BenchNamespace, Kind, cluster_manifest},
    fake_scheduler::FakeScheduler,
};

/// A scheduler for each cluster name. They stop when this is dropped.
pub(crate) struct Schedulers {
    by_cluster: Arc<BTreeMap<String, FakeScheduler>>,
    workers: Arc<Mutex<Workers>>,
    watcher: AbortHandle,
}

/// Worker Deployments.
#[derive(Clone, Debug, Default)]
pub(crate) struct Workers {
    /// Names of those that exist now.
    pub(crate) existing: BTreeSet<String>,
    /// Uids of all that were ever created.
    pub(crate) created: BTreeSet<String>,
}

impl Schedulers {
    /// Starts schedulers for these clusters. They report that they have been idle for a long time.
    pub(crate) async fn start(namespace: &BenchNamespace<'_>, clusters: &[String]) -> Self {
        let mut by_cluster = BTreeMap::new();
        for name in clusters {
            by_cluster.insert(name.clone(), FakeScheduler::start().await);
        }
        let (by_cluster, workers) = (Arc::new(by_cluster), Arc::default());
        let config = Config::default().labels("dask.org/component=worker");
        let events = watcher(namespace.metadata(Kind::Deployment), config);
        let (schedulers, registered) = (Arc::clone(&by_cluster), Arc::clone(&workers));
        let task = tokio::spawn(async move {
            let events = events.default_backoff();
            pin_mut!(events);
            while let Some(event) = events.next().await {
                // The watcher restarts by itself after an error.
                if let Ok(event) = event {
                    apply_event(&schedulers, &registered, &event);
                }
            }
        });
        Self { by_cluster, workers, watcher: task.abort_handle() }
    }

    /// Returns the manifest of a DaskCluster whose Service has the ports of its fake scheduler.
    pub(crate) fn manifest(&self, name: &str, workers: usize) -> Value {
        let mut manifest = cluster_manifest(name, workers);
        let scheduler = &self.by_cluster[name];
        let ports = &mut manifest["spec"]["scheduler"]["service"]["ports"];
        ports[0]["port"] = json!(scheduler.port());
        ports[1]["port"] = json!(scheduler.http_port());
        manifest
    }

    /// Sets the number of workers that each scheduler asks for.
    pub(crate) fn set_desired_workers(&self, workers: u64) {
        self.by_cluster.values().for_each(|scheduler| scheduler.set(|state| state.desired_workers = workers));
    }

    /// Returns how many requests each scheduler received, in the order of the clusters' names.
    pub(crate) fn request_counts(&self) -> Vec<usize> {
        self.by_cluster.values().map(FakeScheduler::asked).collect()
    }

    pub(crate) fn workers(&self) -> Workers {
        self.workers.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Drop for Schedulers {
    fn drop(&mut self) {
        self.watcher.abort();
    }
}

/// Registers the worker of a new Deployment with its scheduler, and unregisters that of a deleted one.
fn apply_event(
    schedulers: &BTreeMap<String, FakeScheduler>,
    workers: &Mutex<Workers>,
    event: &Event<PartialObjectMeta<DynamicObject>>,
) {
    let mut workers = workers.lock().unwrap_or_else(PoisonError::into_inner);
    let (Event::Apply(object) | Event::InitApply(object) | Event::Delete(object)) = event else { return };
    let Some(scheduler) = object.labels().get("dask.org/cluster-name").and_then(|name| schedulers.get(name)) else {
        return;
    };
    let name = object.name_any();
    if matches!(event, Event::Delete(_)) {
        workers.existing.remove(&name);
        scheduler.unregister(&name);
    } else if workers.created.insert(object.uid().unwrap_or_default()) {
        workers.existing.insert(name.clone());
        scheduler.register(&name);
    }
}
