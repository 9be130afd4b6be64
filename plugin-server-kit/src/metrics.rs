//! What a plugin's server counts, for Prometheus.

use std::sync::Arc;
use std::sync::atomic::AtomicI64;
use std::time::Instant;

use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::Response;
use dask_plugin_protocol::{ResponseStatus, path};
use prometheus_client::encoding::{EncodeLabelSet, text::encode};
use prometheus_client::metrics::{counter::Counter, family::Family, gauge::Gauge, histogram::Histogram};
use prometheus_client::registry::Registry;

use crate::error::Rejection;

/// Seconds; a call may last 30 at most.
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

/// Counts calls. Clones share their counts.
///
/// | metric | labels | meaning |
/// |---|---|---|
/// | `dask_plugin_calls_total` | `hook`, `outcome` | answered calls; the outcome is a status of the protocol or the category of an error |
/// | `dask_plugin_call_duration_seconds` | `hook` | from the first byte of the call to its answer |
/// | `dask_plugin_calls_in_flight` | | calls that wait for their answer |
#[derive(Clone, Debug)]
pub struct Metrics(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    registry: Registry,
    calls: Family<CallLabels, Counter>,
    durations: Family<HookLabel, Histogram>,
    in_flight: Gauge<i64, AtomicI64>,
}

/// What an answer says of itself to the layer that counts.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Outcome(pub(crate) &'static str);

impl From<ResponseStatus> for Outcome {
    fn from(status: ResponseStatus) -> Self {
        Self(match status {
            ResponseStatus::Success => "Success",
            ResponseStatus::Failure => "Failure",
            ResponseStatus::Pending => "Pending",
            _ => "Other",
        })
    }
}

impl Default for Metrics {
    fn default() -> Self {
        let (calls, in_flight) = (Family::default(), Gauge::default());
        let durations = Family::new_with_constructor((|| Histogram::new(BUCKETS)) as fn() -> Histogram);
        let mut registry = Registry::with_prefix("dask_plugin");
        registry.register("calls", "Calls that were answered", calls.clone());
        registry.register("call_duration_seconds", "How long calls took", durations.clone());
        registry.register("calls_in_flight", "Calls that wait for their answer", in_flight.clone());
        Self(Arc::new(Inner { registry, calls, durations, in_flight }))
    }
}

impl Metrics {
    /// The counts in the OpenMetrics text format.
    ///
    /// ```
    /// let text = dask_plugin_server::Metrics::default().encode();
    /// assert!(text.contains("dask_plugin_calls_in_flight 0"));
    /// ```
    pub fn encode(&self) -> String {
        let mut text = String::new();
        // A String takes whatever is written to it.
        let _ = encode(&mut text, &self.0.registry);
        text
    }
}

/// Takes the gauge back when a call ends, however that happens.
struct InFlight<'a>(&'a Gauge<i64, AtomicI64>);

impl Drop for InFlight<'_> {
    fn drop(&mut self) {
        self.0.dec();
    }
}

pub(crate) async fn count(State(metrics): State<Metrics>, request: Request, next: Next) -> Response {
    let Some(hook) = hook_at(request.uri().path()) else { return next.run(request).await };
    let began = Instant::now();
    metrics.0.in_flight.inc();
    let in_flight = InFlight(&metrics.0.in_flight);
    let response = next.run(request).await;
    drop(in_flight);
    let rejection = response.extensions().get::<Rejection>().map(Rejection::category);
    let outcome = rejection.or_else(|| response.extensions().get::<Outcome>().map(|outcome| outcome.0));
    let outcome = outcome.unwrap_or("Success");
    metrics.0.calls.get_or_create(&CallLabels { hook, outcome }).inc();
    metrics.0.durations.get_or_create(&HookLabel { hook }).observe(began.elapsed().as_secs_f64());
    response
}

fn hook_at(path: &str) -> Option<&'static str> {
    match path {
        path::DISCOVERY => Some("Discovery"),
        path::SYNC => Some("Sync"),
        path::FINALIZE => Some("Finalize"),
        _ => None,
    }
}
