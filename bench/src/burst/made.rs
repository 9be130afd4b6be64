use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use super::{Burst, Size};
use crate::{
    Error,
    components::Usage,
    lab::{Kind, Lab},
    sightings::Sightings,
};

/// When each cluster was asked for.
#[derive(Clone, Default)]
pub(super) struct Begun(Arc<Mutex<HashMap<String, Instant>>>);

/// Objects as a watch sees them, by the cluster that they belong to.
pub(super) struct Made<'a> {
    lab: &'a Lab<'a>,
    size: Size,
    sightings: Vec<Sightings>,
    begun: Begun,
}

impl Begun {
    /// The request for `cluster` is sent now.
    pub(super) fn note(&self, cluster: &str) {
        let mut begun = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        begun.insert(cluster.to_owned(), Instant::now());
    }

    fn get(&self) -> HashMap<String, Instant> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl<'a> Made<'a> {
    /// Watches what is to come.
    pub(super) fn watch(lab: &'a Lab<'a>, size: Size) -> Self {
        let kinds = [Kind::Deployment, Kind::Service, Kind::DaskWorkerGroup];
        let sightings = kinds.map(|kind| Sightings::of(lab.metadata(kind), "")).into();
        Self { lab, size, sightings, begun: Begun::default() }
    }

    pub(super) fn begun(&self) -> Begun {
        self.begun.clone()
    }

    /// Has `act` begin the burst, and waits until all stand, or until nothing more has come for the time of `stall`.
    pub(super) async fn complete(
        &self,
        stall: Duration,
        act: impl Future<Output = Result<(), Error>>,
    ) -> Result<Burst, Error> {
        let before = self.lab.bench.components.usage()?;
        act.await?;
        let (mut count, mut since) = (0, Instant::now());
        while count < self.size.objects() && since.elapsed() < stall {
            tokio::time::sleep(Duration::from_millis(20)).await;
            let now = self.sightings.iter().map(Sightings::count).sum();
            if now > count {
                (count, since) = (now, Instant::now());
            }
        }
        Ok(self.burst(self.lab.bench.components.usage()?.since(&before)))
    }

    fn burst(&self, usage: Usage) -> Burst {
        let mut objects: HashMap<String, (usize, Instant)> = HashMap::new();
        for (name, seen) in self.sightings.iter().flat_map(Sightings::seen) {
            let cluster = name.split('-').next().unwrap_or_default().to_owned();
            let (count, last) = objects.entry(cluster).or_insert((0, seen));
            (*count, *last) = (*count + 1, seen.max(*last));
        }
        let begun = self.begun.get();
        let complete = |cluster: &String| {
            objects.get(cluster).filter(|(count, _)| *count == 3 + self.size.workers).map(|(_, last)| *last)
        };
        let each = begun.iter().filter_map(|(cluster, begin)| Some(complete(cluster)?.duration_since(*begin)));
        let last = objects.values().map(|(_, last)| *last).max();
        let first = begun.values().min().copied();
        let found: usize = objects.values().map(|(count, _)| count).sum();
        Burst {
            total: last.zip(first).map(|(last, first)| last.duration_since(first)).unwrap_or_default(),
            each: each.collect(),
            missing: self.size.objects().saturating_sub(found),
            usage,
        }
    }
}
