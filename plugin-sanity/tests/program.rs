//! The program: its output and its exit codes.
#![expect(clippy::unwrap_used, reason = "a test should panic where it fails")]

use std::net::TcpListener;
use std::process::{Command, Output};

use axum::{Router, http::StatusCode, routing::get};
use dask_plugin_server::{
    Answer, Plugin, PluginError,
    protocol::{Discovery, PluginRequest},
    router,
    serve::{HttpService, Listener, serve},
};

struct Nothing;

impl Plugin for Nothing {
    fn discovery(&self) -> Discovery {
        Discovery::new("nothing", "1.0.0")
    }

    async fn sync(&self, _: &PluginRequest) -> Result<Answer, PluginError> {
        Ok(Answer::none())
    }
}

async fn sanity(router: Option<impl HttpService>, arguments: &[&str]) -> Output {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let endpoint = format!("http://{}", listener.local_addr().unwrap());
    match router {
        Some(router) => drop(tokio::spawn(serve(Listener::tcp(listener).unwrap(), router, std::future::pending()))),
        None => drop(listener),
    }
    let mut command = Command::new(env!("CARGO_BIN_EXE_dask-plugin-sanity"));
    command.arg(endpoint).args(arguments);
    tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[tokio::test]
async fn a_conforming_plugin_exits_with_0_and_has_a_line_for_each_check_and_a_junit_report() {
    let dir = tempfile::tempdir().unwrap();
    let junit = dir.path().join("junit.xml");
    let output = sanity(Some(router(Nothing)), &["--junit", junit.to_str().unwrap()]).await;
    let printed = text(&output.stdout);
    assert_eq!(output.status.code(), Some(0), "{printed}");
    assert!(printed.contains("ok       uid-echo\n") && printed.contains(" 0 failed, "), "{printed}");
    let xml = std::fs::read_to_string(junit).unwrap();
    assert!(xml.contains(r#"<testcase name="uid-echo""#) && xml.contains(r#"failures="0""#), "{xml}");
    assert!(xml.contains("<skipped"), "{xml}");
}

#[tokio::test]
async fn a_broken_plugin_exits_with_1_and_a_report_of_the_failures() {
    let dir = tempfile::tempdir().unwrap();
    let junit = dir.path().join("junit.xml");
    let teapot = Router::new().fallback(get(|| async { StatusCode::IM_A_TEAPOT }));
    let arguments = ["--only", "discovery", "--junit", junit.to_str().unwrap()];
    let output = sanity(Some(teapot.clone()), &arguments).await;
    let printed = text(&output.stdout);
    assert_eq!(output.status.code(), Some(1), "{printed}");
    for part in ["FAILED   discovery", "sent      GET /v1alpha1/discovery", "expected  200", "got       418"] {
        assert!(printed.contains(part), "{part} is not in\n{printed}");
    }
    assert!(std::fs::read_to_string(junit).unwrap().contains(r#"failures="1""#));
    let output = sanity(Some(teapot), &["--only", "discovery", "--json"]).await;
    let report: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(report["checks"][0]["status"], "failed");
}

#[tokio::test]
async fn a_plugin_that_cannot_be_checked_exits_with_2_and_one_sentence() {
    for (plugin, arguments, sentence) in [
        (None, vec![], "cannot be reached: no response: "),
        (Some(router(Nothing)), vec!["--only", "nonsense"], "there is no check nonsense"),
        (Some(router(Nothing)), vec!["--plugin", "/nonexistent"], "failed to read /nonexistent"),
    ] {
        let output = sanity(plugin, &arguments).await;
        let printed = text(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{printed}");
        assert!(printed.contains(sentence) && printed.lines().count() == 1, "{printed}");
    }
}

#[tokio::test]
async fn all_checks_can_be_listed() {
    let output = Command::new(env!("CARGO_BIN_EXE_dask-plugin-sanity")).arg("--list").output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    assert_eq!(text(&output.stdout).lines().count(), dask_plugin_sanity::CHECKS.len());
}
