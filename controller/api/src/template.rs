//! The parts of Dask resources that are templates of Kubernetes' own kinds, kept as they were written.

use std::{
    borrow::Cow,
    collections::BTreeMap,
    ops::{Deref, DerefMut},
};

use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{json_object::JsonObject, kubernetes};

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
