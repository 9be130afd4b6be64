//! Metrics of the reconcilers' passes, and of the objects that wait for one.

use std::{
    collections::{BTreeMap, HashSet},
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Instant,
};

use prometheus_client::{
    collector::Collector,
    encoding::DescriptorEncoder,
    metrics::{counter::ConstCounter, gauge::ConstGauge, histogram::Histogram},
};

use super::family::{Described, Family, Word};

const PASSES: Family<2> = Family::counter(
    "dask_operator_reconcile",
    ["kind", "result"],
    "Passes over one object, by `result`: `success` or `error`. `DaskClusterIdle` handles idle time-outs.",
);
const ERRORS: Family<2> =
    Family::counter("dask_operator_reconcile_errors", ["kind", "reason"], "Passes that failed, by reason.");
const DURATION: Family<1> =
    Family::histogram("dask_operator_reconcile_duration_seconds", ["kind"], "How long passes took.");
const DEPTH: Family<1> = Family::gauge(
    "dask_operator_queue_depth",
    ["kind"],
    "Objects that changed and wait for a pass. Objects that are only requeued for later do not count.",
);

/// The upper bounds of the buckets, in seconds. Most passes take a few requests. Some await a scheduler, and take as
/// long as its timeouts.
const BUCKETS: [f64; 12] = [0.005, 0.025, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0];

/// The namespace and the name of an object.
type Object = (String, String);

/// The metrics of all reconcilers, by kind.
#[derive(Debug, Default)]
pub(super) struct Reconcilers(Mutex<BTreeMap<Word, Arc<Passes>>>);

/// The metrics of the passes over one kind.
#[derive(Debug)]
pub struct Passes {
    counts: Mutex<Counts>,
    durations: Histogram,
}

#[derive(Debug, Default)]
struct Counts {
    successes: u64,
    /// The number of failed passes, by reason.
    errors: BTreeMap<Word, u64>,
    waiting: HashSet<Object>,
}

/// A pass in progress.
#[derive(Debug)]
pub struct Pass {
    passes: Arc<Passes>,
    begin: Instant,
}

impl Reconcilers {
    /// Returns the metrics of `kind`. Reconcilers of the same kind share them.
    pub(super) fn of(&self, kind: Word) -> Arc<Passes> {
        let passes = || Arc::new(Passes { counts: Mutex::default(), durations: Histogram::new(BUCKETS) });
        Arc::clone(self.lock().entry(kind).or_insert_with(passes))
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<Word, Arc<Passes>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Passes {
    /// Records that a pass over the object was requested.
    pub fn requested(&self, namespace: &str, name: &str) {
        self.lock().waiting.insert((namespace.to_owned(), name.to_owned()));
    }

    /// Records that the object was deleted before its pass.
    pub fn dropped(&self, namespace: &str, name: &str) {
        self.lock().waiting.remove(&(namespace.to_owned(), name.to_owned()));
    }

    /// Records that a pass over the object begins.
    pub fn begin(self: &Arc<Self>, namespace: &str, name: &str) -> Pass {
        self.dropped(namespace, name);
        Pass { passes: Arc::clone(self), begin: Instant::now() }
    }

    fn lock(&self) -> MutexGuard<'_, Counts> {
        self.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Pass {
    /// Records that the pass has ended, and that it failed if there is an `error`.
    pub fn ended(self, error: Option<Word>) {
        self.passes.durations.observe(self.begin.elapsed().as_secs_f64());
        let mut counts = self.passes.lock();
        match error {
            Some(reason) => *counts.errors.entry(reason).or_default() += 1,
            None => counts.successes += 1,
        }
    }
}

impl Collector for Reconcilers {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let (mut passes, mut errors, mut durations, mut depths) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        for (kind, of_kind) in self.lock().iter() {
            let counts = of_kind.lock();
            passes.push(([*kind, "success"], ConstCounter::new(counts.successes)));
            passes.push(([*kind, "error"], ConstCounter::new(counts.errors.values().sum::<u64>())));
            errors.extend(counts.errors.iter().map(|(reason, count)| ([*kind, *reason], ConstCounter::new(*count))));
            durations.push(([*kind], of_kind.durations.clone()));
            depths.push(([*kind], ConstGauge::new(i64::try_from(counts.waiting.len()).unwrap_or(i64::MAX))));
        }
        PASSES.encode(&mut encoder, passes)?;
        ERRORS.encode(&mut encoder, errors)?;
        DURATION.encode(&mut encoder, durations)?;
        DEPTH.encode(&mut encoder, depths)
    }
}

pub(super) fn described() -> Vec<Described> {
    vec![PASSES.described(), ERRORS.described(), DURATION.described(), DEPTH.described()]
}

#[cfg(test)]
mod tests {
    use crate::metrics::{RuntimeMetrics, tests::samples};

    /// An alert on a rate misses the first failure if the counter does not exist before it.
    #[test]
    fn a_reconciler_counts_from_zero_before_its_first_pass() {
        let metrics = RuntimeMetrics::default();
        metrics.passes("DaskJob");
        let expected = [
            r#"dask_operator_reconcile_total{kind="DaskJob",result="success"} 0"#,
            r#"dask_operator_reconcile_total{kind="DaskJob",result="error"} 0"#,
            r#"dask_operator_queue_depth{kind="DaskJob"} 0"#,
        ];
        assert_eq!(samples(&metrics, &["dask_operator_reconcile_total", "dask_operator_queue_depth"]), expected);
    }

    #[test]
    fn passes_are_counted_by_result_and_failures_by_reason() {
        let metrics = RuntimeMetrics::default();
        let passes = metrics.passes("DaskJob");
        passes.begin("ns", "a").ended(None);
        passes.begin("ns", "a").ended(Some("Conflict"));
        metrics.passes("DaskJob").begin("ns", "b").ended(Some("Conflict"));
        let expected = [
            r#"dask_operator_reconcile_total{kind="DaskJob",result="success"} 1"#,
            r#"dask_operator_reconcile_total{kind="DaskJob",result="error"} 2"#,
            r#"dask_operator_reconcile_errors_total{kind="DaskJob",reason="Conflict"} 2"#,
            r#"dask_operator_reconcile_duration_seconds_count{kind="DaskJob"} 3"#,
        ];
        let names = [
            "dask_operator_reconcile_total",
            "dask_operator_reconcile_errors_total",
            "dask_operator_reconcile_duration_seconds_count",
        ];
        assert_eq!(samples(&metrics, &names), expected);
    }

    #[test]
    fn an_object_waits_once_from_its_first_request_until_its_pass_begins_or_it_goes() {
        let metrics = RuntimeMetrics::default();
        let passes = metrics.passes("DaskJob");
        let depth = || samples(&metrics, &["dask_operator_queue_depth"]).concat();
        for name in ["a", "a", "b", "c"] {
            passes.requested("ns", name);
        }
        assert!(depth().ends_with(" 3"), "{}", depth());
        let pass = passes.begin("ns", "a");
        passes.dropped("ns", "b");
        assert!(depth().ends_with(" 1"), "{}", depth());
        passes.requested("ns", "a");
        pass.ended(None);
        assert!(depth().ends_with(" 2"), "a change during a pass waits for the next one: {}", depth());
    }
}
