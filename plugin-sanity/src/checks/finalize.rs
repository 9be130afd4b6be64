//! The hook Finalize.

use dask_plugin_protocol::{Hook, PluginResponse, ResponseStatus};
use serde_json::{Value, json};

use super::Checked;
use crate::{
    Lab,
    lab::{Finding, about, failed, post},
    matter::variant,
};

/// How often a plugin may say that it is not done.
const PATIENCE: usize = 20;

fn to_finalize(review: &Value) -> Value {
    variant(review, |request| {
        request["hook"] = json!("Finalize");
        request["event"]["reason"] = json!("Deleting");
    })
}

pub(super) async fn is_served_if_listed(lab: &Lab) -> Checked {
    let listed = lab.discovery().await?.hooks.contains(&Hook::Finalize);
    let review = to_finalize(lab.review()?);
    let expected =
        if listed { "200: the discovery lists Finalize" } else { "404 or 405: the discovery does not list it" };
    let reply = lab.send(&post(&review), &about(&review), expected).await?;
    let is_good = if listed { reply.code == 200 } else { matches!(reply.code.as_u16(), 404 | 405) };
    if is_good { Ok(()) } else { Err(failed(about(&review), expected, reply.describe())) }
}

pub(super) async fn is_idempotent(lab: &Lab) -> Checked {
    if !lab.discovery().await?.hooks.contains(&Hook::Finalize) {
        return Err(Finding::Skipped("the discovery does not list Finalize".to_owned()));
    }
    for review in lab.matter.reviews.iter().map(to_finalize) {
        let what = about(&review);
        let mut answers = 0;
        while !is_finalized(&lab.ask(&review, &what).await?) {
            answers += 1;
            if answers == PATIENCE {
                let why = format!("it is not finalized after {PATIENCE} calls; what it holds may take longer");
                return Err(Finding::Skipped(why));
            }
        }
        let again = lab.ask(&review, &what).await?;
        if !is_finalized(&again) {
            return Err(failed(format!("{what} once more"), "finalized: true again", json!(again).to_string()));
        }
    }
    Ok(())
}

fn is_finalized(answer: &PluginResponse) -> bool {
    answer.status == ResponseStatus::Success && answer.finalized
}
