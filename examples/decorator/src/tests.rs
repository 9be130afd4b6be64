//! Calls of HTTP hooks on the loopback interface.

mod real_hook;

use std::net::Ipv4Addr;
use std::time::Duration;

use axum::http::StatusCode;
use axum::response::{IntoResponse, Redirect};
use axum::routing::post;
use axum::{Json, Router};
use dask_plugin_server::protocol::limits::MAX_RESPONSE_BYTES;
use dask_plugin_server::protocol::{PluginResponse, ResponseStatus};
use dask_plugin_server::testing::{RequestBuilder, TestPlugin};
use serde_json::{Value, json};
use tokio::net::TcpListener;

use super::*;

fn from_yaml(text: &str) -> Value {
    serde_saphyr::from_str(text).unwrap()
}

/// Returns settings for Ingresses and ConfigMaps.
fn settings() -> Value {
    from_yaml("attachments: [{apiVersion: networking.k8s.io/v1, kind: Ingress}, {apiVersion: v1, kind: ConfigMap}]")
}

async fn listener() -> TcpListener {
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap()
}

/// Returns the plugin with a hook that always returns `answer`, for Sync and for Finalize.
async fn plugin_with<H: IntoResponse + Clone + Send + Sync + 'static>(answer: H) -> TestPlugin {
    let listener = listener().await;
    let url = format!("http://{}/sync", listener.local_addr().unwrap());
    let router = Router::new().route("/sync", post(move || async move { answer.clone() }));
    tokio::spawn(async move { axum::serve(listener, router).await });
    TestPlugin::new(DecoratorPlugin::new(&url, Some(&url)).unwrap())
}

async fn answer_to<H: IntoResponse + Clone + Send + Sync + 'static>(answer: H) -> PluginResponse {
    plugin_with(answer).await.sync(RequestBuilder::sync().settings(settings())).await
}

fn config_map(name: &str) -> Value {
    json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}})
}

#[tokio::test]
async fn attachments_become_children_whose_keys_are_kind_and_name() {
    let attachments = json!([config_map("a"), config_map("b.c")]);
    let children = answer_to(Json(json!({"attachments": attachments}))).await.children.unwrap();
    let manifests: Vec<_> = children.iter().map(|child| child.manifest.clone()).collect();
    assert_eq!(Value::from(manifests), attachments);
    assert_eq!(children[0].key, "configmap-a");
    assert!(children[1].key.starts_with("configmap-b-c-"));
}

#[tokio::test]
async fn a_response_without_attachments_deletes_all_children_as_in_metacontroller() {
    for answer in [json!({}), json!({"attachments": []}), json!({"attachments": null, "status": null, "labels": {}})] {
        let response = answer_to(Json(answer)).await;
        assert_eq!((response.children, response.warnings), (Some(vec![]), vec![]));
    }
}

#[tokio::test]
async fn fields_that_the_hook_sets_on_the_subject_are_a_warning() {
    let fields = json!({"labels": {"a": "b"}, "annotations": {"c": null}, "status": {"d": 1}, "attachments": []});
    let warning = "the hook sets labels and annotations and status of the Service demo-scheduler, \
                   which is left as it is: plugins write children only";
    assert_eq!(answer_to(Json(fields)).await.warnings, [warning]);
}

#[tokio::test]
async fn seconds_until_the_next_call_are_rounded_up() {
    for (seconds, expected) in [(0.2, 1), (30.0, 30), (0.0, 0), (-5.0, 0), (1e12, u32::MAX)] {
        let response = answer_to(Json(json!({"attachments": [], "resyncAfterSeconds": seconds}))).await;
        assert_eq!(response.resync_after_seconds, expected);
    }
}

#[tokio::test]
async fn an_invalid_response_keeps_the_children() {
    let no_name = json!({"apiVersion": "v1", "kind": "ConfigMap"});
    let mut elsewhere = config_map("a");
    elsewhere["metadata"]["namespace"] = json!("team-b");
    for (answer, message) in [
        (json!([]), "the response of the hook is not that of a DecoratorController: "),
        (json!({"attachments": {}}), "the response of the hook is not that of a DecoratorController: "),
        (json!({"error": "x"}), "the response of the hook has no attachments; return [] for no attachments"),
        (json!({"attachments": [no_name]}), "the hook returned an attachment without metadata.name; set it"),
        (json!({"attachments": ["a"]}), "the hook returned an attachment without apiVersion; set it"),
        (json!({"attachments": [config_map("a"), config_map("a")]}), "the hook returned ConfigMap a twice; remove one"),
        (
            json!({"attachments": [elsewhere]}),
            "the hook set another namespace for ConfigMap a; children are in the namespace of the Dask resource",
        ),
    ] {
        let response = answer_to(Json(answer)).await;
        assert_eq!((response.status, response.children), (ResponseStatus::Failure, None));
        assert_eq!(response.reason, "InvalidAnswer");
        assert!(response.message.starts_with(message), "{}", response.message);
    }
}

