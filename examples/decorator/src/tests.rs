//! Against real hooks on the loopback interface.

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

/// Settings of a plugin whose children are Ingresses and ConfigMaps.
fn settings() -> Value {
    from_yaml("attachments: [{apiVersion: networking.k8s.io/v1, kind: Ingress}, {apiVersion: v1, kind: ConfigMap}]")
}

async fn listener() -> TcpListener {
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap()
}

/// The plugin with a hook that always answers so, for both hooks.
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
async fn attachments_are_children_with_keys_of_kind_and_name() {
    let attachments = json!([config_map("a"), config_map("b.c")]);
    let children = answer_to(Json(json!({"attachments": attachments}))).await.children.unwrap();
    let manifests: Vec<_> = children.iter().map(|child| child.manifest.clone()).collect();
    assert_eq!(Value::from(manifests), attachments);
    assert_eq!(children[0].key, "configmap-a");
    assert!(children[1].key.starts_with("configmap-b-c-"));
}

#[tokio::test]
async fn an_answer_without_wishes_deletes_all_as_it_does_with_metacontroller() {
    for answer in [json!({}), json!({"attachments": []}), json!({"attachments": null, "status": null, "labels": {}})] {
        let response = answer_to(Json(answer)).await;
        assert_eq!((response.children, response.warnings), (Some(vec![]), vec![]));
    }
}

#[tokio::test]
async fn what_the_hook_wants_on_the_subject_is_a_warning() {
    let wishes = json!({"labels": {"a": "b"}, "annotations": {"c": null}, "status": {"d": 1}, "attachments": []});
    let warning = "the hook sets labels and annotations and status of the Service demo-scheduler, \
                   which is left as it is: plugins write children only";
    assert_eq!(answer_to(Json(wishes)).await.warnings, [warning]);
}

#[tokio::test]
async fn seconds_until_the_next_call_are_rounded_up() {
    for (seconds, expected) in [(0.2, 1), (30.0, 30), (0.0, 0), (-5.0, 0), (1e12, u32::MAX)] {
        let response = answer_to(Json(json!({"attachments": [], "resyncAfterSeconds": seconds}))).await;
        assert_eq!(response.resync_after_seconds, expected);
    }
}

#[tokio::test]
async fn an_answer_that_is_none_leaves_children_as_they_are() {
    let no_name = json!({"apiVersion": "v1", "kind": "ConfigMap"});
    let mut elsewhere = config_map("a");
    elsewhere["metadata"]["namespace"] = json!("team-b");
    for (answer, message) in [
        (json!([]), "the hook's answer is not that of a DecoratorController: "),
        (json!({"attachments": {}}), "the hook's answer is not that of a DecoratorController: "),
        (json!({"error": "x"}), "the hook's answer has no attachments; answer with [] if there are to be none"),
        (json!({"attachments": [no_name]}), "the hook answered with an attachment without metadata.name; give it one"),
        (json!({"attachments": ["a"]}), "the hook answered with an attachment without apiVersion; give it one"),
        (
            json!({"attachments": [config_map("a"), config_map("a")]}),
            "the hook answered with ConfigMap a twice; leave one out",
        ),
        (
            json!({"attachments": [elsewhere]}),
            "the hook put ConfigMap a into another namespace; children live in that of the Dask resource",
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
        assert_eq!(response.message, format!("the hook answered with {status}; its log says why"));
    }
}

/// Else a hook could make the plugin call whatever it can reach.
#[tokio::test]
async fn a_redirection_is_not_followed() {
    let target = plugin_target().await;
    let response = answer_to(Redirect::temporary(&target)).await;
    assert_eq!((response.status, response.reason.as_str()), (ResponseStatus::Failure, "HookFailed"));
    assert!(response.message.contains("307 Temporary Redirect"), "{}", response.message);
}

/// The address of a hook that would answer well.
async fn plugin_target() -> String {
    let listener = listener().await;
    let url = format!("http://{}/sync", listener.local_addr().unwrap());
    let router = Router::new().route("/sync", post(|| async { Json(json!({"attachments": []})) }));
    tokio::spawn(async move { axum::serve(listener, router).await });
    url
}

#[tokio::test]
async fn an_answer_beyond_all_measure_is_refused() {
    let response = answer_to("a".repeat(MAX_RESPONSE_BYTES + 1)).await;
    assert_eq!((response.status, response.reason.as_str()), (ResponseStatus::Failure, "AnswerTooLarge"));
}

#[tokio::test]
async fn a_hook_that_is_not_there_or_hangs_up_is_asked_again() {
    let gone = listener().await;
    let nobody = format!("http://{}/sync", gone.local_addr().unwrap());
    drop(gone);
    let rude = listener().await;
    let hangs_up = format!("http://{}/sync", rude.local_addr().unwrap());
    tokio::spawn(async move { while rude.accept().await.is_ok() {} });
    for (url, message) in [
        (nobody, "the hook cannot be reached; see whether it runs, and where HOOK_URL leads"),
        (hangs_up, "the hook broke off its answer; its log may say why"),
    ] {
        let plugin = TestPlugin::new(DecoratorPlugin::new(&url, None).unwrap());
        let response = plugin.sync(RequestBuilder::sync().settings(settings())).await;
        assert_eq!((response.status, response.message.as_str()), (ResponseStatus::Pending, message));
    }
}

#[tokio::test]
async fn a_hook_that_does_not_answer_in_time_is_asked_again() {
    let silent = listener().await;
    let url = format!("http://{}/sync", silent.local_addr().unwrap());
    let hook = WebHook::with_timeout(&url, Duration::from_millis(1)).unwrap();
    let error = hook.call(&json!({})).await.unwrap_err();
    assert!(error.is_pending());
    assert_eq!(error.message(), "the hook did not answer in time; its log may say why");
}

#[test]
fn only_plain_http_addresses_are_taken_from_the_environment() {
    for url in ["https://a/sync", "file:///etc/passwd", "127.0.0.1:8000", "sync", ""] {
        let problem = DecoratorPlugin::new(url, None).err().unwrap();
        assert_eq!(problem, format!("HOOK_URL is {url:?}; give it an address such as http://127.0.0.1:8000/sync"));
        let problem = DecoratorPlugin::new(DEFAULT_URL, Some(url)).err().unwrap();
        assert!(problem.starts_with("FINALIZE_URL is "), "{problem}");
    }
}

#[tokio::test]
async fn settings_cannot_name_an_address() {
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
fn the_hook_finalize_is_served_only_if_it_has_an_address() {
    let hooks = |finalize| DecoratorPlugin::new(DEFAULT_URL, finalize).unwrap().discovery().hooks;
    assert_eq!(hooks(None), [Hook::Sync]);
    assert_eq!(hooks(Some(DEFAULT_URL)), [Hook::Sync, Hook::Finalize]);
}
