//! Counts calls for Prometheus.

// Without the feature, calls are not counted, and the router stays the same.
#[cfg_attr(not(feature = "metrics"), path = "metrics/disabled.rs")]
mod counters;

use std::sync::Arc;
use std::time::Instant;

use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::Response;
use dask_plugin_protocol::{ResponseStatus, path};

use crate::error::Rejection;
use counters::Counters;

/// The metrics of a plugin's server. Clones share their counts.
///
/// | metric | labels | meaning |
/// |---|---|---|
/// | `dask_plugin_calls_total` | `hook`, `outcome` | calls that have completed; the outcome is a status of the protocol or the category of an error |
/// | `dask_plugin_call_duration_seconds` | `hook` | time from the first byte of the call to its response |
/// | `dask_plugin_calls_in_flight` | | calls that have not completed yet |
///
/// Without the feature `metrics`, calls are not counted.
#[derive(Clone, Debug, Default)]
pub struct Metrics(Arc<Counters>);

impl Metrics {
    /// Returns the counts in the OpenMetrics text format.
    ///
    /// ```
    /// let text = dask_plugin_server::Metrics::default().encode();
    /// assert!(text.contains("dask_plugin_calls_in_flight 0"));
    /// ```
    #[cfg(feature = "metrics")]
    pub fn encode(&self) -> String {
        self.0.encode()
    }
}

/// The outcome of a call, which a response carries to [`count`].
#[derive(Clone, Copy, Debug)]
pub(crate) struct Outcome(&'static str);

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

/// A call that has not completed. Its drop ends the call, also if the call is cancelled.
struct InFlight<'a>(&'a Counters);

impl Drop for InFlight<'_> {
    fn drop(&mut self) {
        self.0.ended();
    }
}

/// Counts the calls of hooks and of discovery.
pub(crate) async fn count(State(Metrics(counters)): State<Metrics>, request: Request, next: Next) -> Response {
    let Some(hook) = hook_at(request.uri().path()) else { return next.run(request).await };
    let start = Instant::now();
    counters.started();
    let in_flight = InFlight(&counters);
    let response = next.run(request).await;
    drop(in_flight);
    let rejection = response.extensions().get::<Rejection>().map(Rejection::category);
    let outcome = rejection.or_else(|| response.extensions().get::<Outcome>().map(|outcome| outcome.0));
    counters.completed(hook, outcome.unwrap_or("Success"), start.elapsed());
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
