//! JSON objects that are kept as text, such as the specs in templates.

use std::{collections::BTreeMap, fmt};

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::{Map, Value, value::RawValue};

/// A JSON object as its author wrote it, kept as text: as a tree it would take ten times the room, and 90 times if it is
/// made of small maps.
///
/// It is never read through a typed struct: that would drop the fields that this build does not know.
///
/// ```
/// use dask_operator_api::PodSpec;
///
/// let spec: PodSpec = serde_json::from_str(r#"{"futureField": 1, "containers": []}"#).unwrap();
/// assert_eq!(spec.object()["futureField"], 1);
/// assert_eq!(spec.to_string(), r#"{"containers":[],"futureField":1}"#);
/// ```
#[derive(Clone, PartialEq, Eq)]
pub struct JsonObject(Box<str>);

impl JsonObject {
    /// Returns the object as a tree, for as long as something is built from it.
    pub fn object(&self) -> Map<String, Value> {
        // The text was written from a tree.
        serde_json::from_str(&self.0).unwrap_or_default()
    }

    /// Returns one field as a tree; null if it is not there.
    pub fn field(&self, name: &str) -> Value {
        let fields: BTreeMap<String, &RawValue> = serde_json::from_str(&self.0).unwrap_or_default();
        fields.get(name).and_then(|field| serde_json::from_str(field.get()).ok()).unwrap_or_default()
    }

    /// Sets one field.
    pub fn set(&mut self, name: &str, value: Value) {
        let mut object = self.object();
        object.insert(name.to_owned(), value);
        *self = Self::from(object);
    }
}

impl From<Map<String, Value>> for JsonObject {
    fn from(object: Map<String, Value>) -> Self {
        Self(Value::Object(object).to_string().into())
    }
}

impl Default for JsonObject {
    fn default() -> Self {
        Self::from(Map::new())
    }
}

impl fmt::Display for JsonObject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for JsonObject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Formats for people get the object as a tree. Others get its text: the watches measure what an object takes in memory
/// with such a format.
impl Serialize for JsonObject {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if serializer.is_human_readable() {
            self.object().serialize(serializer)
        } else {
            serializer.serialize_str(&self.0)
        }
    }
}

impl<'de> Deserialize<'de> for JsonObject {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Map::deserialize(deserializer).map(Self::from)
    }
}
