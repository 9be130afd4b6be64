//! Reads manifests, which are JSON. Pure.

use serde_json::Value;

/// Returns the text at `pointer` (RFC 6901), or an empty one.
pub(super) fn text<'a>(manifest: &'a Value, pointer: &str) -> &'a str {
    manifest.pointer(pointer).and_then(Value::as_str).unwrap_or_default()
}

/// Returns kind, namespace and name of the object that `manifest` describes, for errors and logs.
pub(super) fn describe(manifest: &Value) -> String {
    let (kind, name) = (text(manifest, "/kind"), text(manifest, "/metadata/name"));
    match text(manifest, "/metadata/namespace") {
        "" => format!("{kind} {name}"),
        namespace => format!("{kind} {namespace}/{name}"),
    }
}
