//! A conforming plugin passes all checks. For each check, there is a plugin that fails it.
#![expect(clippy::unwrap_used, reason = "a test should panic where it fails")]

mod credentials;
mod defects;
mod plugins;
mod subjects;
mod table;

use std::net::TcpListener;

use axum::Router;
use dask_plugin_sanity::{args::Args, report::Report, run};
use dask_plugin_server::{
    router,
    serve::{HttpService, Listener, serve},
};
use tempfile::TempDir;

use plugins::{Good, good};

/// The checks that are skipped without credentials.
const CREDENTIALS: [&str; 3] = ["missing-credentials", "forged-credentials", "credentials-kept"];

async fn listen(router: impl HttpService) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let endpoint = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(serve(Listener::tcp(listener).unwrap(), router, std::future::pending()));
    endpoint
}

/// Returns arguments for a plugin that may create ConfigMaps and has one setting.
fn mk_args(endpoint: String, dir: &TempDir) -> Args {
    let plugin = dir.path().join("plugin.yaml");
    let manifest = "
apiVersion: kubernetes.dask.org/v1alpha1
kind: DaskOperatorPlugin
metadata: {name: greeting, namespace: plugins}
spec:
  children: [{apiVersion: v1, kind: ConfigMap}]
  settings: {greeting: hello}
";
    std::fs::write(&plugin, manifest).unwrap();
    Args { endpoint, plugin: Some(plugin), timeout: 10, ..Args::default() }
}

async fn check(router: impl HttpService, dir: &TempDir) -> Report {
    run(&mk_args(listen(router).await, dir)).await.unwrap()
}

#[tokio::test]
async fn a_conforming_plugin_passes_over_http_below_a_path_and_over_a_socket() {
    let dir = tempfile::tempdir().unwrap();
    let socket = dir.path().join("good.sock");
    tokio::spawn(serve(Listener::unix(&socket).unwrap(), router(Good), std::future::pending()));
    let below = format!("{}/base/", listen(Router::new().nest("/base", good())).await);
    for endpoint in [listen(router(Good)).await, below, format!("unix:{}", socket.display())] {
        let report = run(&mk_args(endpoint, &dir)).await.unwrap();
        assert!(report.passed() && report.warned().is_empty(), "{}", report.text());
        assert_eq!(report.skipped(), CREDENTIALS, "{}", report.text());
    }
}
