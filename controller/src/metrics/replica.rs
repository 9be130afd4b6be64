//! What is known of this replica: how old the news of each watch is, and whether it leads.

use std::{
    collections::BTreeMap,
    fmt,
    sync::{
        OnceLock,
        atomic::{AtomicBool, Ordering},
    },
    time::Instant,
};

use prometheus_client::{collector::Collector, encoding::DescriptorEncoder, metrics::gauge::ConstGauge};

use super::family::{Described, Family};
use crate::watch::Progress;

const AGE: Family<1> = Family::gauge(
    "dask_operator_watch_age_seconds",
    ["kind"],
    "How long ago the API server was last heard on the watch of a kind; of several watches, the most silent.",
);
const LEADER: Family<0> =
    Family::gauge("dask_operator_leader", [], "1 while this replica is the one that acts, else 0.");
const BUILD: Family<1> = Family::gauge("dask_operator_build_info", ["version"], "Always 1; the version that runs.");

/// What is known of this replica.
#[derive(Debug, Default)]
pub(super) struct Replica {
    pub(super) watches: OnceLock<Vec<Progress>>,
    leads: AtomicBool,
}

impl Replica {
    pub(super) fn leads(&self, leads: bool) {
        self.leads.store(leads, Ordering::Relaxed);
    }
}

impl Collector for Replica {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let now = Instant::now();
        let mut ages: BTreeMap<&str, f64> = BTreeMap::new();
        for watch in self.watches.get().into_iter().flatten() {
            let age = ages.entry(&watch.kind).or_default();
            *age = age.max(watch.silent_for(now).as_secs_f64());
        }
        AGE.encode(&mut encoder, ages.iter().map(|(kind, age)| ([*kind], ConstGauge::new(*age))))?;
        let leads = i64::from(self.leads.load(Ordering::Relaxed));
        LEADER.encode(&mut encoder, [([], ConstGauge::new(leads))])?;
        BUILD.encode(&mut encoder, [([env!("CARGO_PKG_VERSION")], ConstGauge::new(1))])
    }
}

pub(super) fn described() -> Vec<Described> {
    vec![AGE.described(), LEADER.described(), BUILD.described()]
}
