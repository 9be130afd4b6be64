//! When objects are first seen by a watch.

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

const PATIENCE: Duration = Duration::from_mins(5);

/// Objects that stand, with the moment at which each was first seen.
pub(crate) struct Sightings {
    seen: watch::Receiver<HashMap<String, Instant>>,
    watching: AbortHandle,
}

impl Sightings {
    /// Watches what `labels` select.
    pub(crate) fn of(api: Api<PartialObjectMeta<DynamicObject>>, labels: &str) -> Self {
        let (sender, seen) = watch::channel(HashMap::new());
        let config = Config::default().labels(labels);
        let watching = tokio::spawn(async move {
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
                    // The watch begins again by itself.
                    Ok(Event::Init | Event::InitDone) | Err(_) => {}
                }
            }
        });
        Self { seen, watching: watching.abort_handle() }
    }

    /// How many objects stand.
    pub(crate) fn count(&self) -> usize {
        self.seen.borrow().len()
    }

    /// Names of the objects that stand, and when each was first seen.
    pub(crate) fn seen(&self) -> Vec<(String, Instant)> {
        self.seen.borrow().iter().map(|(name, seen)| (name.clone(), *seen)).collect()
    }

    /// Waits until `count` objects stand; when the last of them was seen.
    pub(crate) async fn until(&self, count: usize) -> Result<Instant, Error> {
        let seen = self.when(|seen| seen.len() == count, &format!("{count} objects")).await?;
        Ok(seen.values().max().copied().unwrap_or_else(Instant::now))
    }

    /// Waits until `name` stands; when it was seen.
    pub(crate) async fn of_name(&self, name: &str) -> Result<Instant, Error> {
        let seen = self.when(|seen| seen.contains_key(name), name).await?;
        Ok(seen[name])
    }

    async fn when(
        &self,
        holds: impl Fn(&HashMap<String, Instant>) -> bool,
        what: &str,
    ) -> Result<HashMap<String, Instant>, Error> {
        let late = || Error::Late(what.to_owned());
        let mut seen = self.seen.clone();
        let found = tokio::time::timeout(PATIENCE, seen.wait_for(|seen| holds(seen))).await.map_err(|_| late())?;
        Ok(found.map_err(|_| late())?.clone())
    }
}

impl Drop for Sightings {
    fn drop(&mut self) {
        self.watching.abort();
    }
}
