//! Listeners, connections and their orderly end.

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::pin::pin;
use std::time::Duration;

use axum::Router;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::{GracefulShutdown, Watcher};
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;
use tracing::Instrument as _;

use crate::socket::{self, SocketError};
use crate::tls::Tls;

/// How long requests in flight may go on after the shutdown: less than the 30 s after which the
/// kubelet kills.
pub const SHUTDOWN_GRACE: Duration = Duration::from_secs(20);

const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);
/// Between requests it is also the idle time of a connection, so it is longer than the 90 s for which
/// HTTP clients keep theirs: otherwise we would hang up on a request that is on its way.
const HEADER_TIMEOUT: Duration = Duration::from_mins(2);
/// Pause after a failed accept: out of file descriptors, an immediate retry would spin.
const ACCEPT_PAUSE: Duration = Duration::from_millis(500);

/// Where connections come from.
#[derive(Debug)]
pub struct Listener(Kind);

#[derive(Debug)]
enum Kind {
    Plain(TcpListener),
    Tls(TcpListener, Tls),
    Unix(UnixListener),
}

impl Listener {
    /// Plain HTTP, for development on one machine: whoever connects may ask.
    pub fn tcp(listener: TcpListener) -> Self {
        Self(Kind::Plain(listener))
    }

    /// HTTPS for the controller alone, see [`Tls`].
    pub fn tls(listener: TcpListener, tls: Tls) -> Self {
        Self(Kind::Tls(listener, tls))
    }

    /// A Unix socket of mode 0660, for a sidecar of the controller.
    ///
    /// A socket file that nobody serves any more is replaced. Anything else at `path`, a symlink
    /// included, is an error and stays.
    ///
    /// # Panics
    /// Outside of a Tokio runtime.
    pub fn unix(path: impl AsRef<Path>) -> Result<Self, SocketError> {
        socket::bind(path.as_ref()).map(|listener| Self(Kind::Unix(listener)))
    }

    async fn accept(&self) -> io::Result<Connection> {
        Ok(match &self.0 {
            Kind::Plain(listener) => Connection::Plain(listener.accept().await?.0),
            Kind::Unix(listener) => Connection::Unix(listener.accept().await?.0),
            Kind::Tls(listener, tls) => {
                let (stream, peer) = listener.accept().await?;
                Connection::Tls(stream, peer, TlsAcceptor::from(tls.current()))
            }
        })
    }
}

enum Connection {
    Plain(TcpStream),
    Tls(TcpStream, SocketAddr, TlsAcceptor),
    Unix(UnixStream),
}

impl Connection {
    /// `watcher` counts this connection from the handshake to the last byte.
    async fn serve(self, router: Router, watcher: Watcher) {
        match self {
            Self::Plain(stream) => serve_http(no_delay(stream), router, watcher).await,
            Self::Unix(stream) => serve_http(stream, router, watcher).await,
            Self::Tls(stream, peer, acceptor) => {
                let handshake = acceptor.accept(no_delay(stream));
                match tokio::time::timeout(HANDSHAKE_TIMEOUT, handshake).await {
                    Ok(Ok(stream)) => serve_http(stream, router, watcher).await,
                    Ok(Err(error)) if error.kind() == io::ErrorKind::InvalidData => {
                        tracing::warn!(%peer, %error, "refused a client");
                    }
                    Ok(Err(error)) => tracing::debug!(%peer, %error, "a handshake broke off"),
                    Err(_elapsed) => tracing::debug!(%peer, "a handshake took too long"),
                }
            }
        }
    }
}

fn no_delay(stream: TcpStream) -> TcpStream {
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(%error, "failed to set TCP_NODELAY");
    }
    stream
}

async fn serve_http<S>(stream: S, router: Router, watcher: Watcher)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADER_TIMEOUT)
        .serve_connection(TokioIo::new(stream), TowerToHyperService::new(router));
    if let Err(error) = watcher.watch(connection).await {
        tracing::debug!(%error, "a connection broke off");
    }
}

/// Serves `router` on `listener` until `shutdown` completes; then takes no more connections, and returns
/// when the requests in flight are answered, or after [`SHUTDOWN_GRACE`].
///
/// ```
/// use axum::{Router, routing::get};
/// use dask_plugin_server::serve::{Listener, serve};
/// use tokio::net::TcpListener;
///
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> std::io::Result<()> {
/// let listener = Listener::tcp(TcpListener::bind("127.0.0.1:0").await?);
/// let router = Router::new().route("/healthz", get(|| async { "ok" }));
/// serve(listener, router, async { /* a signal, usually */ }).await;
/// # Ok(()) }
/// ```
pub async fn serve(listener: Listener, router: Router, shutdown: impl Future<Output = ()>) {
    let graceful = GracefulShutdown::new();
    let mut connections = JoinSet::new();
    let mut shutdown = pin!(shutdown);
    loop {
        tokio::select! {
            () = &mut shutdown => break,
            // Finished ones are taken out, or the set would grow for ever.
            Some(_finished) = connections.join_next() => {}
            accepted = listener.accept() => match accepted {
                Ok(connection) => {
                    let serving = connection.serve(router.clone(), graceful.watcher());
                    connections.spawn(serving.in_current_span());
                }
                // The client hung up before we got to it.
                Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => {}
                Err(error) => {
                    tracing::warn!(%error, "failed to accept a connection");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    }
    drop(listener);
    if tokio::time::timeout(SHUTDOWN_GRACE, graceful.shutdown()).await.is_err() {
        tracing::warn!("gave up on requests in flight");
    }
    connections.shutdown().await;
}

#[cfg(test)]
mod tests;
