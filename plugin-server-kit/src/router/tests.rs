//! The service from the point of view of a caller: responses, and errors with their messages.

use axum::body::{Body, to_bytes};
use dask_plugin_protocol::limits::MAX_REQUEST_BYTES;
use dask_plugin_protocol::{Child, Condition, ConditionStatus, Discovery, Hook, PluginRequest, ReviewRequest};
use http::{Method, Request, Response};
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::time::{Duration, Instant};
use tower::ServiceExt as _;

use super::timeout_in;
use crate::testing::RequestBuilder;
use crate::{Answer, Plugin, PluginError, Router, router, settings};

/// Does what `settings.do` says.
struct Scripted {
    hooks: Vec<Hook>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Script {
    r#do: Action,
}

#[derive(Deserialize)]
enum Action {
    Answer,
    Delete,
    Refuse,
    Wait,
    Panic,
    Hang,
}

impl Plugin for Scripted {
    fn discovery(&self) -> Discovery {
        let mut discovery = Discovery::new("scripted", "1.2.0");
        discovery.hooks.clone_from(&self.hooks);
        discovery
    }

    async fn sync(&self, request: &PluginRequest) -> Result<Answer, PluginError> {
        match settings::<Script>(request)?.r#do {
            Action::Answer => Ok(Answer::from(Child::new("a", json!({"apiVersion": "v1", "kind": "ConfigMap"})))
                .warning("old")
                .resync_after(60)
                .condition(Condition::new("Exposed", ConditionStatus::True, "Done", "all is well"))),
            Action::Delete => Ok(Answer::none()),
            Action::Refuse => Err(PluginError::failure("NoPort", "there is no port")),
            Action::Wait => Err(PluginError::pending("no address yet").resync_after(5)),
            Action::Panic => panic!("at the disco"),
            Action::Hang => std::future::pending().await,
        }
    }

    async fn finalize(&self, request: &PluginRequest) -> Result<(), PluginError> {
        self.sync(request).await.map(|_| ())
    }
}

fn mk_router() -> Router {
    router(Scripted { hooks: vec![Hook::Sync, Hook::Finalize] })
}

fn review(hook: &str, action: &str) -> Value {
    let request = RequestBuilder::sync().settings(json!({"do": action})).build();
    let mut review = json!(ReviewRequest::new(request));
    review["request"]["hook"] = json!(hook);
    review
}

fn post(path: &str, body: impl Into<Body>) -> Request<Body> {
    Request::post(path).header("content-type", "application/json").body(body.into()).unwrap()
}

async fn body_of(response: Response<crate::Body>) -> Value {
    let body = to_bytes(response.into_body().0, usize::MAX).await.unwrap();
    serde_json::from_slice(&body).unwrap()
}

async fn call(router: Router, request: Request<Body>) -> (u16, Value) {
    let response = router.oneshot(request).await.unwrap();
    (response.status().as_u16(), body_of(response).await)
}

async fn answer_to(hook: &str, action: &str) -> (u16, Value) {
    let path = format!("/v1alpha1/{}?timeout=10s", hook.to_lowercase());
    call(mk_router(), post(&path, review(hook, action).to_string())).await
}

fn envelope(response: &Value) -> Value {
    json!({
        "apiVersion": "plugin.kubernetes.dask.org/v1alpha1",
        "kind": "PluginReview",
        "response": response,
    })
}

