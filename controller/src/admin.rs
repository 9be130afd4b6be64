//! Probes and metrics.

use std::{io, sync::Arc};

use axum::{
    Json, Router,
    extract::State,
    http::{StatusCode, header::CONTENT_TYPE},
    response::{IntoResponse, Response},
    routing::get,
};
use jiff::Timestamp;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::{leader::Leadership, metrics::Metrics, watch::Progress};

const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Answers probes on `listener` until `shutdown`.
///
/// * `/livez`, `/healthz`: the process runs. The body of the latter is that of dask-kubernetes.
/// * `/readyz`: every watch has delivered its first list; else 503 and the kinds that have not. Standbys are ready too:
///   `leader` says whether this process leads.
/// * `/metrics`: `OpenMetrics` text.
pub async fn serve(
    listener: TcpListener,
    (watches, leadership): (Vec<Progress>, Leadership),
    metrics: Arc<Metrics>,
    shutdown: CancellationToken,
) -> io::Result<()> {
    let app = Router::new()
        .route("/livez", get(live))
        .route("/healthz", get(live))
        .route("/readyz", get(ready))
        .with_state(Arc::new((watches, leadership)))
        .route("/metrics", get(tell))
        .with_state(metrics);
    axum::serve(listener, app).with_graceful_shutdown(shutdown.cancelled_owned()).await
}

async fn live() -> Json<Value> {
    Json(json!({"now": Timestamp::now().strftime("%Y-%m-%dT%H:%M:%S%.6f").to_string()}))
}

async fn ready(State(state): State<Arc<(Vec<Progress>, Leadership)>>) -> (StatusCode, Json<Value>) {
    let (watches, leadership) = state.as_ref();
    let missing: Vec<&str> =
        watches.iter().filter(|watch| !watch.is_synced()).map(|watch| watch.kind.as_str()).collect();
    let code = if missing.is_empty() { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    let leader = leadership.is_leading();
    (code, Json(json!({"ready": missing.is_empty(), "waitingFor": missing, "leader": leader})))
}

async fn tell(State(metrics): State<Arc<Metrics>>) -> Response {
    match metrics.text() {
        Ok(text) => ([(CONTENT_TYPE, OPEN_METRICS)], text).into_response(),
        Err(_) => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
    }
}
