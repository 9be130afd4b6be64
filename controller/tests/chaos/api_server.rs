//! Restarts of the API server, and a client that survives them.

use std::{
    net::Ipv4Addr,
    path::Path,
    process::Stdio,
    time::{Duration, Instant},
};

use http::{Request, Response};
use kube::{Client, Config, client::Body};
use serde_json::Value;
use tokio::{net::TcpListener, process::Command, sync::RwLock};

/// How long the API server may be unavailable: on a busy machine it has taken more than a minute to start.
const MAX_WAIT: Duration = Duration::from_mins(5);
const POLL: Duration = Duration::from_millis(200);

/// Locked for writing during a restart of the API server, and for reading by steps that a restart would break.
pub(crate) static RESTART: RwLock<()> = RwLock::const_new(());

/// Returns a client that retries when the API server does not answer, because the steps of a run must not fail with it.
pub(crate) async fn patient_client() -> Client {
    let config = Config::infer().await.expect("there is a cluster: see `make chaos`");
    let namespace = config.default_namespace.clone();
    let client = Client::try_from(config).unwrap();
    let service = tower::service_fn(move |request: Request<Body>| {
        let client = client.clone();
        async move { send(&client, request).await }
    });
    Client::new(service, namespace)
}

async fn send(client: &Client, request: Request<Body>) -> Result<Response<Body>, kube::Error> {
    let (head, body) = request.into_parts();
    let body = body.collect_bytes().await?;
    let begin = Instant::now();
    loop {
        let mut copy = Request::new(Body::from(body.clone()));
        *copy.method_mut() = head.method.clone();
        *copy.uri_mut() = head.uri.clone();
        *copy.headers_mut() = head.headers.clone();
        match answer(client, copy).await {
            Ok(response) if !response.status().is_server_error() => return Ok(response),
            last if begin.elapsed() > MAX_WAIT => return last,
            _ => tokio::time::sleep(POLL).await,
        }
    }
}

/// Reads the whole response, since an API server that is killed may stop in the middle. Responses to watches are streamed.
async fn answer(client: &Client, request: Request<Body>) -> Result<Response<Body>, kube::Error> {
    let is_watch = request.uri().query().is_some_and(|query| query.contains("watch=true"));
    let response = client.send(request).await?;
    if is_watch {
        return Ok(response);
    }
    let (head, body) = response.into_parts();
    Ok(Response::from_parts(head, Body::from(body.collect_bytes().await?)))
}

/// Kills the API server of the testbed in `dir` and restarts it.
pub(crate) async fn restart(dir: &Path) {
    let _exclusive = RESTART.write().await;
    let port = Config::infer().await.unwrap().cluster_url.port_u16().unwrap();
    let record = std::fs::read_to_string(dir.join("process/kube-apiserver.json")).unwrap();
    let record: Value = serde_json::from_str(&record).unwrap();
    let killed = Command::new("kill").args(["-9", &record["pid"].to_string()]).status().await.unwrap();
    assert!(killed.success(), "the API server runs");
    until_free(port).await;
    let up = Command::new("testbed")
        .args(["up", "--control-plane-only", "--dir"])
        .arg(dir)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .await
        .unwrap();
    assert!(up.success(), "the API server is back");
}

/// Waits until the port is free. A killed process may hold it for a moment, and `testbed up` would then choose another port.
async fn until_free(port: u16) {
    let free = async {
        while TcpListener::bind((Ipv4Addr::LOCALHOST, port)).await.is_err() {
            tokio::time::sleep(POLL).await;
        }
    };
    tokio::time::timeout(MAX_WAIT, free).await.expect("the port of a dead process is free");
}
