//! Runs a plugin as a process: configuration, log, signals and probes.

mod probes;

use std::future::Future;
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use axum::extract::{Request, State};
use axum::http::HeaderValue;
use axum::http::header::CONNECTION;
use axum::middleware::{Next, from_fn_with_state};
use axum::response::Response;
use futures::FutureExt as _;
use futures::future::Shared;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};

use self::probes::{Probed, serve_probes};
use crate::config::{Config, ConfigError, Endpoint, LogFormat};
use crate::serve::{HttpService, Listener, serve};
use crate::socket::SocketError;
#[cfg(feature = "tls")]
use crate::tls::Tls;
use crate::{Metrics, Plugin, Router, router_with};

/// The error for a server that could not start.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RunError {
    /// The environment is invalid.
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
        /// The cause.
        source: io::Error,
    },
    /// The signal handlers could not be installed.
    #[error("failed to listen for signals: {0}")]
    Signals(io::Error),
}

/// Serves `plugin` until SIGTERM or SIGINT, configured by the environment (see [`Config`]).
///
/// It sets up the log (feature `log`), serves the probes of the kubelet at `GET /healthz` (alive) and `GET /readyz`
/// (certificate loaded and listening), and serves Prometheus at `GET /metrics` (see [`Metrics`]). After the signal it is
/// not ready, but serves new calls for [`Config::drain`]. Then it lets requests in flight finish. An error is logged as
/// one sentence and leads to exit code 1.
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

/// Like [`run`], but takes the configuration and the signal as arguments, and does not set up the log.
///
/// ```no_run
/// use dask_plugin_server::config::{Config, Endpoint};
/// use dask_plugin_server::run_until;
/// # use dask_plugin_server::{Answer, Plugin, PluginError, protocol::{Discovery, PluginRequest}};
/// # struct MyPlugin;
/// # impl Plugin for MyPlugin {
/// #     fn discovery(&self) -> Discovery { Discovery::new("mine", "1.0.0") }
/// #     async fn sync(&self, _: &PluginRequest) -> Result<Answer, PluginError> { Ok(Answer::none()) }
/// # }
///
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), dask_plugin_server::RunError> {
/// let mut config = Config::new(Endpoint::Socket("/run/dask-operator/mine.sock".into()));
/// config.health_port = Some(8081);
/// run_until(MyPlugin, config, std::future::pending()).await
/// # }
/// ```
pub async fn run_until<P: Plugin>(
    plugin: P,
    config: Config,
    shutdown: impl Future<Output = ()> + Send,
) -> Result<(), RunError> {
    let discovery = plugin.discovery();
    tracing::info!(name = discovery.name, version = discovery.version, "starting");
    let phase = Arc::new(Phase::default());
    let end = drained(shutdown, Arc::clone(&phase), config.drain).shared();
    let metrics = Metrics::default();
    let router = router_with(plugin, config.credentials, metrics.clone());
    let router = Router(router.0.layer(from_fn_with_state(Arc::clone(&phase), close_while_draining)));
    let calls = serve_calls(router, config.endpoint, Arc::clone(&phase), end.clone());
    let probes = serve_probes(config.health_port, Probed { phase, metrics }, end);
    tokio::try_join!(calls, probes)?;
    tracing::info!("stopped");
    Ok(())
}

/// What the plugin is doing, for the probes.
#[derive(Debug, Default)]
struct Phase {
    listening: AtomicBool,
    draining: AtomicBool,
}

/// Completes when the server has to stop: `drain` after `shutdown`, or at once if nothing is served yet.
async fn drained(shutdown: impl Future<Output = ()>, phase: Arc<Phase>, drain: Duration) {
    shutdown.await;
    phase.draining.store(true, Ordering::Relaxed);
    if phase.listening.load(Ordering::Relaxed) && !drain.is_zero() {
        tracing::info!(seconds = drain.as_secs(), "not ready any more; new calls are served for these seconds");
        tokio::time::sleep(drain).await;
    }
}

/// Closes connections after their next response while the plugin drains. The controller keeps connections open, and its
/// next one leads to a pod that stays.
async fn close_while_draining(State(phase): State<Arc<Phase>>, request: Request, next: Next) -> Response {
    let mut response = next.run(request).await;
    if phase.draining.load(Ordering::Relaxed) {
        response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
    }
    response
}

/// Serves the calls of the controller, as soon as the endpoint is open.
async fn serve_calls(
    router: impl HttpService,
    endpoint: Endpoint,
    phase: Arc<Phase>,
    shutdown: Shared<impl Future<Output = ()>>,
) -> Result<(), RunError> {
    let listener = tokio::select! {
        listener = open(&endpoint) => listener?,
        () = shutdown.clone() => return Ok(()),
    };
    phase.listening.store(true, Ordering::Relaxed);
    tracing::info!(?endpoint, "listening");
    serve(listener, router, shutdown).await;
    Ok(())
}

/// Opens the endpoint. With TLS, it waits for the certificate.
async fn open(endpoint: &Endpoint) -> Result<Listener, RunError> {
    match endpoint {
        Endpoint::Socket(path) => Ok(Listener::unix(path)?),
        Endpoint::Insecure { port } => {
            tracing::warn!("plain HTTP without authentication: for development only");
            let bound = TcpListener::bind((Ipv4Addr::LOCALHOST, *port)).await;
            Ok(Listener::plain(bound.map_err(|source| RunError::Listen { port: *port, source })?))
        }
        #[cfg(feature = "tls")]
        Endpoint::Tls { dir, port } => {
            let tls = Tls::wait_for_files(dir).await;
            Ok(Listener::encrypted(bind_all(*port).await?, tls))
        }
    }
}

/// Listens on all addresses, of IPv6 and IPv4 if the machine has both.
async fn bind_all(port: u16) -> Result<TcpListener, RunError> {
    let both = SocketAddr::from((Ipv6Addr::UNSPECIFIED, port));
    let bound = match TcpListener::bind(both).await {
        // The kernel does not support IPv6, or it is disabled on the node.
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

/// The error "Address family not supported by protocol", which has no [`io::ErrorKind`].
const EAFNOSUPPORT: i32 = 97;

/// Returns a future that completes on SIGTERM and SIGINT.
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

#[cfg(not(feature = "log"))]
fn init_log(_: LogFormat) {}

#[cfg(feature = "log")]
fn init_log(format: LogFormat) {
    use std::io::IsTerminal as _;

    use tracing_subscriber::EnvFilter;

    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info"));
    let log =
        tracing_subscriber::fmt().with_env_filter(filter).with_writer(io::stderr).with_ansi(io::stderr().is_terminal());
    let installed = match format {
        LogFormat::Text => log.try_init(),
        LogFormat::Json => log.json().flatten_event(true).with_span_list(false).try_init(),
    };
    // A plugin may have set up its own log before.
    if let Err(error) = installed {
        tracing::debug!(%error, "the log is set up already");
    }
}

#[cfg(test)]
#[cfg(all(feature = "metrics", feature = "tls"))]
mod tests;
