//! Listeners, connections and graceful shutdown.

use std::convert::Infallible;
use std::future::{Future, poll_fn};
use std::io;
#[cfg(feature = "tls")]
use std::net::SocketAddr;
use std::path::Path;
use std::pin::pin;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::{GracefulShutdown, Watcher};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};
use tokio::task::JoinSet;
#[cfg(feature = "tls")]
use tokio_rustls::TlsAcceptor;
use tower_service::Service;
use tracing::Instrument as _;

use crate::Body;
use crate::service::BoxError;
use crate::socket::{self, SocketError};
#[cfg(feature = "tls")]
use crate::tls::Tls;

/// The time that requests in flight get after the shutdown has started. It is shorter than the 30 s after which the
/// kubelet kills the process.
pub const SHUTDOWN_GRACE: Duration = Duration::from_secs(20);

#[cfg(feature = "tls")]
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);
/// The timeout for reading headers, which is also the idle timeout of a connection. It is longer than the 90 s for which
/// HTTP clients keep idle connections. Otherwise the server might close a connection while a request is on its way.
const HEADER_TIMEOUT: Duration = Duration::from_mins(2);
/// The pause after a failed accept. Without file descriptors, an immediate retry would be a busy loop.
const ACCEPT_PAUSE: Duration = Duration::from_millis(500);

/// A source of connections.
///
/// ```no_run
/// use dask_plugin_server::serve::Listener;
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let tcp = Listener::tcp(std::net::TcpListener::bind("127.0.0.1:8000")?)?;
/// let unix = Listener::unix("/run/dask-operator/mine.sock")?;
/// # Ok(()) }
/// ```
#[derive(Debug)]
pub struct Listener(Kind);

#[derive(Debug)]
enum Kind {
    Plain(TcpListener),
    #[cfg(feature = "tls")]
    Tls(TcpListener, Tls),
    Unix(UnixListener),
}

impl Listener {
    /// Serves plain HTTP, for development on one machine: any client may connect.
    ///
    /// # Panics
    /// Panics outside of a Tokio runtime.
    pub fn tcp(listener: std::net::TcpListener) -> io::Result<Self> {
        nonblocking(listener).map(Self::plain)
    }

    /// Serves HTTPS for the controller only, see [`Tls`].
    ///
    /// # Panics
    /// Panics outside of a Tokio runtime.
    #[cfg(feature = "tls")]
    pub fn tls(listener: std::net::TcpListener, tls: Tls) -> io::Result<Self> {
        nonblocking(listener).map(|listener| Self::encrypted(listener, tls))
    }

    pub(crate) fn plain(listener: TcpListener) -> Self {
        Self(Kind::Plain(listener))
    }

    #[cfg(feature = "tls")]
    pub(crate) fn encrypted(listener: TcpListener, tls: Tls) -> Self {
        Self(Kind::Tls(listener, tls))
    }

    /// Serves a Unix socket with mode 0660, for a sidecar of the controller.
    ///
    /// A stale socket file is replaced. Anything else at `path`, including a symlink, is an error and stays.
    ///
    /// # Panics
    /// Panics outside of a Tokio runtime.
    pub fn unix(path: impl AsRef<Path>) -> Result<Self, SocketError> {
        socket::bind(path.as_ref()).map(|listener| Self(Kind::Unix(listener)))
    }

    async fn accept(&self) -> io::Result<Connection> {
        Ok(match &self.0 {
            Kind::Plain(listener) => Connection::Plain(listener.accept().await?.0),
            Kind::Unix(listener) => Connection::Unix(listener.accept().await?.0),
            #[cfg(feature = "tls")]
            Kind::Tls(listener, tls) => {
                let (stream, peer) = listener.accept().await?;
                Connection::Tls(stream, peer, TlsAcceptor::from(tls.current()))
            }
        })
    }
}

fn nonblocking(listener: std::net::TcpListener) -> io::Result<TcpListener> {
    listener.set_nonblocking(true)?;
    TcpListener::from_std(listener)
}

enum Connection {
    Plain(TcpStream),
    #[cfg(feature = "tls")]
    Tls(TcpStream, SocketAddr, TlsAcceptor),
    Unix(UnixStream),
}

