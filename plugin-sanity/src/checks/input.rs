//! Requests that the controller does not send, or does not send yet.

use dask_plugin_protocol::{limits, path};
use serde_json::{Value, json};

use super::Outcome;
use crate::{
    Session,
    inputs::variant,
    session::{failed, get, post_at, post_body},
    target::{Call, Reply},
};

/// A depth of JSON that overflows the stack of a recursive parser.
const DEEP: usize = 10_000;
/// The objects to which a newer controller may add fields.
const GROWING: [&str; 7] = ["/event", "/plugin", "/controller", "/subject", "/owner", "/observed", ""];

pub(super) async fn unknown_fields(session: &Session) -> Outcome {
    for (review, what, first) in session.answers().await? {
        let what = format!("{what} with unknown fields");
        let mut newer = variant(review, |request| {
            for pointer in GROWING {
                if let Some(object) = request.pointer_mut(pointer).and_then(Value::as_object_mut) {
                    object.insert("aFutureField".to_owned(), json!({"nested": [1]}));
                }
            }
            request["event"]["reason"] = json!("AFutureReason");
            // Changes a known field and thereby the uid, so that the plugin does not return a cached response.
            request["controller"]["capabilities"] = json!(["AFutureCapability"]);
        });
        newer["aFutureField"] = json!(1);
        let again = session.ask(&newer, &what).await?;
        if first.children != again.children {
            return Err(failed(what, "the same children as without these fields", json!(again).to_string()));
        }
    }
    Ok(())
}

pub(super) async fn invalid_json(session: &Session) -> Outcome {
    for (body, what) in [("{", "an incomplete JSON object"), ("", "an empty body")] {
        refused(session, what, post_body(path::SYNC, body)).await?;
    }
    Ok(())
}

pub(super) async fn invalid_request(session: &Session) -> Outcome {
    let review = session.review()?;
    let mut other = review.clone();
    other["apiVersion"] = json!("plugin.kubernetes.dask.org/v9");
    let without_uid = variant(review, |request| request["uid"] = json!(null));
    let attempt = variant(review, |request| request["attempt"] = json!("first"));
    for (body, what) in [
        (json!({}), "an empty JSON object"),
        (json!([]), "a list"),
        (other, "a request of the version v9"),
        (without_uid, "a request whose uid is null"),
        (attempt, "a request whose attempt is a string"),
    ] {
        refused(session, what, post_body(path::SYNC, body.to_string())).await?;
    }
    Ok(())
}

pub(super) async fn content_type(session: &Session) -> Outcome {
    let review = session.review()?;
    for (content_type, what) in
        [(Some("text/plain"), "a request as text/plain"), (None, "a request without a content type")]
    {
        returns(session, 415, what, Call { content_type, ..post_at(path::SYNC, review) }).await?;
    }
    let with_charset = Call { content_type: Some("application/json; charset=utf-8"), ..post_at(path::SYNC, review) };
    returns(session, 200, "a request as application/json; charset=utf-8", with_charset).await
}

pub(super) async fn hook_mismatch(session: &Session) -> Outcome {
    let other = variant(session.review()?, |request| request["hook"] = json!("Finalize"));
    returns(session, 422, "a request for Finalize at /v1alpha1/sync", post_at(path::SYNC, &other)).await
}

pub(super) async fn unknown_path(session: &Session) -> Outcome {
    returns(session, 404, "GET /v1alpha1/no-such-path", get("/v1alpha1/no-such-path")).await?;
    returns(session, 404, "a request at /v9/sync", post_at("/v9/sync", session.review()?)).await
}

pub(super) async fn wrong_method(session: &Session) -> Outcome {
    returns(session, 405, "GET /v1alpha1/sync", get(path::SYNC)).await?;
    returns(session, 405, "POST /v1alpha1/discovery", post_body(path::DISCOVERY, "{}")).await
}

pub(super) async fn oversized(session: &Session) -> Outcome {
    let mut review = session.review()?.clone();
    review["request"]["subject"]["object"]["spec"]["filler"] =
        json!("x".repeat(limits::MAX_REQUEST_BYTES + 1024 * 1024));
    let what = "a request of 5 MiB";
    // A plugin may close the connection instead of reading the body.
    if let Ok(reply) = session.target.send(&post_at(path::SYNC, &review)).await
        && reply.code != 413
    {
        return Err(failed(what, "413, or a closed connection", reply.describe()));
    }
    is_alive(session, what).await
}

pub(super) async fn deep_json(session: &Session) -> Outcome {
    let nested = format!("{}{}", "[".repeat(DEEP), "]".repeat(DEEP));
    let body =
        format!(r#"{{"apiVersion":"plugin.kubernetes.dask.org/v1alpha1","kind":"PluginReview","request":{nested}}}"#);
    let what = "JSON with a depth of 10,000";
    if let Ok(reply) = session.target.send(&post_body(path::SYNC, body)).await
        && !is_refusal(&reply)
    {
        return Err(failed(what, "4xx, or a closed connection", reply.describe()));
    }
    is_alive(session, what).await
}

/// Returns whether the status blames the request, and not the credentials, the path or the load.
fn is_refusal(reply: &Reply) -> bool {
    reply.code.is_client_error() && !matches!(reply.code.as_u16(), 401 | 403 | 404 | 405 | 408 | 410 | 429)
}

async fn refused(session: &Session, what: &str, call: Call) -> Outcome {
    let expected = "422, or another 4xx that blames the request";
    let reply = session.send(&call, what, expected).await?;
    if is_refusal(&reply) { Ok(()) } else { Err(failed(what, expected, reply.describe())) }
}

async fn returns(session: &Session, code: u16, what: &str, call: Call) -> Outcome {
    let expected = code.to_string();
    let reply = session.send(&call, what, &expected).await?;
    if reply.code == code { Ok(()) } else { Err(failed(what, expected, reply.describe())) }
}

async fn is_alive(session: &Session, what: &str) -> Outcome {
    returns(session, 200, &format!("the discovery after {what}"), get(path::DISCOVERY)).await
}
