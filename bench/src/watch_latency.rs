//! Records when a watch first reports each object.

use std::{
    collections::HashMap,
    time::{Duration, Instant},
};

use futures::{StreamExt as _, pin_mut};
use kube::{
    Api, ResourceExt as _,
    api::{DynamicObject, PartialObjectMeta},
    runtime::{
        WatchStreamExt as _, watcher,
        watcher::{Config, Event},
    },
};
use tokio::{sync::watch, task::AbortHandle};

use crate::Error;

const TIMEOUT: Duration = Duration::from_mins(5);

/// The objects that exist, with the time at which a watch first reported each of them. Stops watching when dropped.
pub(crate) struct WatchLatency {
    seen: watch::Receiver<HashMap<String, Instant>>,
    watcher: AbortHandle,
}

impl WatchLatency {
    /// Starts to watch the objects that `labels` select.
    pub(crate) fn start(api: Api<PartialObjectMeta<DynamicObject>>, labels: &str) -> Self {
        let (sender, seen) = watch::channel(HashMap::new());
        let config = Config::default().labels(labels);
        let task = tokio::spawn(async move {
            let events = watcher(api, config).default_backoff();
            pin_mut!(events);
            while let Some(event) = events.next().await {
                let now = Instant::now();
                match event {
                    Ok(Event::Apply(object) | Event::InitApply(object)) => sender.send_modify(|seen| {
                        seen.entry(object.name_any()).or_insert(now);
                    }),
                    Ok(Event::Delete(object)) => sender.send_modify(|seen| {
                        seen.remove(&object.name_any());
                    }),
                    // The watcher restarts by itself.
                    Ok(Event::Init | Event::InitDone) | Err(_) => {}
                }
            }
        });
        Self { seen, watcher: task.abort_handle() }
    }

    /// Returns how many objects exist.
    pub(crate) fn count(&self) -> usize {
        self.seen.borrow().len()
    }

    /// Returns the names of the objects that exist, and when each was first seen.
    pub(crate) fn first_seen(&self) -> Vec<(String, Instant)> {
        self.seen.borrow().iter().map(|(name, seen)| (name.clone(), *seen)).collect()
    }

    /// Waits until exactly `count` objects exist. Returns when the last of them was first seen.
    pub(crate) async fn wait_for_count(&self, count: usize) -> Result<Instant, Error> {
        let seen = self.wait(&format!("{count} objects"), |seen| seen.len() == count).await?;
        Ok(seen.values().max().copied().unwrap_or_else(Instant::now))
    }

    /// Waits until the object `name` exists. Returns when it was first seen.
    pub(crate) async fn wait_for(&self, name: &str) -> Result<Instant, Error> {
        let seen = self.wait(name, |seen| seen.contains_key(name)).await?;
        Ok(seen[name])
    }

    async fn wait(
        &self,
        what: &str,
        holds: impl Fn(&HashMap<String, Instant>) -> bool,
    ) -> Result<HashMap<String, Instant>, Error> {
        let timed_out = || Error::Timeout(what.to_owned());
        let mut seen = self.seen.clone();
        let found = tokio::time::timeout(TIMEOUT, seen.wait_for(|seen| holds(seen))).await.map_err(|_| timed_out())?;
        Ok(found.map_err(|_| timed_out())?.clone())
    }
}

impl Drop for WatchLatency {
    fn drop(&mut self) {
        self.watcher.abort();
    }
}
