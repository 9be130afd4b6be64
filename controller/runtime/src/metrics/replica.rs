//! Metrics of this replica: the time since the last response on each watch, the number of unreadable objects, the memory
//! of the largest namespace, and whether the replica leads.

use std::{collections::BTreeMap, fmt, sync::OnceLock, time::Instant};

use prometheus_client::{collector::Collector, encoding::DescriptorEncoder, metrics::gauge::ConstGauge};

use super::family::{Described, Family};
use crate::watch::{MemoryBudget, SyncStatus};

const AGE: Family<1> = Family::gauge(
    "dask_operator_watch_age_seconds",
    ["kind"],
    "How long ago the API server last sent something on the watch of a kind; of several watches, the longest.",
);
const UNREADABLE: Family<1> = Family::gauge(
    "dask_operator_unreadable_objects",
    ["kind"],
    "Objects that the API server has and the controller cannot read; each is skipped and has an Event.",
);
const LARGEST: Family<0> = Family::gauge(
    "dask_operator_largest_namespace_bytes",
    [],
    "Memory that the objects of one namespace take: of all namespaces, the one with the most. None may take more than \
     `--namespace-memory-mib` says.",
);
const LEADER: Family<0> =
    Family::gauge("dask_operator_leader", [], "1 while this replica is the one that acts, else 0.");
const BUILD: Family<1> = Family::gauge("dask_operator_build_info", ["version"], "Always 1; the version that runs.");

const OVERLAPS: Family<0> = Family::gauge(
    "dask_operator_overlapping_releases",
    [],
    "Other releases on the cluster that watch namespaces of this one; exclude these from one of the two.",
);

/// Returns all current watches.
pub type Watches = Box<dyn Fn() -> Vec<SyncStatus> + Send + Sync>;

/// Returns whether this replica leads.
pub type Leads = Box<dyn Fn() -> bool + Send + Sync>;

/// Returns how many other releases watch namespaces of this one.
pub type Overlaps = Box<dyn Fn() -> usize + Send + Sync>;

/// The sources of this replica's metrics, which are set when the controller starts.
#[derive(Default)]
pub(super) struct Replica {
    pub watches: OnceLock<Watches>,
    pub leads: OnceLock<Leads>,
    pub overlaps: OnceLock<Overlaps>,
    pub budget: OnceLock<MemoryBudget>,
}

impl fmt::Debug for Replica {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Replica").finish_non_exhaustive()
    }
}

impl Collector for Replica {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let now = Instant::now();
        let watches = self.watches.get().map(|watches| watches()).unwrap_or_default();
        let mut ages: BTreeMap<&str, f64> = BTreeMap::new();
        let mut unreadable: BTreeMap<&str, usize> = BTreeMap::new();
        for watch in &watches {
            *unreadable.entry(&watch.kind).or_default() += watch.unreadable_count();
            let age = ages.entry(&watch.kind).or_default();
            *age = age.max(watch.silent_for(now).as_secs_f64());
        }
        AGE.encode(&mut encoder, ages.iter().map(|(kind, age)| ([*kind], ConstGauge::new(*age))))?;
        let counts = unreadable
            .iter()
            .map(|(kind, count)| ([*kind], ConstGauge::new(i64::try_from(*count).unwrap_or(i64::MAX))));
        UNREADABLE.encode(&mut encoder, counts)?;
        let largest = self.budget.get().map(MemoryBudget::largest).unwrap_or_default();
        LARGEST.encode(&mut encoder, [([], ConstGauge::new(i64::try_from(largest).unwrap_or(i64::MAX)))])?;
        let leads = i64::from(self.leads.get().is_some_and(|leads| leads()));
        LEADER.encode(&mut encoder, [([], ConstGauge::new(leads))])?;
        let overlaps = self.overlaps.get().map_or(0, |overlaps| overlaps());
        OVERLAPS.encode(&mut encoder, [([], ConstGauge::new(i64::try_from(overlaps).unwrap_or(i64::MAX)))])?;
        BUILD.encode(&mut encoder, [([env!("CARGO_PKG_VERSION")], ConstGauge::new(1))])
    }
}

pub(super) fn described() -> Vec<Described> {
    vec![
        AGE.described(),
        UNREADABLE.described(),
        LARGEST.described(),
        LEADER.described(),
        OVERLAPS.described(),
        BUILD.described(),
    ]
}
