use std::{borrow::Cow, collections::BTreeMap};

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

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

/// A Kubernetes `PodSpec`, exactly as its author wrote it.
///
/// It is never read through a typed struct: that would drop the fields that this build does not know.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct PodSpec(pub Map<String, Value>);

/// The `PodSpec` of a job's runner: `restartPolicy` is `OnFailure` unless given.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct RunnerPodSpec(pub Map<String, Value>);

/// A Kubernetes `ServiceSpec`, exactly as its author wrote it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ServiceSpec(pub Map<String, Value>);

impl JsonSchema for PodSpec {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "PodSpec".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        pod_spec_schema()
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
        let mut schema = pod_spec_schema();
        if let Some(properties) = schema.get_mut("properties").and_then(Value::as_object_mut) {
            properties
                .insert("restartPolicy".to_owned(), serde_json::json!({"type": "string", "default": "OnFailure"}));
        }
        schema
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
        json_schema!({
            "description": "A Kubernetes ServiceSpec. Unknown fields are kept.",
            "type": "object",
            "x-kubernetes-preserve-unknown-fields": true,
            "properties": {
                "ports": {
                    "type": "array",
                    "x-kubernetes-list-type": "map",
                    "x-kubernetes-list-map-keys": ["port", "protocol"],
                    "items": {
                        "type": "object",
                        "x-kubernetes-preserve-unknown-fields": true,
                        "required": ["port"],
                        "properties": {
                            "port": {"type": "integer", "format": "int32"},
                            "protocol": {"type": "string", "default": "TCP"},
                            "targetPort": {"x-kubernetes-int-or-string": true}
                        }
                    }
                }
            }
        })
    }
}

/// Only what needs a default, a merge key or a `required` is spelled out; the API server checks the rest
/// when the Deployment or Pod is made from it.
fn pod_spec_schema() -> Schema {
    json_schema!({
        "description": "A Kubernetes PodSpec. Unknown fields are kept.",
        "type": "object",
        "x-kubernetes-preserve-unknown-fields": true,
        "required": ["containers"],
        "properties": {
            "containers": containers_schema(),
            "initContainers": containers_schema()
        }
    })
}

fn containers_schema() -> Value {
    serde_json::json!({
        "type": "array",
        "items": {
            "type": "object",
            "x-kubernetes-preserve-unknown-fields": true,
            "required": ["name"],
            "properties": {
                "name": {"type": "string"},
                "ports": {
                    "type": "array",
                    "x-kubernetes-list-type": "map",
                    "x-kubernetes-list-map-keys": ["containerPort", "protocol"],
                    "items": {
                        "type": "object",
                        "x-kubernetes-preserve-unknown-fields": true,
                        "required": ["containerPort"],
                        "properties": {
                            "containerPort": {"type": "integer", "format": "int32"},
                            "protocol": {"type": "string", "default": "TCP"}
                        }
                    }
                }
            }
        }
    })
}
