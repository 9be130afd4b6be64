//! The server of a plugin as a process, from its start to its end.

use axum::body::Body;
use dask_plugin_protocol::{Discovery, PluginRequest};
use tokio::net::UnixStream;
use tokio::sync::oneshot;
use tower::ServiceExt as _;

use super::probes::{READYZ, probes};
use super::*;
use crate::raw_http::{get_and_close, get_and_keep};
use crate::router::HEALTHZ;
use crate::{Answer, PluginError};

struct Nothing;

impl Plugin for Nothing {
    fn discovery(&self) -> Discovery {
        Discovery::new("nothing", "1.0.0")
    }

    async fn sync(&self, _: &PluginRequest) -> Result<Answer, PluginError> {
        Ok(Answer::none())
    }
}

#[tokio::test]
async fn a_plugin_serves_its_socket_until_the_shutdown() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("plugin.sock");
    let config = Config::new(Endpoint::Socket(path.clone()));
    let (stop, stopped) = oneshot::channel();
    let server = tokio::spawn(run_until(Nothing, config, async { stopped.await.unwrap() }));

    let stream = loop {
        match UnixStream::connect(&path).await {
            Ok(stream) => break stream,
            Err(_) => tokio::task::yield_now().await,
        }
    };
    let response = get_and_close(stream, "/v1alpha1/discovery").await.unwrap();
    assert!(response.contains(r#""name":"nothing""#), "{response}");
    stop.send(()).unwrap();
    server.await.unwrap().unwrap();
}

/// Other nodes send calls until they know that the pod is terminating.
#[tokio::test]
async fn a_new_call_after_the_shutdown_is_served_until_the_drain_ends() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("plugin.sock");
    let mut config = Config::new(Endpoint::Socket(path.clone()));
    config.drain = Duration::from_mins(1);
    let (stop, stopped) = oneshot::channel();
    let server = tokio::spawn(run_until(Nothing, config, async { stopped.await.unwrap() }));
    let mut kept = loop {
        match UnixStream::connect(&path).await {
            Ok(stream) => break stream,
            Err(_) => tokio::task::yield_now().await,
        }
    };
    get_and_keep(&mut kept, HEALTHZ, "ok").await.unwrap();
    stop.send(()).unwrap();

    // The idle connection is closed after its next response, so that the next call goes to another pod.
    while get_and_keep(&mut kept, HEALTHZ, "ok").await.is_ok() {
        tokio::task::yield_now().await;
    }
    let late = UnixStream::connect(&path).await.unwrap();
    assert!(get_and_close(late, "/v1alpha1/discovery").await.unwrap().contains(r#""name":"nothing""#));
    assert!(!server.is_finished());

    // Only the timer of the drain is pending, and the paused clock advances to it.
    tokio::time::pause();
    server.await.unwrap().unwrap();
}

#[tokio::test]
async fn a_plugin_that_waits_for_its_certificate_can_be_stopped() {
    let dir = tempfile::tempdir().unwrap();
    let mut config = Config::new(Endpoint::Tls { dir: dir.path().to_owned(), port: 0 });
    config.health_port = None;
    run_until(Nothing, config, async {}).await.unwrap();
}

#[tokio::test]
async fn a_port_that_is_taken_ends_the_plugin_with_one_sentence() {
    let taken = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let port = taken.local_addr().unwrap().port();
    let config = Config::new(Endpoint::Insecure { port });
    let error = run_until(Nothing, config, std::future::pending()).await.unwrap_err().to_string();
    let sentence = format!("failed to listen on port {port}: ");
    assert!(error.starts_with(&sentence), "{error}");
}

/// A pod without a certificate must not receive calls from the Service, and the kubelet must not restart it.
#[tokio::test]
async fn a_pod_without_a_certificate_is_alive_but_not_ready() {
    let phase = Arc::new(Phase::default());
    let status = async |path: &str| {
        let request = Request::get(path).body(Body::empty()).unwrap();
        let Ok(response) =
            probes(Probed { phase: Arc::clone(&phase), metrics: Metrics::default() }).oneshot(request).await;
        response.status().as_u16()
    };
    assert_eq!((status(HEALTHZ).await, status(READYZ).await), (200, 503));
    phase.listening.store(true, Ordering::Relaxed);
    assert_eq!((status(HEALTHZ).await, status(READYZ).await), (200, 200));
    phase.draining.store(true, Ordering::Relaxed);
    assert_eq!((status(HEALTHZ).await, status(READYZ).await), (200, 503), "a pod that is shut down");
}

#[tokio::test]
async fn the_metrics_are_served_on_the_port_of_the_probes() {
    let metrics = Metrics::default();
    let probed = Probed { phase: Arc::default(), metrics };
    let request = Request::get("/metrics").body(Body::empty()).unwrap();
    let Ok(response) = probes(probed).oneshot(request).await;
    assert_eq!(response.headers()["content-type"], "application/openmetrics-text; version=1.0.0; charset=utf-8");
    let body = axum::body::to_bytes(response.into_body(), 1 << 20).await.unwrap();
    assert!(String::from_utf8_lossy(&body).ends_with("# EOF\n"));
}