#[tokio::test]
async fn each_outcome_is_a_review_with_the_uid_of_the_request() {
    for (hook, action, mut response) in [
        (
            "Sync",
            "Answer",
            json!({
                "status": "Success",
                "children": [{"key": "a", "manifest": {"apiVersion": "v1", "kind": "ConfigMap"}}],
                "conditions": [{"type": "Exposed", "status": "True", "reason": "Done", "message": "all is well"}],
                "warnings": ["old"], "resyncAfterSeconds": 60,
            }),
        ),
        ("Sync", "Delete", json!({"status": "Success", "children": []})),
        ("Sync", "Refuse", json!({"status": "Failure", "reason": "NoPort", "message": "there is no port"})),
        ("Sync", "Wait", json!({"status": "Pending", "message": "no address yet", "resyncAfterSeconds": 5})),
        (
            "Sync",
            "Dance",
            json!({
                "status": "Failure", "reason": "InvalidSettings",
                "message": "spec.settings.do: unknown variant `Dance`, expected one of `Answer`, \
                            `Delete`, `Refuse`, `Wait`, `Panic`, `Hang`",
            }),
        ),
        ("Finalize", "Delete", json!({"status": "Success", "children": [], "finalized": true})),
        ("Finalize", "Wait", json!({"status": "Pending", "message": "no address yet", "resyncAfterSeconds": 5})),
    ] {
        let uid = &review(hook, action)["request"]["uid"];
        assert!(uid.as_str().unwrap().starts_with("sha256:"));
        response["uid"] = uid.clone();
        let expected = (200, envelope(&response));
        assert_eq!(answer_to(hook, action).await, expected, "{hook} {action}");
    }
}

#[tokio::test]
async fn discovery_and_health_are_answered() {
    let get = |path: &str| Request::get(path).body(Body::empty()).unwrap();
    let (status, discovery) = call(mk_router(), get("/v1alpha1/discovery")).await;
    assert_eq!(status, 200);
    assert_eq!(discovery["name"], "scripted");
    assert_eq!(discovery["hooks"], json!(["Sync", "Finalize"]));
    let health = mk_router().oneshot(get("/healthz")).await.unwrap();
    assert_eq!(health.status(), 200);
}

/// The controller handles each status differently, and shows the message to the user.
#[tokio::test]
async fn every_mistake_of_a_caller_has_a_status_a_category_and_a_message() {
    let sync = "/v1alpha1/sync";
    let good = review("Sync", "Answer").to_string();
    let edited = |edit: fn(&mut Value)| {
        let mut review = review("Sync", "Answer");
        edit(&mut review);
        post(sync, review.to_string())
    };
    let bare = |method, path: &str| {
        let request = Request::builder().method(method).uri(path);
        request.body(Body::from(good.clone())).unwrap()
    };
    for (request, status, category, part) in [
        (bare(Method::POST, sync), 415, "UnsupportedContentType", "application/json"),
        (post(sync, vec![b' '; MAX_REQUEST_BYTES + 1]), 413, "RequestTooLarge", "4194304 bytes"),
        (post(sync, "{"), 422, "InvalidJson", "EOF"),
        (
            edited(|review| review["apiVersion"] = json!("v9")),
            422,
            "InvalidRequest",
            "apiVersion: unknown variant `v9`",
        ),
        (edited(|review| review["kind"] = json!("Review")), 422, "InvalidRequest", "kind: unknown variant `Review`"),
        (
            edited(|review| review["request"]["subject"] = json!({})),
            422,
            "InvalidRequest",
            "request.subject: missing field `object`",
        ),
        (
            edited(|review| review["request"]["hook"] = json!("Mutate")),
            422,
            "InvalidRequest",
            "request.hook: unknown variant `Mutate`",
        ),
        (
            edited(|review| review["request"]["hook"] = json!("Finalize")),
            422,
            "HookMismatch",
            "request.hook is Finalize, but the path is that of Sync",
        ),
        (post("/v1alpha1/sync?timeout=soon", good.clone()), 422, "InvalidTimeout", "\"soon\""),
        (post("/v1alpha1/mutate", good.clone()), 404, "UnknownPath", "/v1alpha1/mutate"),
        (post("/v2/sync", good.clone()), 404, "UnknownPath", "/v2/sync"),
        (bare(Method::GET, sync), 405, "MethodNotAllowed", "GET"),
        (bare(Method::POST, "/v1alpha1/discovery"), 405, "MethodNotAllowed", "POST"),
    ] {
        let (was, body) = call(mk_router(), request).await;
        assert_eq!((was, &body["error"]), (status, &json!(category)), "{body}");
        assert!(body["message"].as_str().unwrap().contains(part), "{body}");
        assert_eq!(body.as_object().unwrap().len(), 2, "{body}");
    }
}

