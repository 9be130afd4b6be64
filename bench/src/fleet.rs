//! The schedulers of many clusters, which know the workers whose Deployments stand.

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
    fake_scheduler::FakeScheduler,
    lab::{Kind, Lab, cluster},
};

/// Schedulers by cluster, until it is dropped.
pub(crate) struct Fleet {
    schedulers: Arc<BTreeMap<String, FakeScheduler>>,
    workers: Arc<Mutex<Workers>>,
    watching: AbortHandle,
}

/// Worker Deployments.
#[derive(Clone, Debug, Default)]
pub(crate) struct Workers {
    /// Names of those that stand.
    pub(crate) standing: BTreeSet<String>,
    /// Uids of all that ever stood.
    pub(crate) ever: BTreeSet<String>,
}

impl Fleet {
    /// Schedulers of these clusters, which have had nothing to do since long ago.
    pub(crate) async fn start(lab: &Lab<'_>, clusters: &[String]) -> Self {
        let mut schedulers = BTreeMap::new();
        for name in clusters {
            schedulers.insert(name.clone(), FakeScheduler::start().await);
        }
        let (schedulers, workers) = (Arc::new(schedulers), Arc::default());
        let events = watcher(lab.metadata(Kind::Deployment), Config::default().labels("dask.org/component=worker"));
        let (known, seen) = (Arc::clone(&schedulers), Arc::clone(&workers));
        let watching = tokio::spawn(async move {
            let events = events.default_backoff();
            pin_mut!(events);
            while let Some(event) = events.next().await {
                // What fails begins again by itself.
                if let Ok(event) = event {
                    take(&known, &seen, &event);
                }
            }
        });
        Self { schedulers, workers, watching: watching.abort_handle() }
    }

    /// A cluster whose Service leads to its scheduler.
    pub(crate) fn manifest(&self, name: &str, workers: usize) -> Value {
        let mut manifest = cluster(name, workers);
        let scheduler = &self.schedulers[name];
        let ports = &mut manifest["spec"]["scheduler"]["service"]["ports"];
        ports[0]["port"] = json!(scheduler.port());
        ports[1]["port"] = json!(scheduler.http_port());
        manifest
    }

    /// What all schedulers say that they need.
    pub(crate) fn desire(&self, workers: u64) {
        self.schedulers.values().for_each(|scheduler| scheduler.set(|state| state.desired_workers = workers));
    }

    /// How often each scheduler was asked something, in the order of the clusters' names.
    pub(crate) fn questions(&self) -> Vec<usize> {
        self.schedulers.values().map(FakeScheduler::asked).collect()
    }

    pub(crate) fn workers(&self) -> Workers {
        self.workers.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Drop for Fleet {
    fn drop(&mut self) {
        self.watching.abort();
    }
}

fn take(
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
        workers.standing.remove(&name);
        scheduler.unregister(&name);
    } else if workers.ever.insert(object.uid().unwrap_or_default()) {
        workers.standing.insert(name.clone());
        scheduler.register(&name);
    }
}
