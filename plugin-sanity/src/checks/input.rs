//! How the plugin takes what a controller would not send, or not yet.

use dask_plugin_protocol::{limits, path};
use serde_json::{Value, json};

use super::Checked;
use crate::{
    Lab,
    lab::{failed, get, post_at, post_body},
    matter::variant,
    target::{Call, Reply},
};

/// What a depth of JSON is that no stack should be trusted with.
const DEEP: usize = 10_000;
/// Where a newer controller may have more fields than this one.
const GROWING: [&str; 7] = ["/event", "/plugin", "/controller", "/subject", "/owner", "/observed", ""];

pub(super) async fn unknown_fields(lab: &Lab) -> Checked {
    for (review, what, first) in lab.answers().await? {
        let what = format!("{what} with unknown fields");
        let mut newer = variant(review, |request| {
            for pointer in GROWING {
                if let Some(object) = request.pointer_mut(pointer).and_then(Value::as_object_mut) {
                    object.insert("aFieldOfTheFuture".to_owned(), json!({"nested": [1]}));
                }
            }
            request["event"]["reason"] = json!("AReasonOfTheFuture");
            // A known field, and so another uid: an answer that was kept for the first says nothing about this.
            request["controller"]["capabilities"] = json!(["ACapabilityOfTheFuture"]);
        });
        newer["aFieldOfTheFuture"] = json!(1);
        let again = lab.ask(&newer, &what).await?;
        if first.children != again.children {
            return Err(failed(what, "the same children as without them", json!(again).to_string()));
        }
    }
    Ok(())
}

pub(super) async fn invalid_json(lab: &Lab) -> Checked {
    for (body, what) in [("{", "half a JSON object"), ("", "an empty body")] {
        refused(lab, what, post_body(path::SYNC, body)).await?;
    }
    Ok(())
}

pub(super) async fn invalid_request(lab: &Lab) -> Checked {
    let review = lab.review()?;
    let mut other = review.clone();
    other["apiVersion"] = json!("plugin.kubernetes.dask.org/v9");
    let without_uid = variant(review, |request| request["uid"] = json!(null));
    let attempt = variant(review, |request| request["attempt"] = json!("first"));
    for (body, what) in [
        (json!({}), "an empty JSON object"),
        (json!([]), "a list"),
        (other, "a request of version v9"),
        (without_uid, "a request whose uid is null"),
        (attempt, "a request whose attempt is a word"),
    ] {
        refused(lab, what, post_body(path::SYNC, body.to_string())).await?;
    }
    Ok(())
}

pub(super) async fn content_type(lab: &Lab) -> Checked {
    let review = lab.review()?;
    for (content_type, what) in [(Some("text/plain"), "a request as text/plain"), (None, "a request of no type")] {
        is(lab, 415, what, Call { content_type, ..post_at(path::SYNC, review) }).await?;
    }
    let with_charset = Call { content_type: Some("application/json; charset=utf-8"), ..post_at(path::SYNC, review) };
    is(lab, 200, "a request as application/json; charset=utf-8", with_charset).await
}

pub(super) async fn hook_mismatch(lab: &Lab) -> Checked {
    let other = variant(lab.review()?, |request| request["hook"] = json!("Finalize"));
    is(lab, 422, "a request to finalize at /v1alpha1/sync", post_at(path::SYNC, &other)).await
}

pub(super) async fn unknown_path(lab: &Lab) -> Checked {
    is(lab, 404, "GET /v1alpha1/no-such-path", get("/v1alpha1/no-such-path")).await?;
    is(lab, 404, "a request at /v9/sync", post_at("/v9/sync", lab.review()?)).await
}

pub(super) async fn wrong_method(lab: &Lab) -> Checked {
    is(lab, 405, "GET /v1alpha1/sync", get(path::SYNC)).await?;
    is(lab, 405, "POST /v1alpha1/discovery", post_body(path::DISCOVERY, "{}")).await
}

pub(super) async fn oversized(lab: &Lab) -> Checked {
    let mut review = lab.review()?.clone();
    review["request"]["subject"]["object"]["spec"]["filler"] =
        json!("x".repeat(limits::MAX_REQUEST_BYTES + 1024 * 1024));
    let what = "a request of 5 MiB";
    // A plugin may hang up on what it does not want to read.
    if let Ok(reply) = lab.target.send(&post_at(path::SYNC, &review)).await
        && reply.code != 413
    {
        return Err(failed(what, "413, or a closed connection", reply.describe()));
    }
    survived(lab, what).await
}

pub(super) async fn deep_json(lab: &Lab) -> Checked {
    let nested = format!("{}{}", "[".repeat(DEEP), "]".repeat(DEEP));
    let body =
        format!(r#"{{"apiVersion":"plugin.kubernetes.dask.org/v1alpha1","kind":"PluginReview","request":{nested}}}"#);
    let what = "JSON that is 10,000 deep";
    if let Ok(reply) = lab.target.send(&post_body(path::SYNC, body)).await
        && !is_refusal(&reply)
    {
        return Err(failed(what, "4xx, or a closed connection", reply.describe()));
    }
    survived(lab, what).await
}

/// Says that the request is at fault, and not the caller, the path or the time.
fn is_refusal(reply: &Reply) -> bool {
    reply.code.is_client_error() && !matches!(reply.code.as_u16(), 401 | 403 | 404 | 405 | 408 | 410 | 429)
}

async fn refused(lab: &Lab, what: &str, call: Call) -> Checked {
    let expected = "422, or another 4xx that says that the request is at fault";
    let reply = lab.send(&call, what, expected).await?;
    if is_refusal(&reply) { Ok(()) } else { Err(failed(what, expected, reply.describe())) }
}

async fn is(lab: &Lab, code: u16, what: &str, call: Call) -> Checked {
    let expected = code.to_string();
    let reply = lab.send(&call, what, &expected).await?;
    if reply.code == code { Ok(()) } else { Err(failed(what, expected, reply.describe())) }
}

async fn survived(lab: &Lab, what: &str) -> Checked {
    is(lab, 200, &format!("the discovery after {what}"), get(path::DISCOVERY)).await
}
