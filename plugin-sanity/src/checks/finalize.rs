//! The hook Finalize.

use dask_plugin_protocol::{Hook, PluginResponse, ResponseStatus};
use serde_json::{Value, json};

use super::Outcome;
use crate::{
    Session,
    inputs::variant,
    session::{Finding, about, failed, post},
};

/// The maximum number of calls until a plugin has finalized.
const MAX_CALLS: usize = 20;

fn to_finalize(review: &Value) -> Value {
    variant(review, |request| {
        request["hook"] = json!("Finalize");
        request["event"]["reason"] = json!("Deleting");
    })
}

pub(super) async fn is_served_if_listed(session: &Session) -> Outcome {
    let listed = session.discovery().await?.hooks.contains(&Hook::Finalize);
    let review = to_finalize(session.review()?);
    let expected = if listed {
        "200, because the discovery lists Finalize"
    } else {
        "404 or 405, because the discovery does not list Finalize"
    };
    let reply = session.send(&post(&review), &about(&review), expected).await?;
    let conforms = if listed { reply.code == 200 } else { matches!(reply.code.as_u16(), 404 | 405) };
    if conforms { Ok(()) } else { Err(failed(about(&review), expected, reply.describe())) }
}

pub(super) async fn is_idempotent(session: &Session) -> Outcome {
    if !session.discovery().await?.hooks.contains(&Hook::Finalize) {
        return Err(Finding::Skipped("the discovery does not list Finalize".to_owned()));
    }
    for review in session.inputs.reviews.iter().map(to_finalize) {
        let what = about(&review);
        let mut calls = 0;
        while !is_finalized(&session.ask(&review, &what).await?) {
            calls += 1;
            if calls == MAX_CALLS {
                let why = format!("not finalized after {MAX_CALLS} calls; releasing may take longer");
                return Err(Finding::Skipped(why));
            }
        }
        let again = session.ask(&review, &what).await?;
        if !is_finalized(&again) {
            return Err(failed(format!("{what} again"), "finalized: true again", json!(again).to_string()));
        }
    }
    Ok(())
}

fn is_finalized(answer: &PluginResponse) -> bool {
    answer.status == ResponseStatus::Success && answer.finalized
}
