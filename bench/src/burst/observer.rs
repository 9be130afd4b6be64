//! Observes a burst by watches: when each DaskCluster was requested, and when its objects appeared.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use super::{Burst, Size};
use crate::{
    Error,
    cluster::{BenchNamespace, Kind},
    components::Usage,
    watch_latency::WatchLatency,
};

/// The time at which the creation of each cluster was requested.
#[derive(Clone, Default)]
pub(super) struct StartTimes(Arc<Mutex<HashMap<String, Instant>>>);

/// Watches of all kinds that a burst creates.
pub(super) struct BurstObserver<'a> {
    namespace: &'a BenchNamespace<'a>,
    size: Size,
    watches: Vec<WatchLatency>,
    started: StartTimes,
}

/// The objects of one cluster that were seen so far.
struct SeenObjects {
    count: usize,
    last: Instant,
}

impl StartTimes {
    /// Records that the request for `cluster` is sent now.
    pub(super) fn record(&self, cluster: &str) {
        let mut started = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        started.insert(cluster.to_owned(), Instant::now());
    }

    fn get(&self) -> HashMap<String, Instant> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl<'a> BurstObserver<'a> {
    /// Starts the watches.
    pub(super) fn start(namespace: &'a BenchNamespace<'a>, size: Size) -> Self {
        let kinds = [Kind::Deployment, Kind::Service, Kind::DaskWorkerGroup];
        let watches = kinds.map(|kind| WatchLatency::start(namespace.metadata(kind), "")).into();
        Self { namespace, size, watches, started: StartTimes::default() }
    }

    pub(super) fn started(&self) -> StartTimes {
        self.started.clone()
    }

    /// Runs `act`, which starts the burst. Waits until all objects exist, or until no object has appeared for `stall`.
    pub(super) async fn complete(
        &self,
        stall: Duration,
        act: impl Future<Output = Result<(), Error>>,
    ) -> Result<Burst, Error> {
        let components = &self.namespace.cluster.components;
        let before = components.usage()?;
        act.await?;
        let (mut count, mut since) = (0, Instant::now());
        while count < self.size.objects() && since.elapsed() < stall {
            tokio::time::sleep(Duration::from_millis(20)).await;
            let now = self.watches.iter().map(WatchLatency::count).sum();
            if now > count {
                (count, since) = (now, Instant::now());
            }
        }
        Ok(self.burst(components.usage()?.since(&before)))
    }

    fn burst(&self, usage: Usage) -> Burst {
        let mut objects: HashMap<String, SeenObjects> = HashMap::new();
        for (name, seen) in self.watches.iter().flat_map(WatchLatency::first_seen) {
            let cluster = name.split('-').next().unwrap_or_default().to_owned();
            let entry = objects.entry(cluster).or_insert(SeenObjects { count: 0, last: seen });
            entry.count += 1;
            entry.last = entry.last.max(seen);
        }
        let started = self.started.get();
        let complete = |cluster: &String| {
            objects.get(cluster).filter(|seen| seen.count == 3 + self.size.workers).map(|seen| seen.last)
        };
        let each = started.iter().filter_map(|(cluster, start)| Some(complete(cluster)?.duration_since(*start)));
        let last = objects.values().map(|seen| seen.last).max();
        let first = started.values().min().copied();
        let found: usize = objects.values().map(|seen| seen.count).sum();
        Burst {
            total: last.zip(first).map(|(last, first)| last.duration_since(first)).unwrap_or_default(),
            each: each.collect(),
            missing: self.size.objects().saturating_sub(found),
            usage,
        }
    }
}
