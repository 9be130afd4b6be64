//! Reads fields of objects as the API server sends them. Objects are not parsed into types: `why` has to explain those
//! as well that no type can be parsed from.

use dask_operator_api::conditions::may_pass;
use jiff::{SignedDuration, Timestamp};
use serde_json::Value;

/// Returns the text at a JSON pointer, or an empty one.
pub(crate) fn text<'a>(object: &'a Value, pointer: &str) -> &'a str {
    object.pointer(pointer).and_then(Value::as_str).unwrap_or_default()
}

/// Returns the list at a JSON pointer, or an empty one.
pub(crate) fn list<'a>(object: &'a Value, pointer: &str) -> &'a [Value] {
    object.pointer(pointer).and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default()
}

/// Returns the number at a JSON pointer.
pub(crate) fn number(object: &Value, pointer: &str) -> Option<i64> {
    object.pointer(pointer).and_then(Value::as_i64)
}

/// Returns the time at a JSON pointer.
pub(crate) fn time(object: &Value, pointer: &str) -> Option<Timestamp> {
    text(object, pointer).parse().ok()
}

/// Returns the name of an object.
pub(crate) fn name(object: &Value) -> &str {
    text(object, "/metadata/name")
}

/// Returns a label of an object. Keys have slashes, which JSON pointers would need escaped.
pub(crate) fn label<'a>(object: &'a Value, key: &str) -> &'a str {
    object["metadata"]["labels"][key].as_str().unwrap_or_default()
}

/// Returns an annotation of an object.
pub(crate) fn annotation<'a>(object: &'a Value, key: &str) -> &'a str {
    object["metadata"]["annotations"][key].as_str().unwrap_or_default()
}

/// Returns whether an object is being deleted.
pub(crate) fn is_being_deleted(object: &Value) -> bool {
    !text(object, "/metadata/deletionTimestamp").is_empty()
}

/// A condition of an object.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Condition<'a> {
    pub(crate) type_: &'a str,
    pub(crate) status: &'a str,
    pub(crate) reason: &'a str,
    pub(crate) message: &'a str,
    pub(crate) since: Option<Timestamp>,
}

impl Condition<'_> {
    pub(crate) fn is_false(&self) -> bool {
        self.status == "False"
    }

    pub(crate) fn is_true(&self) -> bool {
        self.status == "True"
    }

    /// Returns whether the condition may become true just by waiting.
    pub(crate) fn may_pass(&self) -> bool {
        may_pass(self.reason)
    }
}

/// Returns all conditions of an object.
pub(crate) fn conditions(object: &Value) -> impl Iterator<Item = Condition<'_>> {
    list(object, "/status/conditions").iter().map(|condition| Condition {
        type_: text(condition, "/type"),
        status: text(condition, "/status"),
        reason: text(condition, "/reason"),
        message: text(condition, "/message"),
        since: time(condition, "/lastTransitionTime"),
    })
}

/// Returns the condition of this type.
pub(crate) fn condition<'a>(object: &'a Value, type_: &str) -> Option<Condition<'a>> {
    conditions(object).find(|condition| condition.type_ == type_)
}

/// Returns the condition of this type, if it is false.
pub(crate) fn failed<'a>(object: &'a Value, type_: &str) -> Option<Condition<'a>> {
    condition(object, type_).filter(Condition::is_false)
}

/// Returns a duration as `kubectl` prints ages: `45s`, `12m`, `3h`, `2d`.
pub(crate) fn age(since: Option<Timestamp>, now: Timestamp) -> String {
    let Some(since) = since else { return "-".to_owned() };
    let seconds = now.duration_since(since).max(SignedDuration::ZERO).as_secs();
    match seconds {
        0..120 => format!("{seconds}s"),
        120..7200 => format!("{}m", seconds / 60),
        7200..172_800 => format!("{}h", seconds / 3600),
        _ => format!("{}d", seconds / 86_400),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ages_are_short() {
        let since: Timestamp = "2026-01-01T00:00:00Z".parse().unwrap();
        for (seconds, expected) in [(-5, "0s"), (45, "45s"), (719, "11m"), (7200, "2h"), (172_800, "2d")] {
            assert_eq!(age(Some(since), since + SignedDuration::from_secs(seconds)), expected);
        }
        assert_eq!(age(None, since), "-");
    }
}
