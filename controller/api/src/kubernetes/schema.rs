//! Schemas of Kubernetes' own types, as CustomResourceDefinitions need them: without references, with markers for
//! merging, and small.
//!
//! `kubectl apply` stores a whole definition in an annotation, and all annotations together have at most 262,144 bytes.
//! Descriptions are therefore kept where users look first, and only their first sentence.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1 as core;
use schemars::generate::SchemaSettings;
use serde_json::{Value, json};

use super::merge_keys::{self, CORE};

/// What a reference to another definition begins with.
const REFERENCE: &str = "#/components/schemas/";
/// Types at whose level Kubernetes adds fields from time to time. Fields that this build does not know are kept there,
/// so that they reach pods and Services.
const OPEN: [&str; 3] = ["PodSpec", "Container", "ServiceSpec"];
/// Types whose fields keep a description.
const DESCRIBED: [&str; 3] = ["PodSpec", "Container", "ServiceSpec"];
/// A field whose descriptions would repeat those of `containers`.
const REPEATED: &str = "initContainers";

/// Kubernetes' types by their short name, with references between them.
pub(super) type Types = BTreeMap<String, Value>;

/// Returns the schema of a `PodSpec`.
pub(crate) fn pod_spec() -> Value {
    inlined("PodSpec")
}

/// Returns the schema of a `ServiceSpec`.
pub(crate) fn service_spec() -> Value {
    inlined("ServiceSpec")
}

/// Returns the short name of the type that `schema` refers to.
pub(super) fn referenced(schema: &Value) -> Option<&str> {
    schema["$ref"].as_str()?.rsplit('.').next()
}

/// Returns the types that a pod and a Service are made of. They are several megabytes in memory.
pub(super) fn types() -> Types {
    let mut generator = SchemaSettings::openapi3().into_generator();
    generator.subschema_for::<core::PodSpec>();
    generator.subschema_for::<core::ServiceSpec>();
    let mut types: Types =
        generator.take_definitions(false).into_iter().map(|(name, schema)| (short(&name).to_owned(), schema)).collect();
    for (name, schema) in &mut types {
        merge_keys::mark(name, schema);
        if OPEN.contains(&name.as_str()) {
            schema["x-kubernetes-preserve-unknown-fields"] = json!(true);
        }
    }
    // Debug containers are not part of templates. Pods are refused that have one when they are created.
    if let Some(fields) = types.get_mut("PodSpec").and_then(|schema| schema["properties"].as_object_mut()) {
        fields.remove("ephemeralContainers");
    }
    types.insert("ObjectMeta".to_owned(), template_metadata());
    types
}

/// Returns the part of `ObjectMeta` that a template can set. Written by a Go program, it may contain
/// `creationTimestamp: null`.
fn template_metadata() -> Value {
    let strings = json!({"type": "object", "additionalProperties": {"type": "string"}});
    json!({
        "type": "object",
        "properties": {
            "annotations": strings,
            "creationTimestamp": {"type": "string", "format": "date-time", "nullable": true},
            "finalizers": {"type": "array", "items": {"type": "string"}},
            "labels": strings,
            "name": {"type": "string"},
            "namespace": {"type": "string"},
        },
    })
}

fn short(name: &str) -> &str {
    name.strip_prefix(CORE).unwrap_or_else(|| name.rsplit('.').next().unwrap_or(name))
}

/// Returns the schema of the type `name` with all types that it refers to.
fn inlined(name: &str) -> Value {
    without_references(&types(), &json!({"$ref": format!("{REFERENCE}{CORE}{name}")}), true)
}

/// Returns `schema` with the types that it refers to in place of the references. `described` says whether it keeps its
/// description, and those of its fields if it is one of [`DESCRIBED`].
fn without_references(types: &Types, schema: &Value, described: bool) -> Value {
    let name = referenced(schema);
    let definition = name.and_then(|name| types.get(name)).unwrap_or(schema);
    let mut object = definition.as_object().cloned().unwrap_or_default();
    let text = schema.get("description").or_else(|| object.get("description")).and_then(Value::as_str);
    match text.filter(|_| described).map(first_sentence) {
        Some(text) => object.insert("description".to_owned(), json!(text)),
        None => object.remove("description"),
    };
    let fields_described = described && name.is_some_and(|name| DESCRIBED.contains(&name));
    for (field, schema) in object.get_mut("properties").and_then(Value::as_object_mut).into_iter().flatten() {
        *schema = without_references(types, schema, fields_described && field != REPEATED);
    }
    if let Some(item) = object.get_mut("items") {
        *item = without_references(types, item, described);
        remove_description(item);
    }
    if let Some(value) = object.get_mut("additionalProperties").filter(|value| value.is_object()) {
        *value = without_references(types, value, false);
    }
    Value::Object(object)
}

fn remove_description(schema: &mut Value) {
    if let Some(schema) = schema.as_object_mut() {
        schema.remove("description");
    }
}

fn first_sentence(text: &str) -> &str {
    let line = text.split('\n').next().unwrap_or(text);
    line.split_once(". ").map_or(line, |(sentence, _)| sentence)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn walk(schema: &Value, path: &str, visit: &mut dyn FnMut(&str, &Value)) {
        visit(path, schema);
        for (field, schema) in schema["properties"].as_object().into_iter().flatten() {
            walk(schema, &format!("{path}.{field}"), visit);
        }
        for inner in ["items", "additionalProperties"] {
            if schema[inner].is_object() {
                walk(&schema[inner], &format!("{path}[]"), visit);
            }
        }
    }

    #[test]
    fn no_reference_is_left_and_every_field_has_a_type() {
        for schema in [pod_spec(), service_spec()] {
            walk(&schema, "", &mut |path, schema| {
                let typed = schema["type"].is_string() || schema["x-kubernetes-int-or-string"] == true;
                assert!(typed && schema.get("$ref").is_none(), "{path}: {schema}");
            });
        }
    }

    /// The API server refuses a definition whose merge keys may be absent.
    #[test]
    fn merge_keys_are_required_or_have_a_default() {
        let mut lists = 0;
        for schema in [pod_spec(), service_spec()] {
            walk(&schema, "", &mut |path, schema| {
                for key in schema["x-kubernetes-list-map-keys"].as_array().into_iter().flatten() {
                    let item = &schema["items"];
                    let required = item["required"].as_array().is_some_and(|fields| fields.contains(key));
                    let has_default = item["properties"][key.as_str().unwrap()].get("default").is_some();
                    assert!(required || has_default, "{path}: {key}");
                    lists += 1;
                }
            });
        }
        assert!(lists > 15, "{lists}");
    }

    #[test]
    fn unknown_fields_are_kept_where_kubernetes_adds_them_and_nowhere_else() {
        let mut open = Vec::new();
        walk(&pod_spec(), "pod", &mut |path, schema| {
            if schema.get("x-kubernetes-preserve-unknown-fields").is_some() {
                open.push(path.to_owned());
            }
        });
        open.sort();
        assert_eq!(open, ["pod", "pod.containers[]", "pod.initContainers[]"]);
    }

    #[test]
    fn a_field_of_a_container_has_a_description_and_one_of_its_probe_has_none() {
        let container = &pod_spec()["properties"]["containers"]["items"]["properties"];
        assert_eq!(container["livenessProbe"]["description"], "Periodic probe of container liveness");
        assert_eq!(
            container["livenessProbe"]["properties"]["periodSeconds"],
            json!({"type": "integer", "format": "int32"})
        );
    }
}
