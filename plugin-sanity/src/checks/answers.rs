//! Whether the plugin answers at all, and with an answer.

use dask_plugin_protocol::{ResponseStatus, path};
use serde_json::json;

use super::Checked;
use crate::{
    Lab,
    lab::{about, failed, get, post, post_body},
    target::NoReply,
};

pub(super) async fn are_reviews(lab: &Lab) -> Checked {
    lab.answers().await.map(drop)
}

pub(super) async fn repeat_the_uid(lab: &Lab) -> Checked {
    for (review, what, answer) in lab.answers().await? {
        let uid = &review["request"]["uid"];
        if *uid != json!(answer.uid) {
            return Err(failed(what, format!("the uid {uid}"), format!("{:?}", answer.uid)));
        }
    }
    Ok(())
}

pub(super) async fn have_children(lab: &Lab) -> Checked {
    for (_, what, answer) in lab.answers().await? {
        if answer.status == ResponseStatus::Success && answer.children.is_none() {
            return Err(failed(what, "children: [] or more", "a Success without children, or with null"));
        }
    }
    Ok(())
}

pub(super) async fn are_not_elsewhere(lab: &Lab) -> Checked {
    for (call, what) in [(get(path::DISCOVERY), "GET /v1alpha1/discovery".to_owned()), first(lab)?] {
        // Other trouble is for other checks.
        if let Ok(reply) = lab.target.send(&call).await
            && reply.code.is_redirection()
        {
            return Err(failed(what, "an answer, as redirects are not followed", reply.describe()));
        }
    }
    Ok(())
}

pub(super) async fn are_in_time(lab: &Lab) -> Checked {
    let expected = "an answer within the timeout of the query";
    for review in &lab.matter.reviews {
        match lab.target.send(&post(review)).await {
            Err(late @ NoReply::Late) => return Err(failed(about(review), expected, late.to_string())),
            // The plugin, or what is before it, has noticed.
            Ok(reply) if matches!(reply.code.as_u16(), 408 | 504) => {
                return Err(failed(about(review), expected, reply.describe()));
            }
            _ => {}
        }
    }
    Ok(())
}

pub(super) async fn are_not_too_large(lab: &Lab) -> Checked {
    let mut calls = vec![
        (get(path::DISCOVERY), "GET /v1alpha1/discovery".to_owned()),
        (get("/v1alpha1/no-such-path"), "GET /v1alpha1/no-such-path".to_owned()),
        (post_body(path::SYNC, "{"), "half a JSON object".to_owned()),
    ];
    calls.extend(lab.matter.reviews.iter().map(|review| (post(review), about(review))));
    for (call, what) in calls {
        if let Err(large @ NoReply::TooLarge) = lab.target.send(&call).await {
            return Err(failed(what, "at most 2 MiB", large.to_string()));
        }
    }
    Ok(())
}

fn first(lab: &Lab) -> Result<(crate::target::Call, String), crate::Finding> {
    let review = lab.review()?;
    Ok((post(review), about(review)))
}
