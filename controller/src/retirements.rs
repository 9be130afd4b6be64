//! Counts the retirements of workers, by method and outcome.

use std::{
    collections::BTreeMap,
    fmt,
    sync::{Mutex, MutexGuard, PoisonError},
};

use dask_scheduler_client::Side;
use operator_runtime::metrics::{Described, Family, Word};
use prometheus_client::{collector::Collector, encoding::DescriptorEncoder, metrics::counter::ConstCounter};

const RETIREMENTS: Family<2> = Family::counter(
    "dask_operator_retirements",
    ["strategy", "outcome"],
    "Workers that were to be removed. By `rpc` or `http` the scheduler was asked to move away what they hold: \
     `retired`, `refused` (such a worker is kept and counts again with each new try) or `unanswered`. Those that no \
     scheduler knew are `unregistered`, those that went against its will after `retireDeadlineSeconds` are `forced`; \
     both end as `removed`.",
);

/// The outcome of a worker's retirement.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Retirement {
    /// The scheduler retired the worker.
    Retired(Side),
    /// The scheduler refused.
    Refused(Side),
    /// The scheduler did not answer, or was unreachable.
    Unanswered,
    /// The worker was not registered with the scheduler.
    Unregistered,
    /// The deadline had passed.
    Forced,
}

impl Retirement {
    const ALL: [Self; 7] = [
        Self::Retired(Side::Rpc),
        Self::Retired(Side::Http),
        Self::Refused(Side::Rpc),
        Self::Refused(Side::Http),
        Self::Unanswered,
        Self::Unregistered,
        Self::Forced,
    ];

    fn words(self) -> [Word; 2] {
        let strategy = |side| match side {
            Side::Rpc => "rpc",
            Side::Http => "http",
        };
        match self {
            Self::Retired(side) => [strategy(side), "retired"],
            Self::Refused(side) => [strategy(side), "refused"],
            // HTTP is used only if RPC is not available.
            Self::Unanswered => ["rpc", "unanswered"],
            Self::Unregistered => ["unregistered", "removed"],
            Self::Forced => ["forced", "removed"],
        }
    }
}

/// The number of retirements so far, by outcome.
#[derive(Debug)]
pub(crate) struct Retirements(Mutex<BTreeMap<Retirement, u64>>);

impl Default for Retirements {
    fn default() -> Self {
        Self(Mutex::new(Retirement::ALL.into_iter().map(|retirement| (retirement, 0)).collect()))
    }
}

impl Retirements {
    /// Counts the retirements of `workers` workers.
    pub(crate) fn add(&self, retirement: Retirement, workers: usize) {
        *self.lock().entry(retirement).or_default() += u64::try_from(workers).unwrap_or(u64::MAX);
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<Retirement, u64>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Collector for Retirements {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let counts = self.lock();
        let samples = counts.iter().map(|(retirement, count)| (retirement.words(), ConstCounter::new(*count)));
        RETIREMENTS.encode(&mut encoder, samples)
    }
}

pub(crate) fn described() -> Vec<Described> {
    vec![RETIREMENTS.described()]
}
