//! Probes and metrics.

use std::{io, sync::Arc};

use axum::{
    Json, Router,
    extract::State,
    http::{
        HeaderMap, StatusCode,
        header::{ACCEPT, CONTENT_TYPE, VARY},
    },
    response::{IntoResponse, Response},
    routing::get,
};
use jiff::Timestamp;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::{metrics::Metrics, watch::Progress};

/// Answers probes on `listener` until `shutdown`.
///
/// * `/livez`, `/healthz`: the process runs. The body of the latter is that of dask-kubernetes.
/// * `/readyz`: every watch has delivered its first list; else 503 and the kinds that have not.
/// * `/metrics`: `OpenMetrics` text for those who ask for it, else Prometheus' own.
pub async fn serve(
    listener: TcpListener,
    watches: Vec<Progress>,
    metrics: Arc<Metrics>,
    shutdown: CancellationToken,
) -> io::Result<()> {
    let app = Router::new()
        .route("/livez", get(live))
        .route("/healthz", get(live))
        .route("/readyz", get(ready))
        .with_state(Arc::new(watches))
        .route("/metrics", get(tell))
        .with_state(metrics);
    axum::serve(listener, app).with_graceful_shutdown(shutdown.cancelled_owned()).await
}

async fn live() -> Json<Value> {
    Json(json!({"now": Timestamp::now().strftime("%Y-%m-%dT%H:%M:%S%.6f").to_string()}))
}

async fn ready(State(watches): State<Arc<Vec<Progress>>>) -> (StatusCode, Json<Value>) {
    let missing: Vec<&str> =
        watches.iter().filter(|watch| !watch.is_synced()).map(|watch| watch.kind.as_str()).collect();
    let code = if missing.is_empty() { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (code, Json(json!({"ready": missing.is_empty(), "waitingFor": missing})))
}

async fn tell(State(metrics): State<Arc<Metrics>>, headers: HeaderMap) -> Response {
    let accept = headers.get(ACCEPT).and_then(|accept| accept.to_str().ok());
    match metrics.answer(accept) {
        Ok((media, text)) => ([(CONTENT_TYPE, media), (VARY, "Accept")], text).into_response(),
        Err(_) => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
    }
}
