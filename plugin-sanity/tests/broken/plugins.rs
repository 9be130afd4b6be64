//! A conforming plugin, and a proxy in front of it that adds a defect.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
};

use axum::{
    Router,
    body::{Body, to_bytes},
    extract::{self, Request},
    http::header::CONTENT_TYPE,
    response::Response,
};
use dask_plugin_server::{
    Answer, Plugin, PluginError,
    protocol::{Child, Discovery, Hook, PluginRequest},
    router, settings,
};
use serde::Deserialize;
use serde_json::{Value, json};
use tower::ServiceExt as _;

use crate::defects::{Defect, spoil};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Settings {
    #[serde(default)]
    greeting: String,
}

pub(crate) struct Good;

impl Plugin for Good {
    fn discovery(&self) -> Discovery {
        Discovery::new("good", "1.0.0").hook(Hook::Finalize)
    }

    async fn sync(&self, request: &PluginRequest) -> Result<Answer, PluginError> {
        let Settings { greeting } = settings(request)?;
        let data = json!({"greeting": format!("{greeting} {}", request.owner.name())});
        let map = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "greeting"}, "data": data});
        Ok(Child::new("map", map).into())
    }

    async fn finalize(&self, _: &PluginRequest) -> Result<(), PluginError> {
        Ok(())
    }
}

/// The state that a broken plugin keeps between calls.
#[derive(Default)]
pub(crate) struct State {
    pub(crate) calls: AtomicUsize,
    pub(crate) finalized: AtomicUsize,
    running: AtomicUsize,
    dead: AtomicUsize,
    latest_uid: Mutex<Value>,
    answers: Mutex<HashMap<String, Value>>,
}

#[derive(Clone)]
struct Broken {
    defect: Defect,
    good: Router,
    state: Arc<State>,
}

/// The routes of a plugin without defects.
pub(crate) fn good() -> Router {
    Router::new().fallback_service(router(Good))
}

pub(crate) fn broken(defect: Defect) -> Router {
    let broken = Broken { defect, good: good(), state: Arc::default() };
    Router::new().fallback(misbehave).with_state(broken)
}

pub(crate) fn reply(code: u16, body: impl Into<Body>) -> Response {
    Response::builder().status(code).header(CONTENT_TYPE, "application/json").body(body.into()).unwrap()
}

async fn misbehave(extract::State(broken): extract::State<Broken>, mut request: Request) -> Response {
    let Broken { defect, good, state } = broken;
    if defect == Defect::AnyContentType {
        request.headers_mut().insert(CONTENT_TYPE, "application/json".parse().unwrap());
    }
    let (parts, body) = request.into_parts();
    let body = to_bytes(body, usize::MAX).await.unwrap();
    let sent: Value = serde_json::from_slice(&body).unwrap_or_default();
    if defect == Defect::Late && parts.uri.path() == "/v1alpha1/sync" {
        std::future::pending::<()>().await;
    }
    let content_type = parts.headers.get(CONTENT_TYPE).map(|value| value.to_str().unwrap().to_owned());
    let method_and_path = format!("{} {}", parts.method, parts.uri.path());
    let call = Call { path: &method_and_path, content_type: content_type.as_deref(), body: &body, sent: &sent };
    if let Some(answer) = instead(defect, &state, &call) {
        return answer;
    }
    *state.latest_uid.lock().unwrap() = sent["request"]["uid"].clone();
    let running = state.running.fetch_add(1, Ordering::SeqCst);
    let passed = good.oneshot(Request::from_parts(parts, Body::from(body))).await.unwrap();
    // Lets concurrent requests arrive.
    for _ in 0..100 {
        tokio::task::yield_now().await;
    }
    state.running.fetch_sub(1, Ordering::SeqCst);
    if defect == Defect::OneAtATime && running > 0 {
        return reply(500, "busy");
    }
    let code = passed.status().as_u16();
    let bytes = to_bytes(passed.into_body(), usize::MAX).await.unwrap();
    let Ok(mut answer) = serde_json::from_slice::<Value>(&bytes) else { return reply(code, bytes) };
    if defect == Defect::FailsWith500 && answer["response"]["status"] == "Failure" {
        return reply(500, answer.to_string());
    }
    if code == 200 {
        spoil(defect, &state, &sent, &mut answer);
        remember(defect, &state, &sent, &mut answer);
    }
    reply(code, answer.to_string())
}

