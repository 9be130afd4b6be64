use kube::ResourceExt as _;
use plugin_protocol::limits;

use super::endpoint::{self, ValidatedEndpoint};
use crate::{
    crd::{DaskOperatorPlugin, FailurePolicy},
    invalid::Invalid,
    plugin::{kinds, matcher::Matcher},
};

/// A label's value has at most 63 characters, and the plugin's name is one.
const MAX_NAME: usize = 63;

/// A plugin resource that can be acted on.
#[derive(Clone, Debug)]
pub(super) struct ValidatedPlugin {
    pub(super) endpoint: ValidatedEndpoint,
    pub(super) matcher: Matcher,
}

fn refuse<T>(reason: &'static str, message: impl Into<String>) -> Result<T, Invalid> {
    Err(Invalid::new(reason, message))
}

/// `namespace` is the operator's.
pub(super) fn validate(
    plugin: &DaskOperatorPlugin,
    namespace: &str,
    allow_urls: bool,
) -> Result<ValidatedPlugin, Invalid> {
    if plugin.namespace().as_deref() != Some(namespace) {
        let message = format!("plugins are accepted in the operator's namespace {namespace} only");
        return refuse("TenantsDisabled", message);
    }
    if plugin.name_any().len() > MAX_NAME {
        return refuse("InvalidName", format!("the name may have {MAX_NAME} characters"));
    }
    check_supported(plugin)?;
    check_children(plugin)?;
    let settings = serde_json::to_vec(&plugin.spec.settings).map_or(0, |bytes| bytes.len());
    if settings > limits::MAX_SETTINGS_BYTES {
        let message = format!("settings have {settings} bytes, and may have {}", limits::MAX_SETTINGS_BYTES);
        return refuse("SettingsTooLarge", message);
    }
    let matcher = Matcher::compile(&plugin.spec.match_)?;
    Ok(ValidatedPlugin { endpoint: endpoint::validate(plugin, namespace, allow_urls)?, matcher })
}

/// Fields that this version does not act on are refused, not ignored: a user who relies on one must know.
fn check_supported(plugin: &DaskOperatorPlugin) -> Result<(), Invalid> {
    let spec = &plugin.spec;
    let unsupported = [
        ("match.namespaceSelector", spec.match_.namespace_selector.is_some()),
        ("match.conditions", !spec.match_.conditions.is_empty()),
        ("writer", spec.writer.is_some()),
        ("failurePolicy Fail", spec.failure_policy == FailurePolicy::Fail),
    ];
    match unsupported.iter().find(|(_, used)| *used) {
        Some((field, _)) => refuse("NotSupported", format!("this version does not support {field}")),
        None => Ok(()),
    }
}

fn check_children(plugin: &DaskOperatorPlugin) -> Result<(), Invalid> {
    for rule in &plugin.spec.children {
        let group = kinds::group_of(&rule.api_version);
        let what = format!("{} {}", rule.api_version, rule.kind);
        if kinds::is_denied(group, &rule.kind) {
            return refuse("KindDenied", format!("children: no plugin may write {what}"));
        }
        if kinds::is_sensitive(group, &rule.kind) && !rule.allow_sensitive {
            return refuse("Sensitive", format!("children: {what} needs allowSensitive: true"));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn plugin(edit: impl Fn(&mut Value)) -> Result<ValidatedPlugin, Invalid> {
        let mut value = json!({
            "apiVersion": "kubernetes.dask.org/v1alpha1",
            "kind": "DaskOperatorPlugin",
            "metadata": {"name": "ingress", "namespace": "dask-operator"},
            "spec": {
                "endpoint": {"service": {"name": "ingress"}},
                "subjects": [{"kind": "Service", "component": "scheduler"}],
                "children": [{"apiVersion": "networking.k8s.io/v1", "kind": "Ingress"}],
            },
        });
        edit(&mut value);
        validate(&serde_json::from_value(value).unwrap(), "dask-operator", false)
    }

    fn reason(edit: impl Fn(&mut Value)) -> &'static str {
        plugin(edit).unwrap_err().reason
    }

    #[test]
    fn the_smallest_plugin_is_accepted() {
        assert!(plugin(|_| {}).is_ok());
        assert!(plugin(|value| value["spec"]["endpoint"]["service"]["namespace"] = json!("dask-operator")).is_ok());
    }

    #[test]
    fn what_is_not_supported_is_refused_and_not_ignored() {
        let edits: [(&str, Value); 3] = [
            ("writer", json!({"serviceAccountName": "w"})),
            ("failurePolicy", json!("Fail")),
            ("match", json!({"conditions": [{"name": "a", "expression": "true"}]})),
        ];
        for (field, value) in edits {
            assert_eq!(reason(|plugin| plugin["spec"][field] = value.clone()), "NotSupported", "{field}");
        }
    }

    #[test]
    fn denied_and_sensitive_kinds_are_refused_at_the_resource_already() {
        let children = |api_version: &'static str, kind: &'static str| {
            move |value: &mut Value| value["spec"]["children"] = json!([{"apiVersion": api_version, "kind": kind}])
        };
        assert_eq!(reason(children("rbac.authorization.k8s.io/v1", "RoleBinding")), "KindDenied");
        assert_eq!(reason(children("v1", "Secret")), "Sensitive");
    }

    #[test]
    fn plugins_of_other_namespaces_are_refused() {
        assert_eq!(reason(|value| value["metadata"]["namespace"] = json!("team-a")), "TenantsDisabled");
    }
}
