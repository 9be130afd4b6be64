//! How the plugin takes what a controller would not send, or not yet.

use http::{Method, StatusCode};
use plugin_protocol::{limits, path};
use serde_json::{Value, json};

use super::Checked;
use crate::{
    Lab,
    lab::{about, failed, get, post_body},
    target::{Call, Reply},
};

/// What a depth of JSON is that no stack should be trusted with.
const DEEP: usize = 10_000;

pub(super) async fn unknown_fields(lab: &Lab) -> Checked {
    for review in &lab.reviews {
        let mut newer = review.clone();
        for pointer in ["", "/request", "/request/event", "/request/plugin", "/request/controller", "/request/subject"]
        {
            if let Some(object) = newer.pointer_mut(pointer).and_then(Value::as_object_mut) {
                object.insert("aFieldOfTheFuture".to_owned(), json!({"nested": [1]}));
            }
        }
        newer["request"]["event"]["reason"] = json!("AReasonOfTheFuture");
        let (first, what) = (lab.ask(review, &about(review)).await?, format!("{} with unknown fields", about(review)));
        let again = lab.ask(&newer, &what).await?;
        if first.children != again.children {
            return Err(failed(what, "the same children as without them", json!(again).to_string()));
        }
    }
    Ok(())
}

pub(super) async fn invalid_json(lab: &Lab) -> Checked {
    refused(lab, "half a JSON object", post_body(path::SYNC, "{")).await
}

pub(super) async fn invalid_request(lab: &Lab) -> Checked {
    refused(lab, "an empty JSON object", post_body(path::SYNC, "{}")).await
}

pub(super) async fn content_type(lab: &Lab) -> Checked {
    let Some(review) = lab.reviews.first() else { return Ok(()) };
    let call = Call { content_type: Some("text/plain"), ..post_body(path::SYNC, review.to_string()) };
    refused(lab, "a request as text/plain", call).await
}

pub(super) async fn hook_mismatch(lab: &Lab) -> Checked {
    let Some(review) = lab.reviews.first() else { return Ok(()) };
    let mut other = review.clone();
    other["request"]["hook"] = json!("Finalize");
    refused(lab, "a request to finalize at /v1alpha1/sync", post_body(path::SYNC, other.to_string())).await
}

pub(super) async fn unknown_path(lab: &Lab) -> Checked {
    let (what, expected) = ("GET /v1alpha1/no-such-path", "404");
    let reply = lab.send(&get("/v1alpha1/no-such-path"), what, expected).await?;
    if reply.code == StatusCode::NOT_FOUND { Ok(()) } else { Err(failed(what, expected, reply.describe())) }
}

pub(super) async fn wrong_method(lab: &Lab) -> Checked {
    refused(lab, "GET /v1alpha1/sync", Call { method: Method::GET, ..get(path::SYNC) }).await
}

pub(super) async fn oversized(lab: &Lab) -> Checked {
    let body = vec![b' '; limits::MAX_REQUEST_BYTES + 1024 * 1024];
    survived(lab, "a body of 5 MiB", post_body(path::SYNC, body)).await
}

pub(super) async fn deep_json(lab: &Lab) -> Checked {
    let nested = format!("{}{}", "[".repeat(DEEP), "]".repeat(DEEP));
    let body =
        format!(r#"{{"apiVersion":"plugin.kubernetes.dask.org/v1alpha1","kind":"PluginReview","request":{nested}}}"#);
    survived(lab, "JSON that is 10,000 deep", post_body(path::SYNC, body)).await
}

fn is_refusal(reply: &Reply) -> bool {
    reply.code.is_client_error() && !matches!(reply.code.as_u16(), 401 | 403 | 410 | 429)
}

async fn refused(lab: &Lab, what: &str, call: Call) -> Checked {
    let expected = "4xx, but for 401, 403, 410 and 429, which say something else";
    let reply = lab.send(&call, what, expected).await?;
    if is_refusal(&reply) { Ok(()) } else { Err(failed(what, expected, reply.describe())) }
}

/// A plugin may hang up on what it does not want to read, but it has to go on.
async fn survived(lab: &Lab, what: &str, call: Call) -> Checked {
    if let Ok(reply) = lab.target.send(&call).await
        && !is_refusal(&reply)
    {
        return Err(failed(what, "4xx, or a closed connection", reply.describe()));
    }
    match lab.target.send(&get(path::DISCOVERY)).await {
        Ok(reply) if reply.code == StatusCode::OK => Ok(()),
        Ok(reply) => Err(failed(format!("the discovery after {what}"), "200", reply.describe())),
        Err(why) => Err(failed(format!("the discovery after {what}"), "200", why)),
    }
}
