//! The HTTP server for probes and metrics.

use std::{
    io,
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

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
use operator_runtime::{
    leader::Leadership,
    liveness::{Liveness, LivenessFailure},
    watch::SyncStatus,
};
use serde_json::{Value, json};
use tokio::{
    net::TcpListener,
    runtime,
    sync::{oneshot, watch},
};
use tokio_util::sync::CancellationToken;

use crate::metrics::Metrics;

/// The state that probes report.
pub(crate) struct Health {
    /// The progress of the startup.
    pub probes: Probes,
    /// The tasks and watches that must make progress for the controller to be alive.
    pub liveness: Liveness,
    /// How long a watch may receive nothing from the API server.
    pub silence: Duration,
    /// The leadership of this process.
    pub leadership: Leadership,
}

/// The progress of the startup, as reported by `/readyz`. Clones share the state.
#[derive(Clone)]
pub struct Probes(Arc<watch::Sender<Stage>>);

enum Stage {
    /// The conditions that have to be met before the watches start.
    Checking(Vec<String>),
    /// The watches have started.
    Watching(Vec<SyncStatus>),
}

impl Probes {
    /// Creates the state before the start-up checks.
    pub fn new() -> Self {
        Self(Arc::new(watch::Sender::new(Stage::Checking(vec!["the start-up checks".to_owned()]))))
    }

    /// Reports that the startup waits for `what`.
    pub fn wait_for(&self, what: String) {
        self.0.send_replace(Stage::Checking(vec![what]));
    }

    /// Reports that the watches have started. The startup is complete when all `watches` have synced.
    pub fn follow(&self, watches: Vec<SyncStatus>) {
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

/// Answers probes as [`serve`] does, on a thread with a runtime of its own, so that probes are answered even when all
/// threads of the controller's runtime are blocked. Returns a channel that receives the result when the server ends; it
/// ends only with an error.
pub(crate) fn serve_apart(
    listener: TcpListener,
    health: Health,
    metrics: Arc<Metrics>,
) -> io::Result<oneshot::Receiver<io::Result<()>>> {
    let listener = listener.into_std()?;
    let (sender, ended) = oneshot::channel();
    let run = move || {
        let runtime = runtime::Builder::new_current_thread().enable_all().build()?;
        runtime.block_on(async {
            serve(TcpListener::from_std(listener)?, health, metrics, CancellationToken::new()).await
        })
    };
    thread::Builder::new().name("probes".to_owned()).spawn(move || {
        // An error means that the process is ending.
        let _ = sender.send(run());
    })?;
    Ok(ended)
}

/// Answers probes on `listener` until `shutdown`.
///
/// * `/livez`, `/healthz`: 200 and the body of dask-kubernetes. Otherwise 503 with the kinds whose watch has received
///   nothing for too long, the kinds whose watch delivers nothing although the API server answers, the tasks of a
///   leader that have not started, the reconcilers with a pass that does not end, and whether the runtime is blocked.
/// * `/readyz`: 200 if every watch has delivered its initial list. Otherwise 503 with the kinds that have not, or with
///   the start-up checks that have not passed. Standbys are ready too: `leader` reports whether this process leads.
/// * `/metrics`: `OpenMetrics` text for clients that ask for it, otherwise Prometheus' own text format.
pub(crate) async fn serve(
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
        .route("/metrics", get(serve_metrics))
        .with_state(metrics);
    axum::serve(listener, app).with_graceful_shutdown(shutdown.cancelled_owned()).await
}

async fn live(State(health): State<Arc<Health>>) -> (StatusCode, Json<Value>) {
    let ailing = health.liveness.ailing(Instant::now(), health.silence);
    if ailing.is_nothing() {
        let now = Timestamp::now().strftime("%Y-%m-%dT%H:%M:%S%.6f").to_string();
        return (StatusCode::OK, Json(json!({"now": now})));
    }
    let LivenessFailure { silent, stalled, waiting, stuck, blocked } = ailing;
    tracing::warn!(?silent, ?stalled, ?waiting, ?stuck, blocked, "the controller does not get on");
    let body = json!({
        "silentWatches": silent,
        "stalledWatches": stalled,
        "tasksNotBegun": waiting,
        "stuckReconcilers": stuck,
        "runtimeBlocked": blocked,
    });
    (StatusCode::SERVICE_UNAVAILABLE, Json(body))
}

async fn ready(State(health): State<Arc<Health>>) -> (StatusCode, Json<Value>) {
    let missing = health.probes.missing();
    let code = if missing.is_empty() { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    let leader = health.leadership.is_leading();
    (code, Json(json!({"ready": missing.is_empty(), "waitingFor": missing, "leader": leader})))
}

async fn serve_metrics(State(metrics): State<Arc<Metrics>>, headers: HeaderMap) -> Response {
    let accept = headers.get(ACCEPT).and_then(|accept| accept.to_str().ok());
    match metrics.answer(accept) {
        Ok((media, text)) => ([(CONTENT_TYPE, media), (VARY, "Accept")], text).into_response(),
        Err(_) => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
    }
}

#[cfg(test)]
mod tests {
    use std::{
        io::{Read as _, Write as _},
        net::TcpStream,
    };

    use operator_runtime::leader::Election;

    use super::*;

    /// The runtime of this test has a single thread, which is blocked while the test waits for the response.
    #[tokio::test]
    async fn a_controller_whose_threads_are_all_blocked_is_not_alive_and_says_so() {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let liveness = Liveness::default();
        liveness.heartbeat(Instant::now().checked_sub(Duration::from_mins(1)).unwrap());
        let leadership = Election::alone().leadership();
        let health = Health { probes: Probes::new(), liveness, silence: Duration::from_mins(3), leadership };
        let _ended = serve_apart(listener, health, Arc::default()).unwrap();

        let mut stream = TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        stream.write_all(b"GET /livez HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n").unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        assert!(answer.starts_with("HTTP/1.1 503 ") && answer.contains("\"runtimeBlocked\":true"), "{answer}");
    }
}
