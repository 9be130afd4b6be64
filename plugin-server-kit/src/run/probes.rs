//! Serves the probes of the kubelet, and the metrics.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use axum::extract::State;
use axum::http::StatusCode;
use axum::routing::get;
use futures::future::Shared;

use super::{Phase, RunError, bind_all};
use crate::Metrics;
use crate::router::{HEALTHZ, healthz};
use crate::serve::{Listener, serve};

/// The path of the readiness probe.
pub(super) const READYZ: &str = "/readyz";
/// The path of the metrics.
#[cfg(feature = "metrics")]
const METRICS: &str = "/metrics";
#[cfg(feature = "metrics")]
const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Serves the probes and the metrics, if they have a port.
pub(super) async fn serve_probes<F: Future<Output = ()>>(
    port: Option<u16>,
    probed: Probed,
    shutdown: Shared<F>,
) -> Result<(), RunError> {
    if let Some(port) = port {
        let listener = Listener::plain(bind_all(port).await?);
        serve(listener, probes(probed), shutdown).await;
    }
    Ok(())
}

/// The state that probes and metrics report.
#[derive(Clone)]
pub(super) struct Probed {
    pub(super) phase: Arc<Phase>,
    #[cfg_attr(not(feature = "metrics"), expect(dead_code, reason = "there is no path of metrics"))]
    pub(super) metrics: Metrics,
}

/// Returns the routes of the probes and of the metrics.
pub(super) fn probes(probed: Probed) -> axum::Router {
    async fn readyz(State(probed): State<Probed>) -> (StatusCode, &'static str) {
        if probed.phase.draining.load(Ordering::Relaxed) {
            (StatusCode::SERVICE_UNAVAILABLE, "shutting down")
        } else if probed.phase.listening.load(Ordering::Relaxed) {
            (StatusCode::OK, "ok")
        } else {
            (StatusCode::SERVICE_UNAVAILABLE, "no certificate yet")
        }
    }
    let router = axum::Router::new().route(HEALTHZ, get(healthz)).route(READYZ, get(readyz));
    #[cfg(feature = "metrics")]
    let router = router.route(METRICS, get(metrics));
    router.with_state(probed)
}

#[cfg(feature = "metrics")]
async fn metrics(State(probed): State<Probed>) -> ([(http::HeaderName, &'static str); 1], String) {
    ([(http::header::CONTENT_TYPE, OPEN_METRICS)], probed.metrics.encode())
}