#[tokio::test]
async fn a_hook_that_fails_is_asked_again_where_that_may_help() {
    for (status, expected) in [
        (StatusCode::INTERNAL_SERVER_ERROR, ResponseStatus::Pending),
        (StatusCode::TOO_MANY_REQUESTS, ResponseStatus::Pending),
        (StatusCode::NOT_FOUND, ResponseStatus::Failure),
        (StatusCode::NO_CONTENT, ResponseStatus::Failure),
    ] {
        let response = answer_to(status).await;
        assert_eq!((response.status, response.children), (expected, None), "{status}");
        assert_eq!(response.message, format!("the hook returned {status}; see its log"));
    }
}

/// Otherwise a hook could make the plugin call any server that it can reach.
#[tokio::test]
async fn a_redirection_is_not_followed() {
    let target = plugin_target().await;
    let response = answer_to(Redirect::temporary(&target)).await;
    assert_eq!((response.status, response.reason.as_str()), (ResponseStatus::Failure, "HookFailed"));
    assert!(response.message.contains("307 Temporary Redirect"), "{}", response.message);
}

/// Returns the URL of a hook with a valid response.
async fn plugin_target() -> String {
    let listener = listener().await;
    let url = format!("http://{}/sync", listener.local_addr().unwrap());
    let router = Router::new().route("/sync", post(|| async { Json(json!({"attachments": []})) }));
    tokio::spawn(async move { axum::serve(listener, router).await });
    url
}

#[tokio::test]
async fn a_response_that_is_too_large_is_refused() {
    let response = answer_to("a".repeat(MAX_RESPONSE_BYTES + 1)).await;
    assert_eq!((response.status, response.reason.as_str()), (ResponseStatus::Failure, "AnswerTooLarge"));
}

#[tokio::test]
async fn a_hook_that_cannot_be_reached_or_closes_the_connection_is_retried() {
    let unused = listener().await;
    let unreachable = format!("http://{}/sync", unused.local_addr().unwrap());
    drop(unused);
    let closing = listener().await;
    let url_of_closing = format!("http://{}/sync", closing.local_addr().unwrap());
    tokio::spawn(async move { while closing.accept().await.is_ok() {} });
    for (url, message) in [
        (unreachable, "the hook cannot be reached; check that it runs, and check HOOK_URL"),
        (url_of_closing, "the hook closed the connection during its response; see its log"),
    ] {
        let plugin = TestPlugin::new(DecoratorPlugin::new(&url, None).unwrap());
        let response = plugin.sync(RequestBuilder::sync().settings(settings())).await;
        assert_eq!((response.status, response.message.as_str()), (ResponseStatus::Pending, message));
    }
}

#[tokio::test]
async fn a_hook_that_does_not_respond_in_time_is_retried() {
    let silent = listener().await;
    let url = format!("http://{}/sync", silent.local_addr().unwrap());
    let hook = WebHook::with_timeout(&url, Duration::from_millis(1)).unwrap();
    let error = hook.call(&json!({})).await.unwrap_err();
    assert!(error.is_pending());
    assert_eq!(error.message(), "the hook did not respond in time; see its log");
}

#[test]
fn only_http_urls_are_accepted_from_the_environment() {
    for url in ["https://a/sync", "file:///etc/passwd", "127.0.0.1:8000", "sync", ""] {
        let problem = DecoratorPlugin::new(url, None).err().unwrap();
        assert_eq!(problem, format!("HOOK_URL is {url:?}; set a URL such as http://127.0.0.1:8000/sync"));
        let problem = DecoratorPlugin::new(DEFAULT_URL, Some(url)).err().unwrap();
        assert!(problem.starts_with("FINALIZE_URL is "), "{problem}");
    }
}

#[tokio::test]
async fn settings_cannot_contain_a_url() {
    let plugin = plugin_with(Json(json!({"attachments": []}))).await;
    for (settings, message) in [
        ("{}", "spec.settings: missing field `attachments`"),
        ("{attachments: [], url: http://a}", "spec.settings.url: unknown field `url`"),
        ("{attachments: [{kind: Ingress}]}", "spec.settings.attachments[0]: missing field `apiVersion`"),
    ] {
        let response = plugin.sync(RequestBuilder::sync().settings(from_yaml(settings))).await;
        assert_eq!(response.reason, "InvalidSettings");
        assert!(response.message.starts_with(message), "{}", response.message);
    }
}

#[tokio::test]
async fn finalize_waits_for_the_hook() {
    let plugin = plugin_with(Json(json!({"finalized": false, "resyncAfterSeconds": 7}))).await;
    let response = plugin.finalize(RequestBuilder::finalize().settings(settings())).await;
    assert_eq!((response.status, response.finalized), (ResponseStatus::Pending, false));
    assert_eq!(response.resync_after_seconds, 7);
    let plugin = plugin_with(Json(json!({"finalized": true}))).await;
    assert!(plugin.finalize(RequestBuilder::finalize().settings(settings())).await.finalized);
}

#[test]
fn finalize_is_served_only_if_its_hook_has_a_url() {
    let hooks = |finalize| DecoratorPlugin::new(DEFAULT_URL, finalize).unwrap().discovery().hooks;
    assert_eq!(hooks(None), [Hook::Sync]);
    assert_eq!(hooks(Some(DEFAULT_URL)), [Hook::Sync, Hook::Finalize]);
}
