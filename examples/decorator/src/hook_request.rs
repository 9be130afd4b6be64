//! Builds the request for the hook of a `DecoratorController`.

use dask_plugin_server::protocol::{Hook, PluginRequest};
use serde_json::{Map, Value, json};

use crate::config::HookVersion;
use crate::settings::Settings;

/// Returns the body for the hook. `related` is empty, because it needs a customize hook.
pub(crate) fn hook_request(request: &PluginRequest, settings: &Settings, version: HookVersion) -> Value {
    let controller = settings.controller.clone().map_or_else(|| controller(request), Value::Object);
    json!({
        "controller": controller,
        "object": request.subject.object,
        "attachments": attachments(request, settings, version),
        "related": {},
        "finalizing": request.hook == Hook::Finalize,
    })
}

fn controller(request: &PluginRequest) -> Value {
    json!({
        "apiVersion": "metacontroller.k8s.io/v1alpha1",
        "kind": "DecoratorController",
        "metadata": {"name": request.plugin.name, "generation": request.plugin.generation},
        "spec": {},
        "status": {},
    })
}

/// Returns the attachments by kind and name: `{"Ingress.networking.k8s.io/v1": {"demo": {…}}}`.
fn attachments(request: &PluginRequest, settings: &Settings, version: HookVersion) -> Map<String, Value> {
    let empty = settings.attachments.iter().map(|kind| (format!("{}.{}", kind.kind, kind.api_version), json!({})));
    let mut attachments: Map<String, Value> = empty.collect();
    for child in request.observed.children.values() {
        let object = &child.object;
        let text = |pointer: &str| object.pointer(pointer).and_then(Value::as_str).unwrap_or_default();
        let kind = format!("{}.{}", text("/kind"), text("/apiVersion"));
        let name = match (version, text("/metadata/namespace")) {
            (HookVersion::V1, _) | (HookVersion::V2, "") => text("/metadata/name").to_owned(),
            (HookVersion::V2, namespace) => format!("{namespace}/{}", text("/metadata/name")),
        };
        attachments.entry(kind).or_insert_with(|| json!({}))[name] = object.clone();
    }
    attachments
}

#[cfg(test)]
mod tests {
    use dask_plugin_server::testing::{RequestBuilder, scheduler_service};

    use super::*;

    fn request(settings: &Value, version: HookVersion) -> Value {
        let map = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a", "namespace": "team-a"}});
        let request = RequestBuilder::sync().settings(settings.clone()).observed("configmap-a", map).build();
        hook_request(&request, &dask_plugin_server::settings(&request).unwrap(), version)
    }

    fn settings() -> Value {
        json!({"attachments": [{"apiVersion": "networking.k8s.io/v1", "kind": "Ingress"}]})
    }

    #[test]
    fn the_request_has_the_fields_that_metacontroller_sends() {
        let map = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a", "namespace": "team-a"}});
        let expected = json!({
            "controller": {
                "apiVersion": "metacontroller.k8s.io/v1alpha1",
                "kind": "DecoratorController",
                "metadata": {"name": "plugin", "generation": 1},
                "spec": {},
                "status": {},
            },
            "object": scheduler_service("demo", "team-a"),
            "attachments": {"Ingress.networking.k8s.io/v1": {}, "ConfigMap.v1": {"a": map}},
            "related": {},
            "finalizing": false,
        });
        assert_eq!(request(&settings(), HookVersion::V1), expected);
    }

    #[test]
    fn the_keys_of_version_2_have_the_namespace() {
        let request = request(&settings(), HookVersion::V2);
        assert_eq!(request["attachments"]["ConfigMap.v1"]["team-a/a"]["metadata"]["name"], "a");
        assert_eq!(request["attachments"]["ConfigMap.v1"].as_object().unwrap().len(), 1);
    }

    #[test]
    fn a_controller_in_the_settings_is_sent_as_it_is() {
        let mut settings = settings();
        settings["controller"] = json!({"metadata": {"name": "expose", "labels": {"a": "b"}}, "spec": {"x": 1}});
        assert_eq!(request(&settings, HookVersion::V1)["controller"], settings["controller"]);
    }
}
