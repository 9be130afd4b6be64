//! What the plugin says to settings that somebody has got wrong.

use dask_plugin_protocol::ResponseStatus;
use serde_json::{Value, json};

use super::Checked;
use crate::{
    Lab,
    lab::{Finding, about, warning},
    matter::variant,
};

const UNKNOWN: &str = "aSettingThatMeansNothing";

pub(super) async fn are_answered(lab: &Lab) -> Checked {
    let review = lab.review()?;
    lab.ask(&with_unknown(review), &format!("{} with an unknown setting", about(review))).await?;
    for name in settings_of(review).into_iter().flat_map(serde_json::Map::keys) {
        // Of another type than before, whatever that was.
        let spoilt = variant(review, |request| {
            let value = &mut request["plugin"]["settings"][name];
            *value = if value.is_array() { json!(-1) } else { json!([[{}]]) };
        });
        lab.ask(&spoilt, &format!("{} with the setting {name} of another type", about(review))).await?;
    }
    Ok(())
}

pub(super) async fn are_refused_if_unknown(lab: &Lab) -> Checked {
    let review = lab.review()?;
    if settings_of(review).is_none_or(serde_json::Map::is_empty) {
        return Err(Finding::Skipped("the plugin has no settings here; see --plugin and --settings".to_owned()));
    }
    let what = format!("{} with the setting {UNKNOWN}", about(review));
    let Ok(answer) = lab.ask(&with_unknown(review), &what).await else {
        return Err(Finding::Skipped("there is no answer; see failure-is-200".to_owned()));
    };
    if answer.status == ResponseStatus::Success {
        return Err(warning(what, "status Failure, with a message that names the setting", "Success"));
    }
    Ok(())
}

fn settings_of(review: &Value) -> Option<&serde_json::Map<String, Value>> {
    review["request"]["plugin"]["settings"].as_object()
}

fn with_unknown(review: &Value) -> Value {
    variant(review, |request| request["plugin"]["settings"][UNKNOWN] = json!(true))
}
