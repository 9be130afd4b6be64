//! Objects as plugins and expressions see them: without fields that are noise or may hold secrets.

use kube::api::DynamicObject;
use serde_json::{Map, Value, json};

use super::key::identity_of;

const LAST_APPLIED: &str = "kubectl.kubernetes.io/last-applied-configuration";

/// Returns the object as it is sent to plugins. Adds apiVersion and kind, because lists leave them out of their items.
pub(crate) fn to_json(object: &DynamicObject, resource: &kube::core::ApiResource) -> Value {
    let mut value = serde_json::to_value(object).unwrap_or_default();
    value["apiVersion"] = json!(resource.api_version);
    value["kind"] = json!(resource.kind);
    redacted(value)
}

/// Returns `metadata` of [`to_json`] alone.
pub(crate) fn metadata_json(object: &DynamicObject) -> Value {
    let mut metadata = serde_json::to_value(&object.metadata).unwrap_or_default();
    if let Some(metadata) = metadata.as_object_mut() {
        redact(metadata);
    }
    metadata
}

/// Removes metadata that is not sent to plugins. Managed fields are noise, and kubectl's annotation may contain values
/// that the user has since removed. Plugins' finalizers are added and removed around calls, and must not change the
/// request.
pub(crate) fn redacted(mut object: Value) -> Value {
    if let Some(metadata) = object.pointer_mut("/metadata").and_then(Value::as_object_mut) {
        redact(metadata);
    }
    object
}

fn redact(metadata: &mut Map<String, Value>) {
    metadata.remove("managedFields");
    if let Some(finalizers) = metadata.get_mut("finalizers").and_then(Value::as_array_mut) {
        finalizers.retain(|name| name.as_str().and_then(identity_of).is_none());
        if finalizers.is_empty() {
            metadata.remove("finalizers");
        }
    }
    if let Some(annotations) = metadata.get_mut("annotations").and_then(Value::as_object_mut) {
        annotations.remove(LAST_APPLIED);
    }
}
