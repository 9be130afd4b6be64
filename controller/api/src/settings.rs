//! `spec.settings` of a plugin resource: free JSON, kept as the text that was received.
//!
//! A tree of values would cost up to a hundred times the size of the text, and text that is nested too deep for a
//! parser would make the whole object unreadable. The text is parsed only for a request to the plugin.

use std::borrow::Cow;

use json_measure::measure;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::{
    Value,
    value::{RawValue, to_raw_value},
};

/// Free JSON, kept as it was written.
#[derive(Clone, Debug, Serialize)]
#[serde(transparent)]
pub struct Settings(Box<RawValue>);

impl Settings {
    /// Returns the JSON text.
    pub fn text(&self) -> &str {
        self.0.get()
    }

    /// Parses the text. It may be nested too deep for the parser, or hold numbers and escapes that it refuses.
    pub fn parse(&self) -> serde_json::Result<Value> {
        serde_json::from_str(self.text())
    }

    /// Returns the parsed text; null if it cannot be parsed, which the validation of a plugin refuses.
    pub fn value(&self) -> Value {
        self.parse().unwrap_or_default()
    }

    /// Returns how many objects and arrays are nested in each other.
    pub fn depth(&self) -> usize {
        measure(self.text().as_bytes()).depth
    }
}

impl Default for Settings {
    fn default() -> Self {
        // An empty object has a text, and null is none of its own.
        Self(to_raw_value(&serde_json::Map::new()).unwrap_or_else(|_| RawValue::NULL.to_owned()))
    }
}

impl PartialEq for Settings {
    fn eq(&self, other: &Self) -> bool {
        self.text() == other.text()
    }
}

impl Eq for Settings {}

impl<'de> Deserialize<'de> for Settings {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Box::<RawValue>::deserialize(deserializer).map(Self)
    }
}

impl JsonSchema for Settings {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "Settings".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({"type": "object", "x-kubernetes-preserve-unknown-fields": true})
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_depth_counts_objects_and_arrays_and_no_brackets_in_strings() {
        let table = [("{}", 1), ("7", 0), (r#"{"a": [{}, [[]]], "b": {}}"#, 4), (r#"{"a": "[[[\"{{{\\"}"#, 1)];
        for (text, expected) in table {
            let settings: Settings = serde_json::from_str(text).unwrap();
            assert_eq!(settings.depth(), expected, "{text}");
        }
    }

    #[test]
    fn settings_are_kept_and_sent_as_they_were_written() {
        assert_eq!(Settings::default().parse().unwrap(), json!({}));
        let text = r#"{"number":1e2,"list":[1,2]}"#;
        let settings: Settings = serde_json::from_str(text).unwrap();
        assert_eq!(settings.text(), text);
        assert_eq!(serde_json::to_string(&settings).unwrap(), text);
        let from_tree: Settings = serde_json::from_value(json!({"a": 1})).unwrap();
        assert_eq!(serde_json::to_value(from_tree).unwrap(), json!({"a": 1}));
    }
}