#[tokio::test]
async fn a_response_to_a_wrong_method_names_the_right_one() {
    let request = Request::get("/v1alpha1/sync").body(Body::empty()).unwrap();
    let response = mk_router().oneshot(request).await.unwrap();
    assert_eq!(response.headers()["allow"], "POST");
}

#[tokio::test]
async fn a_request_of_the_maximum_size_is_read() {
    let mut body = review("Sync", "Answer").to_string().into_bytes();
    body.resize(MAX_REQUEST_BYTES, b' ');
    let (status, _) = call(mk_router(), post("/v1alpha1/sync", body)).await;
    assert_eq!(status, 200);
}

#[tokio::test]
async fn a_field_of_a_newer_controller_is_ignored() {
    let mut review = review("Sync", "Delete");
    review["request"]["somethingNew"] = json!(1);
    let (status, _) = call(mk_router(), post("/v1alpha1/sync", review.to_string())).await;
    assert_eq!(status, 200);
}

#[tokio::test]
async fn a_hook_that_discovery_does_not_list_is_not_served() {
    let router = router(Scripted { hooks: vec![Hook::Sync] });
    let request = post("/v1alpha1/finalize", review("Finalize", "Delete").to_string());
    let (status, body) = call(router, request).await;
    assert_eq!((status, &body["error"]), (404, &json!("HookNotServed")));
}

/// A plugin that lists the hook without implementing it must not report that it has cleaned up.
#[tokio::test]
async fn a_hook_that_is_listed_but_not_implemented_fails() {
    struct Forgetful;
    impl Plugin for Forgetful {
        fn discovery(&self) -> Discovery {
            Discovery::new("forgetful", "1.0.0").hook(Hook::Finalize)
        }
        async fn sync(&self, _: &PluginRequest) -> Result<Answer, PluginError> {
            Ok(Answer::none())
        }
    }
    let request = post("/v1alpha1/finalize", review("Finalize", "Delete").to_string());
    let (status, body) = call(router(Forgetful), request).await;
    assert_eq!(status, 200);
    assert_eq!(body["response"]["status"], "Failure");
    assert_eq!(body["response"]["reason"], "FinalizeNotImplemented");
    assert_eq!(body["response"].get("finalized"), None);
}

#[tokio::test]
async fn a_panic_is_an_error_without_details_and_the_next_call_is_served() {
    let router = mk_router();
    let ask = |action| post("/v1alpha1/sync", review("Sync", action).to_string());
    let (status, body) = call(router.clone(), ask("Panic")).await;
    assert_eq!((status, &body["error"]), (500, &json!("PluginFailed")));
    assert!(!body.to_string().contains("disco"), "{body}");
    assert_eq!(call(router, ask("Answer")).await.0, 200);
}

#[tokio::test(start_paused = true)]
async fn a_call_ends_shortly_before_the_timeout_of_the_caller() {
    for (query, at_most) in [("?timeout=3s", 3), ("", 30), ("?timeout=99s", 30)] {
        let begin = Instant::now();
        let path = format!("/v1alpha1/sync{query}");
        let request = post(&path, review("Sync", "Hang").to_string());
        let answer = tokio::time::timeout(Duration::from_mins(1), call(mk_router(), request));
        let (status, body) = answer.await.expect("there is a deadline");
        assert_eq!((status, &body["error"]), (504, &json!("DeadlineExceeded")));
        let limit =
            format!("the plugin did not answer within {at_most} s; make it faster, or raise spec.timeoutSeconds");
        assert!(body["message"].as_str().unwrap().starts_with(&limit), "{body}");
        let took = begin.elapsed();
        let at_most = Duration::from_secs(at_most);
        assert!(took < at_most && took > at_most * 9 / 10, "{took:?}");
    }
}

