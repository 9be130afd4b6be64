//! Requests with wrong settings.

use dask_plugin_protocol::ResponseStatus;
use serde_json::{Value, json};

use super::Outcome;
use crate::{
    Session,
    inputs::variant,
    session::{Finding, about, warning},
};

const UNKNOWN: &str = "anUnknownSetting";

pub(super) async fn are_answered(session: &Session) -> Outcome {
    let review = session.review()?;
    session.ask(&with_unknown(review), &format!("{} with an unknown setting", about(review))).await?;
    for name in settings_of(review).into_iter().flat_map(serde_json::Map::keys) {
        // Changes the type of the setting.
        let changed = variant(review, |request| {
            let value = &mut request["plugin"]["settings"][name];
            *value = if value.is_array() { json!(-1) } else { json!([[{}]]) };
        });
        session.ask(&changed, &format!("{} with the setting {name} of a different type", about(review))).await?;
    }
    Ok(())
}

pub(super) async fn are_refused_if_unknown(session: &Session) -> Outcome {
    let review = session.review()?;
    if settings_of(review).is_none_or(serde_json::Map::is_empty) {
        return Err(Finding::Skipped("there are no settings; see --plugin and --settings".to_owned()));
    }
    let what = format!("{} with the setting {UNKNOWN}", about(review));
    let Ok(answer) = session.ask(&with_unknown(review), &what).await else {
        return Err(Finding::Skipped("there is no response; see failure-is-200".to_owned()));
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
