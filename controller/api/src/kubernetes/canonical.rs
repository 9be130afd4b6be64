//! Writes the specs of pods and Services in one form, so that two of the same meaning are equal.
//!
//! The API server stores neither the spelling of a quantity nor whether an empty list, null or a default was written out.
//! A template that changed in such words has not changed. Fields that this build does not know are compared as they are.

use std::{collections::HashMap, sync::LazyLock};

use serde_json::{Map, Value, json};

use super::{
    defaults::{self, Implied},
    quantity, schema,
};
use crate::json_object::JsonObject;

/// What a field of one of Kubernetes' types holds.
#[derive(Clone, Debug)]
enum Shape {
    /// A value of another of Kubernetes' types.
    Struct(String),
    List(Box<Self>),
    /// An object with any keys.
    Map(Box<Self>),
    Quantity,
    /// A text, a number, a boolean, or anything that is compared as it is.
    Plain,
}

/// A field of one of Kubernetes' types.
#[derive(Clone, Debug)]
struct Field {
    shape: Shape,
    /// The value that its absence implies.
    implied: Option<Implied>,
}

/// Fields by type.
static TYPES: LazyLock<HashMap<String, HashMap<String, Field>>> = LazyLock::new(types);

/// Returns the canonical form of a `PodSpec`: equal for two specs from which the API server makes the same pods.
///
/// ```
/// use dask_operator_api::{PodSpec, kubernetes::canonical_pod_spec};
///
/// let spec = |text| -> PodSpec { serde_json::from_str(text).unwrap() };
/// let one = spec(r#"{"containers": [{"name": "a", "resources": {"limits": {"cpu": 4, "memory": "8Gi"}}}]}"#);
/// let other = spec(r#"{"volumes": [], "containers": [{"name": "a", "terminationMessagePolicy": "File",
///     "resources": {"limits": {"memory": "8192Mi", "cpu": "4000m"}}}]}"#);
/// assert_eq!(canonical_pod_spec(&one), canonical_pod_spec(&other));
/// ```
pub fn canonical_pod_spec(spec: &JsonObject) -> Value {
    Value::Object(canonical("PodSpec", spec.object()))
}

/// Returns the canonical form of a `ServiceSpec`, like [`canonical_pod_spec`].
pub fn canonical_service_spec(spec: &JsonObject) -> Value {
    Value::Object(canonical("ServiceSpec", spec.object()))
}

/// Returns the canonical form of an object of the type `name`.
fn canonical(name: &str, object: Map<String, Value>) -> Map<String, Value> {
    let fields = TYPES.get(name);
    let known = |field: &str| fields.and_then(|fields| fields.get(field));
    let mut result = Map::new();
    for (field, value) in object {
        let value = match known(&field) {
            Some(known) => canonical_value(&known.shape, value),
            None => value,
        };
        let is_map = known(&field).is_some_and(|known| matches!(known.shape, Shape::Map(_)));
        let is_empty = match &value {
            Value::Null => true,
            Value::Array(items) => items.is_empty(),
            Value::Object(entries) => is_map && entries.is_empty(),
            _ => false,
        };
        if !is_empty {
            result.insert(field, value);
        }
    }
    complete(name, &mut result);
    let is_implied =
        |field: &str, value: &Value| known(field).and_then(|known| known.implied).is_some_and(|it| it.is(value));
    result.retain(|field, value| !is_implied(field, value) && !defaults::is_empty_text(field, value));
    result
}

fn canonical_value(shape: &Shape, value: Value) -> Value {
    match (shape, value) {
        (Shape::Struct(name), Value::Object(object)) => Value::Object(canonical(name, object)),
        (Shape::List(item), Value::Array(items)) => {
            Value::Array(items.into_iter().map(|value| canonical_value(item, value)).collect())
        }
        (Shape::Map(item), Value::Object(object)) => {
            Value::Object(object.into_iter().map(|(key, value)| (key, canonical_value(item, value))).collect())
        }
        (Shape::Quantity, value) => match quantity::nanos(&value) {
            Some(0) => json!(0),
            Some(nanos) => json!(format!("{nanos}n")),
            None => value,
        },
        (_, value) => value,
    }
}

/// Adds to an object of the type `name` what the API server derives from its other fields.
fn complete(name: &str, object: &mut Map<String, Value>) {
    match name {
        "PodSpec" => {
            // Two names of one field.
            if let Some(account) = object.remove("serviceAccount") {
                object.entry("serviceAccountName").or_insert(account);
            }
        }
        "Container" => {
            let policy = default_pull_policy(object.get("image").and_then(Value::as_str).unwrap_or_default());
            if object.get("imagePullPolicy").is_some_and(|given| given == policy) {
                object.remove("imagePullPolicy");
            }
        }
        "ResourceRequirements" => request_limits(object),
        // A volume without a source is an empty directory.
        "Volume" if object.keys().all(|field| field == "name") => {
            object.insert("emptyDir".to_owned(), json!({}));
        }
        "ServicePort" if object.get("targetPort") == object.get("port") => {
            object.remove("targetPort");
        }
        _ => {}
    }
}

/// Adds requests for resources that only have a limit.
fn request_limits(resources: &mut Map<String, Value>) {
    let Some(Value::Object(limits)) = resources.get("limits").cloned() else { return };
    let requests = resources.entry("requests").or_insert_with(|| json!({}));
    for (resource, limit) in limits {
        if let Some(requests) = requests.as_object_mut() {
            requests.entry(resource).or_insert(limit);
        }
    }
}

/// Returns the pull policy of an image for which none is given: `Always` for the tag `latest`, also where it is
/// implied.
fn default_pull_policy(image: &str) -> &'static str {
    let (name, digest) = image.split_once('@').map_or((image, None), |(name, digest)| (name, Some(digest)));
    let tag = name.rsplit('/').next().and_then(|last| last.split_once(':')).map(|(_, tag)| tag);
    match (tag, digest) {
        (Some("latest"), _) | (None, None) => "Always",
        _ => "IfNotPresent",
    }
}

fn types() -> HashMap<String, HashMap<String, Field>> {
    let fields = |owner: &str, schema: &Value| {
        let fields = schema["properties"].as_object().into_iter().flatten();
        let field = |(name, schema): (&String, &Value)| {
            (name.clone(), Field { shape: shape(schema), implied: defaults::implied(owner, name) })
        };
        fields.map(field).collect()
    };
    schema::types().iter().map(|(name, schema)| (name.clone(), fields(name, schema))).collect()
}

fn shape(schema: &Value) -> Shape {
    match schema::referenced(schema) {
        Some("Quantity") => return Shape::Quantity,
        Some("IntOrString" | "Time" | "FieldsV1") => return Shape::Plain,
        Some(name) => return Shape::Struct(name.to_owned()),
        None => {}
    }
    if schema["items"].is_object() {
        return Shape::List(Box::new(shape(&schema["items"])));
    }
    if schema["additionalProperties"].is_object() {
        return Shape::Map(Box::new(shape(&schema["additionalProperties"])));
    }
    Shape::Plain
}

#[cfg(test)]
mod tests;