/// Adds defects that depend on other requests.
fn remember(defect: Defect, state: &State, sent: &Value, answer: &mut Value) {
    let uid = sent["request"]["uid"].as_str().unwrap_or_default().to_owned();
    match defect {
        Defect::MixesUp if sent["request"]["hook"] == "Sync" => {
            answer["response"]["uid"] = state.latest_uid.lock().unwrap().clone();
        }
        Defect::KeepsAndFlips if sent["request"]["hook"] == "Sync" => {
            *answer = state.answers.lock().unwrap().entry(uid).or_insert_with(|| answer.clone()).clone();
        }
        _ => {}
    }
}

/// A call of the plugin.
struct Call<'a> {
    /// Method and path.
    path: &'a str,
    content_type: Option<&'a str>,
    body: &'a [u8],
    /// The body as JSON, or null.
    sent: &'a Value,
}

/// Returns the response for defects that replace the conforming plugin.
fn instead(defect: Defect, state: &State, call: &Call<'_>) -> Option<Response> {
    let Call { path: call, content_type, body, sent } = *call;
    let is_sync = call.ends_with(" /v1alpha1/sync");
    let is_bad = sent["request"]["hook"] != "Sync" || sent["request"]["subject"]["object"].is_null();
    let (is_large, is_deep) = (body.len() > 5_000_000, body.ends_with(b"]]}"));
    let anything = |wanted: bool| wanted.then(|| reply(200, "{}"));
    let dies = |fatal: bool, hit: bool| {
        state.dead.fetch_add(usize::from(fatal), Ordering::SeqCst);
        (hit && state.dead.load(Ordering::SeqCst) > 0).then(|| reply(500, "dead"))
    };
    match defect {
        Defect::Html if is_sync => Some(reply(200, "<html>")),
        Defect::Redirects if is_sync => {
            Some(Response::builder().status(308).header("location", "/v1alpha1/sync/").body(Body::empty()).unwrap())
        }
        Defect::GatewayLate if is_sync => Some(reply(504, "{}")),
        Defect::HugeAnswers if is_sync => Some(reply(200, "x".repeat(2 * 1024 * 1024 + 1))),
        Defect::HugeErrors if call.ends_with("no-such-path") => Some(reply(404, "x".repeat(2 * 1024 * 1024 + 1))),
        Defect::BadInputIs(code) if is_sync && is_bad => Some(reply(code, "{}")),
        Defect::AnyVersion if sent["apiVersion"] == "plugin.kubernetes.dask.org/v9" => anything(true),
        Defect::AnyPath => anything(call.ends_with("no-such-path")),
        Defect::AnyVersionOfPath => anything(call.ends_with("/v9/sync")),
        Defect::PostedDiscovery => anything(call == "POST /v1alpha1/discovery"),
        Defect::NoCharset if content_type.is_some_and(|given| given.contains(';')) => Some(reply(415, "{}")),
        Defect::StrictInput if body.windows(6).any(|part| part == b"Future") => Some(reply(422, "{}")),
        Defect::NoRepetition if sent["request"]["attempt"] == 2 => Some(reply(409, "{}")),
        Defect::ReadsAll => anything(is_large),
        Defect::DiesOfSize => dies(is_large, true),
        Defect::DiesOfDepth => dies(is_deep, true),
        Defect::HalfDiesOfDepth => dies(is_deep, is_sync && !is_deep),
        Defect::FinalizeNotServed if call.ends_with("/finalize") => Some(reply(404, "{}")),
        _ => None,
    }
}
