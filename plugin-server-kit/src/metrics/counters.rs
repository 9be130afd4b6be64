//! The counters and their registry.

use std::sync::atomic::AtomicI64;
use std::time::Duration;

use prometheus_client::encoding::{EncodeLabelSet, text::encode};
use prometheus_client::metrics::{counter::Counter, family::Family, gauge::Gauge, histogram::Histogram};
use prometheus_client::registry::Registry;

/// Seconds. A call takes at most 30.
const BUCKETS: [f64; 11] = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.5, 1.0, 5.0, 30.0];

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct CallLabels {
    hook: &'static str,
    outcome: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct HookLabel {
    hook: &'static str,
}

#[derive(Debug)]
pub(super) struct Counters {
    registry: Registry,
    calls: Family<CallLabels, Counter>,
    durations: Family<HookLabel, Histogram>,
    in_flight: Gauge<i64, AtomicI64>,
}

impl Default for Counters {
    fn default() -> Self {
        let (calls, in_flight) = (Family::default(), Gauge::default());
        let durations = Family::new_with_constructor((|| Histogram::new(BUCKETS)) as fn() -> Histogram);
        let mut registry = Registry::with_prefix("dask_plugin");
        registry.register("calls", "Calls that have completed", calls.clone());
        registry.register("call_duration_seconds", "Duration of calls", durations.clone());
        registry.register("calls_in_flight", "Calls that have not completed yet", in_flight.clone());
        Self { registry, calls, durations, in_flight }
    }
}

impl Counters {
    pub(super) fn started(&self) {
        self.in_flight.inc();
    }

    pub(super) fn ended(&self) {
        self.in_flight.dec();
    }

    pub(super) fn completed(&self, hook: &'static str, outcome: &'static str, duration: Duration) {
        self.calls.get_or_create(&CallLabels { hook, outcome }).inc();
        self.durations.get_or_create(&HookLabel { hook }).observe(duration.as_secs_f64());
    }

    pub(super) fn encode(&self) -> String {
        let mut text = String::new();
        // Writing to a String does not fail.
        let _ = encode(&mut text, &self.registry);
        text
    }
}
