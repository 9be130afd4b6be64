//! Responses of the plugin: their form, their size and their duration.

use dask_plugin_protocol::{ResponseStatus, path};
use serde_json::json;

use super::Outcome;
use crate::{
    Session,
    session::{about, failed, get, post, post_body},
    target::NoReply,
};

pub(super) async fn are_reviews(session: &Session) -> Outcome {
    session.answers().await.map(drop)
}

pub(super) async fn repeat_the_uid(session: &Session) -> Outcome {
    for (review, what, answer) in session.answers().await? {
        let uid = &review["request"]["uid"];
        if *uid != json!(answer.uid) {
            return Err(failed(what, format!("the uid {uid}"), format!("{:?}", answer.uid)));
        }
    }
    Ok(())
}

pub(super) async fn have_children(session: &Session) -> Outcome {
    for (_, what, answer) in session.answers().await? {
        if answer.status == ResponseStatus::Success && answer.children.is_none() {
            return Err(failed(
                what,
                "a list of children, which may be empty",
                "a Success whose children are missing or null",
            ));
        }
    }
    Ok(())
}

pub(super) async fn are_not_elsewhere(session: &Session) -> Outcome {
    for (call, what) in [(get(path::DISCOVERY), "GET /v1alpha1/discovery".to_owned()), first(session)?] {
        // Other errors are reported by other checks.
        if let Ok(reply) = session.target.send(&call).await
            && reply.code.is_redirection()
        {
            return Err(failed(what, "a response, because redirects are not followed", reply.describe()));
        }
    }
    Ok(())
}

pub(super) async fn are_in_time(session: &Session) -> Outcome {
    let expected = "a response within the timeout of the query";
    for review in &session.inputs.reviews {
        match session.target.send(&post(review)).await {
            Err(late @ NoReply::Timeout) => return Err(failed(about(review), expected, late.to_string())),
            // The plugin, or a proxy in front of it, reports the timeout.
            Ok(reply) if matches!(reply.code.as_u16(), 408 | 504) => {
                return Err(failed(about(review), expected, reply.describe()));
            }
            _ => {}
        }
    }
    Ok(())
}

pub(super) async fn are_not_too_large(session: &Session) -> Outcome {
    let mut calls = vec![
        (get(path::DISCOVERY), "GET /v1alpha1/discovery".to_owned()),
        (get("/v1alpha1/no-such-path"), "GET /v1alpha1/no-such-path".to_owned()),
        (post_body(path::SYNC, "{"), "an incomplete JSON object".to_owned()),
    ];
    calls.extend(session.inputs.reviews.iter().map(|review| (post(review), about(review))));
    for (call, what) in calls {
        if let Err(large @ NoReply::TooLarge) = session.target.send(&call).await {
            return Err(failed(what, "at most 2 MiB", large.to_string()));
        }
    }
    Ok(())
}

fn first(session: &Session) -> Result<(crate::target::Call, String), crate::Finding> {
    let review = session.review()?;
    Ok((post(review), about(review)))
}
