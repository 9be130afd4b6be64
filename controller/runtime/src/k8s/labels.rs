//! Decides which labels an object has lost. Pure.

use std::collections::BTreeMap;

use kube::api::ObjectMeta;

/// Returns the labels of `wanted` that `live` does not have with this value. An object that is being deleted needs none.
pub fn lost_labels(live: &ObjectMeta, wanted: &BTreeMap<String, String>) -> BTreeMap<String, String> {
    if live.deletion_timestamp.is_some() {
        return BTreeMap::new();
    }
    let has = |key: &str| live.labels.as_ref().and_then(|labels| labels.get(key));
    let lost = wanted.iter().filter(|(key, value)| has(key) != Some(*value));
    lost.map(|(key, value)| (key.clone(), value.clone())).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn lost(live: &Value) -> Value {
        let wanted = [("component", "scheduler"), ("team", "a")].map(|(key, value)| (key.to_owned(), value.to_owned()));
        json!(lost_labels(&serde_json::from_value(live.clone()).unwrap(), &wanted.into()))
    }

    #[test]
    fn an_object_gets_the_labels_back_that_it_lost_and_keeps_its_own() {
        let both = json!({"component": "scheduler", "team": "a", "other": "b"});
        let table = [
            (json!({"labels": both}), json!({})),
            (json!({"labels": {"team": "a"}}), json!({"component": "scheduler"})),
            (json!({"labels": {"component": "x", "team": "a"}}), json!({"component": "scheduler"})),
            (json!({}), json!({"component": "scheduler", "team": "a"})),
            (json!({"deletionTimestamp": "2026-11-23T09:00:00Z"}), json!({})),
        ];
        for (live, expected) in table {
            assert_eq!(lost(&live), expected, "{live}");
        }
    }
}
