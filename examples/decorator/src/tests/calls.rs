//! Calls of hooks that are slow, that redirect or that cannot be reached.

use std::time::Duration;

use axum::body::{Body, to_bytes};
use axum::http::{HeaderMap, Request};
use axum::response::Redirect;
use dask_plugin_server::protocol::limits::MAX_RESPONSE_BYTES;
use dask_plugin_server::protocol::{ReviewRequest, ReviewResponse};
use tokio::time::{Instant, sleep};
use tower_service::Service as _;

use super::*;

/// Calls the plugin in the same way as a controller with this timeout.
async fn sync_within(url: &str, timeout: &str) -> PluginResponse {
    let config = config_from(&[("HOOK_URL", url)]);
    let review = serde_json::to_vec(&ReviewRequest::new(request().build())).unwrap();
    let call = Request::post(format!("/v1alpha1/sync?timeout={timeout}")).header("content-type", "application/json");
    let call = call.body(Body::from(review)).unwrap();
    let Ok(response) = dask_plugin_server::router(DecoratorPlugin::new(&config)).call(call).await;
    let body = to_bytes(Body::new(response.into_body()), MAX_RESPONSE_BYTES).await.unwrap();
    let review: ReviewResponse = serde_json::from_slice(&body).expect("the plugin responds in time");
    review.response
}

/// Time is virtual, and passes only while nothing else happens.
#[tokio::test(start_paused = true)]
async fn a_slow_hook_has_as_much_time_as_the_controller_waits() {
    let slow = post(|| async {
        sleep(Duration::from_secs(25)).await;
        Json(json!({"attachments": []}))
    });
    let url = serve_hook(Router::new().route("/sync", slow)).await + "/sync";
    let begin = Instant::now();
    assert_eq!(sync_within(&url, "30s").await.status, ResponseStatus::Success);
    assert!(begin.elapsed() >= Duration::from_secs(25));
}

#[tokio::test(start_paused = true)]
async fn a_hook_that_does_not_respond_in_time_is_retried() {
    let silent = listener().await;
    let url = format!("http://{}/sync", silent.local_addr().unwrap());
    for (timeout, seconds) in [("1s", 1), ("10s", 10), ("30s", 30)] {
        let begin = Instant::now();
        let response = sync_within(&url, timeout).await;
        let message = "the hook did not respond in time; see its log, and timeoutSeconds of the plugin resource";
        assert_eq!((response.status, response.message.as_str()), (ResponseStatus::Pending, message));
        let (took, limit) = (begin.elapsed(), Duration::from_secs(seconds));
        assert!(took < limit && took > limit * 8 / 10, "{took:?} of {limit:?}");
    }
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
        let response = plugin_from(&[("HOOK_URL", &url)]).sync(request()).await;
        assert_eq!((response.status, response.message.as_str()), (ResponseStatus::Pending, message));
    }
}

/// Web frameworks redirect from `/sync` to `/sync/`.
#[tokio::test]
async fn a_redirect_within_the_server_is_followed() {
    let moved = post(|| async { Redirect::temporary("/sync/") });
    let hook =
        post(|body: Json<Value>| async move { Json(json!({"attachments": [], "finalized": body["finalizing"]})) });
    let server = serve_hook(Router::new().route("/sync", moved).route("/sync/", hook)).await;
    let response = plugin_from(&[("HOOK_URL", &format!("{server}/sync"))]).sync(request()).await;
    assert_eq!(response.status, ResponseStatus::Success, "{}", response.message);
}

#[tokio::test]
async fn redirects_without_end_and_to_other_servers_are_not_followed() {
    let other = serve_hook(Router::new().route("/", post(|| async { Json(json!({"attachments": []})) }))).await;
    let router = Router::new()
        .route("/loop", post(|| async { Redirect::temporary("/loop") }))
        .route("/other", post(move || async move { Redirect::temporary(&other) }));
    let server = serve_hook(router).await;
    for path in ["loop", "other"] {
        let response = plugin_from(&[("HOOK_URL", &format!("{server}/{path}"))]).sync(request()).await;
        assert_eq!(response.status, ResponseStatus::Pending);
        assert!(response.message.ends_with("which is not followed; correct HOOK_URL"), "{}", response.message);
    }
}

#[tokio::test]
async fn the_hook_is_called_with_json_that_it_need_not_decompress() {
    let hook = post(|headers: HeaderMap| async move {
        let text = |name| headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default();
        (StatusCode::IM_A_TEAPOT, format!("{} {}", text("content-type"), text("accept-encoding")))
    });
    let url = serve_hook(Router::new().route("/sync", hook)).await + "/sync";
    let response = plugin_from(&[("HOOK_URL", &url)]).sync(request()).await;
    assert_eq!(response.message, "the hook returned 418 I'm a teapot: application/json identity");
}

#[tokio::test]
async fn long_bodies_of_errors_are_cut_and_long_responses_are_refused() {
    let router = Router::new()
        .route("/error", post(|| async { (StatusCode::BAD_REQUEST, "a".repeat(MAX_RESPONSE_BYTES * 2)) }))
        .route("/long", post(|| async { "a".repeat(MAX_RESPONSE_BYTES + 1) }));
    let server = serve_hook(router).await;
    let error = plugin_from(&[("HOOK_URL", &format!("{server}/error"))]).sync(request()).await;
    assert_eq!(error.message, format!("the hook returned 400 Bad Request: {}…", "a".repeat(256)));
    let long = plugin_from(&[("HOOK_URL", &format!("{server}/long"))]).sync(request()).await;
    assert_eq!((long.status, long.reason.as_str()), (ResponseStatus::Failure, "AnswerTooLarge"));
}
