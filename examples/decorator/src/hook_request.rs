//! Builds the request for the hook of a `DecoratorController`.

use dask_plugin_server::protocol::{Hook, PluginRequest};
use serde_json::{Map, Value, json};

use crate::settings::Settings;

/// Returns the body for the hook. `related` is empty, because it needs a customize hook.
pub(crate) fn hook_request(request: &PluginRequest, settings: &Settings) -> Value {
    json!({
        "controller": {
            "apiVersion": "metacontroller.k8s.io/v1alpha1",
            "kind": "DecoratorController",
            "metadata": {"name": request.plugin.name, "generation": request.plugin.generation},
            "spec": {},
        },
        "object": request.subject.object,
        "attachments": attachments(request, settings),
        "related": {},
        "finalizing": request.hook == Hook::Finalize,
    })
}

/// Returns the attachments by kind and name: `{"Ingress.networking.k8s.io/v1": {"demo": {…}}}`.
fn attachments(request: &PluginRequest, settings: &Settings) -> Map<String, Value> {
    let empty = settings.attachments.iter().map(|kind| (format!("{}.{}", kind.kind, kind.api_version), json!({})));
    let mut attachments: Map<String, Value> = empty.collect();
    for child in request.observed.children.values() {
        let object = &child.object;
        let text = |pointer: &str| object.pointer(pointer).and_then(Value::as_str).unwrap_or_default();
        let kind = format!("{}.{}", text("/kind"), text("/apiVersion"));
        attachments.entry(kind).or_insert_with(|| json!({}))[text("/metadata/name")] = object.clone();
    }
    attachments
}
