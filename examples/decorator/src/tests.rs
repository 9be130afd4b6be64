//! Calls of hooks on the loopback interface.

mod calls;
mod cases;
mod https;
mod real_hook;

use std::net::Ipv4Addr;

use axum::http::StatusCode;
use axum::routing::post;
use axum::{Json, Router};
use dask_plugin_server::protocol::{PluginResponse, ResponseStatus};
use dask_plugin_server::testing::{RequestBuilder, TestPlugin};
use serde_json::{Value, json};
use tokio::net::TcpListener;

use super::*;
use crate::authorization::Authorization;

fn from_yaml(text: &str) -> Value {
    serde_saphyr::from_str(text).unwrap()
}

/// Returns settings for Ingresses and ConfigMaps.
fn settings() -> Value {
    from_yaml("attachments: [{apiVersion: networking.k8s.io/v1, kind: Ingress}, {apiVersion: v1, kind: ConfigMap}]")
}

fn request() -> RequestBuilder {
    RequestBuilder::sync().settings(settings())
}

fn config_map(name: &str) -> Value {
    json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}})
}

async fn listener() -> TcpListener {
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap()
}

/// Serves a hook, and returns the URL of its server.
async fn serve_hook(router: Router) -> String {
    let listener = listener().await;
    let url = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(listener, router).await });
    url
}

/// Returns the configuration from these variables.
fn config_from(variables: &[(&str, &str)]) -> Config {
    let lookup = |name: &str| variables.iter().find(|(variable, _)| *variable == name).map(|(_, value)| *value);
    Config::read(|name| lookup(name).map(ToOwned::to_owned)).unwrap()
}

/// Returns the plugin with these variables in its environment.
fn plugin_from(variables: &[(&str, &str)]) -> TestPlugin {
    TestPlugin::new(DecoratorPlugin::new(&config_from(variables)))
}

#[tokio::test]
async fn attachments_become_children_whose_keys_are_kind_and_name() {
    let attachments = json!([config_map("a"), config_map("b.c")]);
    let answer = json!({"attachments": attachments});
    let url = serve_hook(Router::new().route("/", post(|| async { Json(answer) }))).await;
    let children = plugin_from(&[("HOOK_URL", &url)]).sync(request()).await.children.unwrap();
    let manifests: Vec<_> = children.iter().map(|child| child.manifest.clone()).collect();
    assert_eq!(Value::from(manifests), attachments);
    assert_eq!(children[0].key, "configmap-a");
    assert!(children[1].key.starts_with("configmap-b-c-"));
}

#[tokio::test]
async fn seconds_until_the_next_call_are_rounded_up() {
    let hook = |axum::extract::Path(seconds): axum::extract::Path<f64>| async move {
        Json(json!({"attachments": [], "resyncAfterSeconds": seconds}))
    };
    let server = serve_hook(Router::new().route("/{seconds}", post(hook))).await;
    for (seconds, expected) in [("0.2", 1), ("30", 30), ("0", 0), ("-5", 0), ("1e12", u32::MAX)] {
        let response = plugin_from(&[("HOOK_URL", &format!("{server}/{seconds}"))]).sync(request()).await;
        assert_eq!(response.resync_after_seconds, expected);
    }
}

#[tokio::test]
async fn settings_cannot_contain_a_url() {
    let plugin = plugin_from(&[]);
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

#[test]
fn finalize_is_served_only_if_its_hook_has_a_url() {
    let hooks = |variables| DecoratorPlugin::new(&config_from(variables)).discovery().hooks;
    assert_eq!(hooks(&[]), [Hook::Sync]);
    assert_eq!(hooks(&[("FINALIZE_URL", "http://127.0.0.1:8000/sync")]), [Hook::Sync, Hook::Finalize]);
}

#[test]
fn the_patch_for_https_mounts_the_files_that_its_variables_name() {
    let container =
        from_yaml(include_str!("../manifests/https.yaml"))["spec"]["template"]["spec"]["containers"][0].take();
    let env = container["env"].as_array().unwrap();
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let variables: Vec<_> = env.iter().map(|variable| (text(&variable["name"]), text(&variable["value"]))).collect();
    let variables: Vec<_> = variables.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    let config = config_from(&variables);
    assert_eq!((config.sync.scheme(), config.finalize.as_ref()), ("https", Some(&config.sync)));
    let Authorization::Token { file: token, .. } = config.authorization else { panic!("there is a token") };
    let mounts = container["volumeMounts"].as_array().unwrap();
    for file in [config.tls.ca.unwrap(), token] {
        assert!(mounts.iter().any(|mount| file.starts_with(text(&mount["mountPath"]))), "{}", file.display());
    }
}
