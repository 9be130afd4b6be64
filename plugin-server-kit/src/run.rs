use std::future::Future;
use std::io::{self, IsTerminal as _};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use axum::Router;
use axum::extract::State;
use axum::http::header::CONTENT_TYPE;
use axum::http::{HeaderName, StatusCode};
use axum::routing::get;
use futures::FutureExt as _;
use futures::future::Shared;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tracing_subscriber::EnvFilter;

use crate::config::{Config, ConfigError, Endpoint, LogFormat};
use crate::router::{HEALTHZ, healthz};
use crate::serve::{Listener, serve};
use crate::socket::SocketError;
use crate::tls::Tls;
use crate::{Metrics, Plugin, router_with};

/// The path at which the process says whether it takes calls.
const READYZ: &str = "/readyz";
/// The path at which Prometheus reads counts.
const METRICS: &str = "/metrics";
const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Why a plugin's server ended before it was told to.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RunError {
    /// The environment is wrong.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The Unix socket could not be opened.
    #[error(transparent)]
    Socket(#[from] SocketError),
    /// A TCP port could not be opened.
    #[error("failed to listen on port {port}: {source}")]
    Listen {
        /// The port.
        port: u16,
        /// Why it failed.
        source: io::Error,
    },
    /// Signals could not be received.
    #[error("failed to listen for signals: {0}")]
    Signals(io::Error),
}

/// Serves `plugin` as the environment says (see [`Config`]) until SIGTERM or SIGINT.
///
/// It sets up the log, answers the kubelet at `GET /healthz` (alive) and `GET /readyz` (certificate
/// loaded and listening) and Prometheus at `GET /metrics` (see [`Metrics`]), and lets requests in flight finish. An error is logged as one sentence and
/// leads to exit code 1.
pub async fn run<P: Plugin>(plugin: P) -> ExitCode {
    let config = Config::from_env();
    init_log(config.as_ref().map_or(LogFormat::Text, |c| c.log_format));
    let outcome = async {
        let signal = shutdown_signal().map_err(RunError::Signals)?;
        run_until(plugin, config?, signal).await
    };
    match outcome.await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!(%error, "the plugin's server failed");
            ExitCode::FAILURE
        }
    }
}

/// As [`run`], with everything that it takes from the process as parameters, and without setting up a log.
pub async fn run_until<P: Plugin>(
    plugin: P,
    config: Config,
    shutdown: impl Future<Output = ()> + Send,
) -> Result<(), RunError> {
    let discovery = plugin.discovery();
    tracing::info!(name = discovery.name, version = discovery.version, "starting");
    let shutdown = shutdown.shared();
    let ready = Arc::new(AtomicBool::new(false));
    let metrics = Metrics::default();
    let router = router_with(plugin, config.credentials, metrics.clone());
    let calls = serve_calls(router, config.endpoint, Arc::clone(&ready), shutdown.clone());
    let probes = serve_probes(config.health_port, Probed { ready, metrics }, shutdown);
    tokio::try_join!(calls, probes)?;
    tracing::info!("stopped");
    Ok(())
}

async fn serve_calls<F: Future<Output = ()>>(
    router: Router,
    endpoint: Endpoint,
    ready: Arc<AtomicBool>,
    shutdown: Shared<F>,
) -> Result<(), RunError> {
    let listener = tokio::select! {
        listener = open(&endpoint) => listener?,
        () = shutdown.clone() => return Ok(()),
    };
    ready.store(true, Ordering::Relaxed);
    tracing::info!(?endpoint, "listening");
    serve(listener, router, shutdown).await;
    Ok(())
}

async fn open(endpoint: &Endpoint) -> Result<Listener, RunError> {
    match endpoint {
        Endpoint::Socket(path) => Ok(Listener::unix(path)?),
        Endpoint::Insecure { port } => {
            tracing::warn!("plain HTTP without authentication: for development only");
            let bound = TcpListener::bind((Ipv4Addr::LOCALHOST, *port)).await;
            Ok(Listener::tcp(bound.map_err(|source| RunError::Listen { port: *port, source })?))
        }
        Endpoint::Tls { dir, port } => {
            let tls = Tls::wait_for_files(dir).await;
            Ok(Listener::tls(bind_all(*port).await?, tls))
        }
    }
}

/// All addresses, of both families where the machine has both.
async fn bind_all(port: u16) -> Result<TcpListener, RunError> {
    let both = SocketAddr::from((Ipv6Addr::UNSPECIFIED, port));
    let bound = match TcpListener::bind(both).await {
        // The kernel has no IPv6, or the node has switched it off.
        Err(error)
            if matches!(error.kind(), io::ErrorKind::Unsupported | io::ErrorKind::AddrNotAvailable)
                || error.raw_os_error() == Some(EAFNOSUPPORT) =>
        {
            TcpListener::bind((Ipv4Addr::UNSPECIFIED, port)).await
        }
        bound => bound,
    };
    bound.map_err(|source| RunError::Listen { port, source })
}

/// "Address family not supported by protocol", which has no [`io::ErrorKind`].
const EAFNOSUPPORT: i32 = 97;

async fn serve_probes<F: Future<Output = ()>>(
    port: Option<u16>,
    probed: Probed,
    shutdown: Shared<F>,
) -> Result<(), RunError> {
    if let Some(port) = port {
        let listener = Listener::tcp(bind_all(port).await?);
        serve(listener, probes(probed), shutdown).await;
    }
    Ok(())
}

/// What the port beside that of the calls tells.
#[derive(Clone)]
struct Probed {
    ready: Arc<AtomicBool>,
    metrics: Metrics,
}

fn probes(probed: Probed) -> Router {
    async fn readyz(State(probed): State<Probed>) -> (StatusCode, &'static str) {
        if probed.ready.load(Ordering::Relaxed) {
            (StatusCode::OK, "ok")
        } else {
            (StatusCode::SERVICE_UNAVAILABLE, "no certificate yet")
        }
    }
    async fn metrics(State(probed): State<Probed>) -> ([(HeaderName, &'static str); 1], String) {
        ([(CONTENT_TYPE, OPEN_METRICS)], probed.metrics.encode())
    }
    Router::new()
        .route(HEALTHZ, get(healthz))
        .route(READYZ, get(readyz))
        .route(METRICS, get(metrics))
        .with_state(probed)
}

fn shutdown_signal() -> io::Result<impl Future<Output = ()> + Send> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    Ok(async move {
        tokio::select! {
            _ = terminate.recv() => tracing::info!(signal = "SIGTERM", "shutting down"),
            _ = interrupt.recv() => tracing::info!(signal = "SIGINT", "shutting down"),
        }
    })
}

fn init_log(format: LogFormat) {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info"));
    let log =
        tracing_subscriber::fmt().with_env_filter(filter).with_writer(io::stderr).with_ansi(io::stderr().is_terminal());
    let installed = match format {
        LogFormat::Text => log.try_init(),
        LogFormat::Json => log.json().flatten_event(true).with_span_list(false).try_init(),
    };
    // A plugin that has set up its own keeps it.
    if let Err(error) = installed {
        tracing::debug!(%error, "keeping the log as it is");
    }
}

#[cfg(test)]
mod tests;
