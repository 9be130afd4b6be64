//! The parts of Dask resources that are templates of Kubernetes' own kinds, kept as they were written.

use std::{
    borrow::Cow,
    collections::BTreeMap,
    fmt,
    ops::{Deref, DerefMut},
};

use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::{Map, Value, value::RawValue};

use crate::kubernetes;

/// Labels and annotations for objects made from a template.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct TemplateMetadata {
    /// Labels to add.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
    /// Annotations to add.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: BTreeMap<String, String>,
}

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

impl Serialize for JsonObject {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.object().serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for JsonObject {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Map::deserialize(deserializer).map(Self::from)
    }
}

/// Declares kinds of [`JsonObject`], which differ in their schemas.
macro_rules! json_objects {
    ($($(#[$doc:meta])* $name:ident;)*) => {$(
        $(#[$doc])*
        #[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(pub JsonObject);

        impl Deref for $name {
            type Target = JsonObject;

            fn deref(&self) -> &JsonObject {
                &self.0
            }
        }

        impl DerefMut for $name {
            fn deref_mut(&mut self) -> &mut JsonObject {
                &mut self.0
            }
        }
    )*};
}

json_objects! {
    /// A Kubernetes `PodSpec`, exactly as its author wrote it.
    PodSpec;
    /// The `PodSpec` of a job's runner: `restartPolicy` is `OnFailure` unless given.
    RunnerPodSpec;
    /// A Kubernetes `ServiceSpec`, exactly as its author wrote it.
    ServiceSpec;
}

impl JsonSchema for PodSpec {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "PodSpec".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        schema_of(kubernetes::pod_spec())
    }
}

impl JsonSchema for RunnerPodSpec {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "RunnerPodSpec".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        let mut schema = kubernetes::pod_spec();
        schema["properties"]["restartPolicy"]["default"] = "OnFailure".into();
        schema_of(schema)
    }
}

impl JsonSchema for ServiceSpec {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "ServiceSpec".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        schema_of(kubernetes::service_spec())
    }
}

fn schema_of(schema: Value) -> Schema {
    // The schema is an object, so that no error occurs.
    Schema::try_from(schema).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// A change of words must change no fingerprint, or workers would be replaced.
    #[test]
    fn a_template_is_written_as_the_tree_that_it_was_read_from() {
        let tree = json!({"z": 1, "a": {"c": [1.5, null, "x"], "b": {}}, "containers": []});
        let spec: PodSpec = serde_json::from_value(tree.clone()).unwrap();
        assert_eq!(serde_json::to_value(&spec).unwrap(), tree);
        assert_eq!(spec.to_string(), tree.to_string(), "and kept as text");
        let spaced: PodSpec =
            serde_json::from_str(&format!(" {} ", serde_json::to_string_pretty(&tree).unwrap())).unwrap();
        assert_eq!(spaced, spec);
    }

    #[test]
    fn fields_are_read_and_set_one_by_one() {
        let mut spec = JsonObject::default();
        assert_eq!((spec.field("a"), spec.to_string().as_str()), (Value::Null, "{}"));
        spec.set("a", json!({"b": [1]}));
        assert_eq!(spec.field("a"), json!({"b": [1]}));
        assert_eq!(spec.object().len(), 1);
    }
}
