//! Probes and metrics.

use std::{
    io,
    sync::Arc,
    time::{Duration, Instant},
};

use axum::{
    Json, Router,
    extract::State,
    http::{StatusCode, header::CONTENT_TYPE},
    response::{IntoResponse, Response},
    routing::get,
};
use jiff::Timestamp;
use serde_json::{Value, json};
use tokio::{net::TcpListener, sync::watch};
use tokio_util::sync::CancellationToken;

use crate::{metrics::Metrics, vitals::Vitals, watch::Progress};

const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// What probes look at.
pub struct Health {
    /// How far the start is.
    pub probes: Probes,
    /// What must get on for the controller to be alive.
    pub vitals: Vitals,
    /// How long a watch may hear nothing of the API server.
    pub silence: Duration,
}

/// How far the start is, as probes are told. Cloning shares it.
#[derive(Clone)]
pub struct Probes(Arc<watch::Sender<Stage>>);

enum Stage {
    /// What is waited for before anything is watched.
    Checking(Vec<String>),
    /// Watches are under way.
    Watching(Vec<Progress>),
}

impl Probes {
    /// Nothing is known yet.
    pub fn new() -> Self {
        Self(Arc::new(watch::Sender::new(Stage::Checking(vec!["the start-up checks".to_owned()]))))
    }

    /// The start waits for `what`.
    pub fn wait_for(&self, what: String) {
        self.0.send_replace(Stage::Checking(vec![what]));
    }

    /// The start is over when all `watches` have delivered.
    pub fn follow(&self, watches: Vec<Progress>) {
        self.0.send_replace(Stage::Watching(watches));
    }

    fn missing(&self) -> Vec<String> {
        match &*self.0.borrow() {
            Stage::Checking(missing) => missing.clone(),
            Stage::Watching(watches) => {
                watches.iter().filter(|watch| !watch.is_synced()).map(|watch| watch.kind.clone()).collect()
            }
        }
    }
}

impl Default for Probes {
    fn default() -> Self {
        Self::new()
    }
}

/// Answers probes on `listener` until `shutdown`.
///
/// * `/livez`, `/healthz`: 200 and the body of dask-kubernetes; 503 and the kinds of whose watch nothing was heard for
///   too long, and the reconcilers with a pass that does not end.
/// * `/readyz`: every watch has delivered its first list; else 503 and the kinds that have not, or what the
///   start-up checks have not found.
/// * `/metrics`: `OpenMetrics` text.
pub async fn serve(
    listener: TcpListener,
    health: Health,
    metrics: Arc<Metrics>,
    shutdown: CancellationToken,
) -> io::Result<()> {
    let app = Router::new()
        .route("/livez", get(live))
        .route("/healthz", get(live))
        .route("/readyz", get(ready))
        .with_state(Arc::new(health))
        .route("/metrics", get(tell))
        .with_state(metrics);
    axum::serve(listener, app).with_graceful_shutdown(shutdown.cancelled_owned()).await
}

async fn live(State(health): State<Arc<Health>>) -> (StatusCode, Json<Value>) {
    let ailing = health.vitals.ailing(Instant::now(), health.silence);
    if ailing.is_nothing() {
        let now = Timestamp::now().strftime("%Y-%m-%dT%H:%M:%S%.6f").to_string();
        return (StatusCode::OK, Json(json!({"now": now})));
    }
    tracing::warn!(silent = ?ailing.silent, stuck = ?ailing.stuck, "the controller does not get on");
    (StatusCode::SERVICE_UNAVAILABLE, Json(json!({"silentWatches": ailing.silent, "stuckReconcilers": ailing.stuck})))
}

async fn ready(State(health): State<Arc<Health>>) -> (StatusCode, Json<Value>) {
    let missing = health.probes.missing();
    let code = if missing.is_empty() { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (code, Json(json!({"ready": missing.is_empty(), "waitingFor": missing})))
}

async fn tell(State(metrics): State<Arc<Metrics>>) -> Response {
    match metrics.text() {
        Ok(text) => ([(CONTENT_TYPE, OPEN_METRICS)], text).into_response(),
        Err(_) => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
    }
}