#[test]
fn a_timeout_is_whole_seconds_and_never_longer_than_thirty() {
    let seconds = |query| timeout_in(query).unwrap().as_secs();
    assert_eq!(seconds(None), 30);
    assert_eq!(seconds(Some("a=b")), 30);
    assert_eq!(seconds(Some("a=b&timeout=10s")), 10);
    assert_eq!(seconds(Some("timeout=4000s")), 30);
    for wrong in ["timeout=", "timeout=s", "timeout=0s", "timeout=10", "timeout=-1s"] {
        assert!(timeout_in(Some(wrong)).is_err(), "{wrong}");
    }
}

#[tokio::test]
async fn calls_are_counted_by_hook_and_outcome() {
    let metrics = crate::Metrics::default();
    let router = crate::router_with(
        Scripted { hooks: vec![Hook::Sync] },
        crate::credentials::Credentials::none(),
        metrics.clone(),
    );
    for action in ["Answer", "Answer", "Refuse", "Wait", "Panic"] {
        let request = post("/v1alpha1/sync", review("Sync", action).to_string());
        let Ok(_response) = router.clone().oneshot(request).await;
    }
    let Ok(_response) = router.oneshot(post("/v1alpha1/finalize", review("Finalize", "Answer").to_string())).await;
    let text = metrics.encode();
    for (hook, outcome, count) in [
        ("Sync", "Success", 2),
        ("Sync", "Failure", 1),
        ("Sync", "Pending", 1),
        ("Sync", "PluginFailed", 1),
        ("Finalize", "HookNotServed", 1),
    ] {
        let line = format!("dask_plugin_calls_total{{hook=\"{hook}\",outcome=\"{outcome}\"}} {count}\n");
        assert!(text.contains(&line), "{line} is not in\n{text}");
    }
    assert!(text.contains("dask_plugin_call_duration_seconds_count{hook=\"Sync\"} 5\n"), "{text}");
    assert!(text.contains("dask_plugin_calls_in_flight 0\n"), "{text}");
}

/// Applies a JSON merge patch (RFC 7396).
fn merge(target: &mut Value, patch: &Value) {
    let Value::Object(patch) = patch else {
        *target = patch.clone();
        return;
    };
    if !target.is_object() {
        *target = json!({});
    }
    for (name, value) in patch {
        let fields = target.as_object_mut().unwrap();
        if value.is_null() {
            fields.remove(name);
        } else {
            merge(fields.entry(name).or_insert(Value::Null), value);
        }
    }
}

/// The golden request with the changes of `case`.
fn golden_body(case: &Value) -> String {
    if let Some(raw) = case["raw"].as_str() {
        return raw.to_owned();
    }
    if let Some(size) = case["fill"].as_u64() {
        return " ".repeat(usize::try_from(size).unwrap());
    }
    let golden = include_str!("../../../plugin-protocol/tests/golden/sync_request.json");
    let mut review = serde_json::from_str(golden).unwrap();
    merge(&mut review, &case["merge"]);
    review.to_string()
}

/// The responses that all languages have in common.
#[tokio::test]
async fn the_golden_calls_have_the_same_responses_in_every_language() {
    let golden: Value = serde_json::from_str(include_str!("../../../plugin-protocol/tests/golden/http.json")).unwrap();
    for case in golden["cases"].as_array().unwrap() {
        let body = golden_body(case);
        let uid = serde_json::from_str::<Value>(&body).unwrap_or_default()["request"]["uid"].clone();
        let method = case["method"].as_str().unwrap_or("POST");
        let mut request = Request::builder().method(method).uri(case["path"].as_str().unwrap());
        let json = json!({"content-type": "application/json"});
        for (name, value) in case.get("headers").unwrap_or(&json).as_object().unwrap() {
            request = request.header(name, value.as_str().unwrap());
        }
        let (status, body) = call(mk_router(), request.body(body.into()).unwrap()).await;
        let mut expected = case["expect"].clone();
        let what = &case["name"];
        assert_eq!(json!(status), expected["status"], "{what}: {body}");
        if expected["response"].is_object() {
            expected["response"]["uid"] = uid;
            assert_eq!(body["response"], expected["response"], "{what}");
        } else {
            assert_eq!(body["error"], expected["error"], "{what}: {body}");
        }
    }
}
