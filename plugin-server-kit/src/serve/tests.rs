//! Connections and the graceful shutdown.

use std::net::SocketAddr;
use std::sync::Arc;

use axum::Router;
use axum::routing::get;
use tokio::sync::{Notify, oneshot};
use tokio::task::JoinHandle;
use tokio::time::Instant;

use super::*;
use crate::raw_http::{get_and_close, get_and_keep};

/// A served router. Its slow handler signals that it was entered, and responds when it is released.
struct Served {
    address: SocketAddr,
    entered: Arc<Notify>,
    release: Arc<Notify>,
    shutdown: oneshot::Sender<()>,
    server: JoinHandle<()>,
}

fn mk_served() -> Served {
    let entered = Arc::new(Notify::new());
    let release = Arc::new(Notify::new());
    let (enter, wait) = (Arc::clone(&entered), Arc::clone(&release));
    let slow = async move || {
        enter.notify_one();
        wait.notified().await;
        "slow"
    };
    let router = Router::new().route("/slow", get(slow)).route("/fast", get(|| async { "fast" }));
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let (shutdown, stopped) = oneshot::channel();
    let server = tokio::spawn(serve(Listener::tcp(listener).unwrap(), router, async {
        stopped.await.unwrap();
    }));
    Served { address, entered, release, shutdown, server }
}

#[tokio::test]
async fn the_shutdown_waits_for_a_request_in_flight_and_takes_no_new_connection() {
    let served = mk_served();
    let stream = TcpStream::connect(served.address).await.unwrap();
    let call = tokio::spawn(get_and_close(stream, "/slow"));
    served.entered.notified().await;

    served.shutdown.send(()).unwrap();
    // The listener is closed immediately, so this loop ends. Until then, the backlog may accept connections.
    while TcpStream::connect(served.address).await.is_ok() {
        tokio::task::yield_now().await;
    }
    assert!(!served.server.is_finished());

    served.release.notify_one();
    assert!(call.await.unwrap().unwrap().ends_with("slow"));
    served.server.await.unwrap();
}

#[tokio::test]
async fn the_shutdown_cancels_a_request_that_never_ends() {
    let served = mk_served();
    let stream = TcpStream::connect(served.address).await.unwrap();
    let call = tokio::spawn(get_and_close(stream, "/slow"));
    served.entered.notified().await;

    // Only the timer is pending from here on, and the paused clock advances to it.
    tokio::time::pause();
    let begin = Instant::now();
    served.shutdown.send(()).unwrap();
    let end = tokio::time::timeout(SHUTDOWN_GRACE * 2, served.server).await;
    end.expect("the shutdown takes a limited time").unwrap();
    assert!(begin.elapsed() >= SHUTDOWN_GRACE, "{:?}", begin.elapsed());
    assert_eq!(call.await.unwrap().unwrap(), "", "a response after the shutdown");
}

/// The controller keeps idle connections open. They must not delay the shutdown by the whole grace period.
#[tokio::test]
async fn an_idle_connection_does_not_delay_the_shutdown() {
    let served = mk_served();
    let mut stream = TcpStream::connect(served.address).await.unwrap();
    get_and_keep(&mut stream, "/fast", "fast").await.unwrap();

    tokio::time::pause();
    let begin = Instant::now();
    served.shutdown.send(()).unwrap();
    served.server.await.unwrap();
    assert!(begin.elapsed() < SHUTDOWN_GRACE, "{:?}", begin.elapsed());
}

#[tokio::test]
async fn a_unix_socket_is_served() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("plugin.sock");
    let listener = Listener::unix(&path).unwrap();
    let router = Router::new().route("/fast", get(|| async { "fast" }));
    let (shutdown, stopped) = oneshot::channel::<()>();
    let server = tokio::spawn(serve(listener, router, async { stopped.await.unwrap() }));

    let stream = UnixStream::connect(&path).await.unwrap();
    let response = get_and_close(stream, "/fast").await.unwrap();
    assert!(response.starts_with("HTTP/1.1 200 OK"), "{response}");
    shutdown.send(()).unwrap();
    server.await.unwrap();
}
