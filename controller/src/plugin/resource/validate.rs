use kube::ResourceExt as _;
use plugin_protocol::limits;

use crate::{
    crd::{DaskOperatorPlugin, ServiceEndpoint, TlsMode},
    invalid::Invalid,
    meta,
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

/// Where the plugin listens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum ValidatedEndpoint {
    Service(ServiceEndpoint),
    /// A file name.
    Socket(String),
}

fn refuse<T>(reason: &'static str, message: impl Into<String>) -> Result<T, Invalid> {
    Err(Invalid::new(reason, message))
}

/// `namespace` is the operator's.
pub(super) fn validate(plugin: &DaskOperatorPlugin, namespace: &str) -> Result<ValidatedPlugin, Invalid> {
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
    Ok(ValidatedPlugin { endpoint: validate_endpoint(plugin, namespace)?, matcher })
}

/// Fields that this version does not act on are refused, not ignored: a user who relies on one must know.
fn check_supported(plugin: &DaskOperatorPlugin) -> Result<(), Invalid> {
    let spec = &plugin.spec;
    let unsupported = [
        ("endpoint.url", spec.endpoint.url.is_some()),
        ("tls.mode Custom", spec.tls.mode == TlsMode::Custom),
        ("tls.caBundle", spec.tls.ca_bundle.is_some()),
        ("tls.caFrom", spec.tls.ca_from.is_some()),
        ("tls.clientCertificate", spec.tls.client_certificate.is_some()),
        ("auth", spec.auth.hmac.is_some() || spec.auth.service_account_token == Some(true)),
        ("match.namespaceSelector", spec.match_.namespace_selector.is_some()),
        ("match.conditions", !spec.match_.conditions.is_empty()),
        ("writer", spec.writer.is_some()),
        ("finalize", spec.finalize.enabled),
        ("children.recreateOnImmutable", spec.children.iter().any(|rule| rule.recreate_on_immutable)),
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

fn validate_endpoint(plugin: &DaskOperatorPlugin, namespace: &str) -> Result<ValidatedEndpoint, Invalid> {
    let endpoint = &plugin.spec.endpoint;
    if let Some(socket) = &endpoint.socket {
        // The API server checks the pattern; a path out of the directory must not depend on that alone.
        if socket.contains('/') || socket.starts_with('.') || socket.is_empty() {
            return refuse("InvalidEndpoint", "endpoint.socket must be a file name");
        }
        return Ok(ValidatedEndpoint::Socket(socket.clone()));
    }
    match &endpoint.service {
        // Name and path go into a URL: neither may lead to another host.
        Some(service) if !is_service_name(&service.name) => {
            refuse("InvalidEndpoint", "endpoint.service.name is not the name of a Service")
        }
        Some(service) if !is_plain_path(&service.path) => {
            refuse("InvalidEndpoint", "endpoint.service.path must begin with / and hold no query or fragment")
        }
        Some(service) if service.namespace.as_deref().is_none_or(|other| other == namespace) => {
            Ok(ValidatedEndpoint::Service(service.clone()))
        }
        Some(_) => refuse("InvalidEndpoint", "endpoint.service must be in the namespace of the plugin resource"),
        None => refuse("InvalidEndpoint", "one of endpoint.service, endpoint.socket and endpoint.url must be set"),
    }
}

/// RFC 1123 label, as the API server wants names of Services.
fn is_service_name(name: &str) -> bool {
    name.len() <= MAX_NAME && meta::is_dns_label(name)
}

fn is_plain_path(path: &str) -> bool {
    let allowed = |c: u8| c.is_ascii_alphanumeric() || b"._~/-".contains(&c);
    path.starts_with('/') && path.bytes().all(allowed)
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
        validate(&serde_json::from_value(value).unwrap(), "dask-operator")
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
        let edits: [(&str, Value); 5] = [
            ("tls", json!({"caBundle": "x"})),
            ("writer", json!({"serviceAccountName": "w"})),
            ("tls", json!({"mode": "Custom"})),
            ("finalize", json!({"enabled": true})),
            ("match", json!({"conditions": [{"name": "a", "expression": "true"}]})),
        ];
        for (field, value) in edits {
            assert_eq!(reason(|plugin| plugin["spec"][field] = value.clone()), "NotSupported", "{field}");
        }
    }

    #[test]
    fn endpoints_cannot_leave_their_place() {
        let elsewhere = |value: &mut Value| value["spec"]["endpoint"]["service"]["namespace"] = json!("kube-system");
        assert_eq!(reason(elsewhere), "InvalidEndpoint");
        for socket in ["../run/secret.sock", ".hidden", ""] {
            let edit = |value: &mut Value| value["spec"]["endpoint"] = json!({"socket": socket});
            assert_eq!(reason(edit), "InvalidEndpoint", "{socket}");
        }
    }

    /// `10.0.0.5:22/` would make the controller connect to any host and port.
    #[test]
    fn a_service_endpoint_cannot_name_another_host() {
        for name in ["10.0.0.5:22/", "a.other", "a?", "a#", "user@host", "", "-a", "Upper"] {
            let edit = |value: &mut Value| value["spec"]["endpoint"]["service"]["name"] = json!(name);
            assert_eq!(reason(edit), "InvalidEndpoint", "{name}");
        }
        for path in ["", "dask", "/a?b", "/a#b", "/a b", "@host"] {
            let edit = |value: &mut Value| value["spec"]["endpoint"]["service"]["path"] = json!(path);
            assert_eq!(reason(edit), "InvalidEndpoint", "{path}");
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
