//! Metrics of this replica: the time since the last response on each watch, the number of unreadable objects, the memory
//! that objects take, and whether the replica leads.

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
const OBJECTS: Family<0> = Family::gauge(
    "dask_operator_objects_bytes",
    [],
    "Memory that the objects of all namespaces take. Objects of large namespaces are left alone before it reaches \
     `dask_operator_objects_limit_bytes`.",
);
const OBJECTS_LIMIT: Family<0> = Family::gauge(
    "dask_operator_objects_limit_bytes",
    [],
    "Memory that the objects of all namespaces may take, which follows from `--memory-limit-mib`.",
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
        self.encode_memory(&mut encoder)?;
        let leads = i64::from(self.leads.get().is_some_and(|leads| leads()));
        LEADER.encode(&mut encoder, [([], ConstGauge::new(leads))])?;
        let overlaps = self.overlaps.get().map_or(0, |overlaps| overlaps());
        OVERLAPS.encode(&mut encoder, [([], ConstGauge::new(i64::try_from(overlaps).unwrap_or(i64::MAX)))])?;
        BUILD.encode(&mut encoder, [([env!("CARGO_PKG_VERSION")], ConstGauge::new(1))])
    }
}

impl Replica {
    fn encode_memory(&self, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let of = |bytes: fn(&MemoryBudget) -> usize| self.budget.get().map(bytes).unwrap_or_default();
        let values = [
            (LARGEST, of(MemoryBudget::largest)),
            (OBJECTS, of(MemoryBudget::total)),
            (OBJECTS_LIMIT, of(|budget| budget.limits().total)),
        ];
        for (family, bytes) in values {
            family.encode(encoder, [([], ConstGauge::new(i64::try_from(bytes).unwrap_or(i64::MAX)))])?;
        }
        Ok(())
    }
}

pub(super) fn described() -> Vec<Described> {
    vec![
        AGE.described(),
        UNREADABLE.described(),
        LARGEST.described(),
        OBJECTS.described(),
        OBJECTS_LIMIT.described(),
        LEADER.described(),
        OVERLAPS.described(),
        BUILD.described(),
    ]
}