impl Connection {
    /// Serves this connection. `watcher` tracks it from the handshake to the last byte.
    async fn serve<S: HttpService>(self, service: S, watcher: Watcher) {
        match self {
            Self::Plain(stream) => serve_http(no_delay(stream), service, watcher).await,
            Self::Unix(stream) => serve_http(stream, service, watcher).await,
            #[cfg(feature = "tls")]
            Self::Tls(stream, peer, acceptor) => {
                let handshake = acceptor.accept(no_delay(stream));
                match tokio::time::timeout(HANDSHAKE_TIMEOUT, handshake).await {
                    Ok(Ok(stream)) => serve_http(stream, service, watcher).await,
                    Ok(Err(error)) if error.kind() == io::ErrorKind::InvalidData => {
                        tracing::warn!(%peer, %error, "refused a client");
                    }
                    Ok(Err(error)) => tracing::debug!(%peer, %error, "a TLS handshake failed"),
                    Err(_elapsed) => tracing::debug!(%peer, "a TLS handshake timed out"),
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

async fn serve_http<T, S>(stream: T, service: S, watcher: Watcher)
where
    T: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    S: HttpService,
{
    let service = service_fn(move |request: Request<Incoming>| service.clone().respond(request.map(Body::new)));
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADER_TIMEOUT)
        .serve_connection(TokioIo::new(stream), service);
    if let Err(error) = watcher.watch(connection).await {
        tracing::debug!(%error, "a connection failed");
    }
}

/// A service that [`serve`] can serve, such as a [`Router`](crate::Router).
///
/// It is implemented for every [`tower_service::Service`] that handles requests with a [`Body`] and never fails. The
/// routers of most web frameworks do, so a plugin may add its own routes.
pub trait HttpService: Clone + Send + Sync + 'static {
    /// The body of responses.
    type ResponseBody: http_body::Body<Data = Bytes, Error: Into<BoxError>> + Send + 'static;

    /// Returns the response to `request`.
    fn respond(
        self,
        request: Request<Body>,
    ) -> impl Future<Output = Result<Response<Self::ResponseBody>, Infallible>> + Send;
}

impl<S, B> HttpService for S
where
    S: Service<Request<Body>, Response = Response<B>, Error = Infallible, Future: Send> + Clone + Send + Sync + 'static,
    B: http_body::Body<Data = Bytes, Error: Into<BoxError>> + Send + 'static,
{
    type ResponseBody = B;

    async fn respond(mut self, request: Request<Body>) -> Result<Response<B>, Infallible> {
        poll_fn(|context| self.poll_ready(context)).await?;
        self.call(request).await
    }
}

/// Serves `service` on `listener` until `shutdown` completes.
///
/// Then it stops accepting connections, and returns when the requests in flight have completed, or after
/// [`SHUTDOWN_GRACE`].
///
/// ```
/// use dask_plugin_server::{router, serve::{Listener, serve}};
/// # use dask_plugin_server::{Answer, Plugin, PluginError, protocol::{Discovery, PluginRequest}};
/// # struct MyPlugin;
/// # impl Plugin for MyPlugin {
/// #     fn discovery(&self) -> Discovery { Discovery::new("mine", "1.0.0") }
/// #     async fn sync(&self, _: &PluginRequest) -> Result<Answer, PluginError> { Ok(Answer::none()) }
/// # }
///
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> std::io::Result<()> {
/// let listener = Listener::tcp(std::net::TcpListener::bind("127.0.0.1:0")?)?;
/// serve(listener, router(MyPlugin), async { /* usually waits for a signal */ }).await;
/// # Ok(()) }
/// ```
pub async fn serve(listener: Listener, service: impl HttpService, shutdown: impl Future<Output = ()>) {
    let graceful = GracefulShutdown::new();
    let mut connections = JoinSet::new();
    let mut shutdown = pin!(shutdown);
    loop {
        tokio::select! {
            () = &mut shutdown => break,
            // Without removing the finished ones, the set would grow without limit.
            Some(_finished) = connections.join_next() => {}
            accepted = listener.accept() => match accepted {
                Ok(connection) => {
                    let serving = connection.serve(service.clone(), graceful.watcher());
                    connections.spawn(serving.in_current_span());
                }
                // The client closed the connection before it was accepted.
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
        tracing::warn!("cancelled requests in flight");
    }
    connections.shutdown().await;
}

#[cfg(test)]
mod tests;
