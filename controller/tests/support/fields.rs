//! Fields of objects that are JSON.

use std::collections::BTreeMap;

use serde_json::{Value, json};

/// Returns status and reason of a condition, "" if it does not exist.
pub(crate) fn condition<'a>(object: &'a Value, type_: &str) -> (&'a str, &'a str) {
    let found = condition_of(object, type_);
    let text = |field| found.and_then(|condition| condition[field].as_str()).unwrap_or_default();
    (text("status"), text("reason"))
}

/// Returns the message of a condition, "" if it does not exist.
pub(crate) fn message<'a>(object: &'a Value, type_: &str) -> &'a str {
    condition_of(object, type_).and_then(|condition| condition["message"].as_str()).unwrap_or_default()
}

fn condition_of<'a>(object: &'a Value, type_: &str) -> Option<&'a Value> {
    object["status"]["conditions"].as_array()?.iter().find(|condition| condition["type"] == type_)
}

pub(crate) fn name(object: &Value) -> &str {
    object["metadata"]["name"].as_str().unwrap()
}

pub(crate) fn uid(object: &Value) -> &str {
    object["metadata"]["uid"].as_str().unwrap()
}

pub(crate) fn version(object: &Value) -> &str {
    object["metadata"]["resourceVersion"].as_str().unwrap()
}

/// Returns a field of each object by its name.
pub(crate) fn by_name(objects: &[Value], field: fn(&Value) -> &str) -> BTreeMap<String, String> {
    objects.iter().map(|object| (name(object).to_owned(), field(object).to_owned())).collect()
}

/// Returns the owner references of a child of `owner`.
pub(crate) fn owned_by(owner: &Value, blocking: bool) -> Value {
    json!([{
        "apiVersion": owner["apiVersion"],
        "kind": owner["kind"],
        "name": owner["metadata"]["name"],
        "uid": owner["metadata"]["uid"],
        "controller": true,
        "blockOwnerDeletion": blocking,
    }])
}
