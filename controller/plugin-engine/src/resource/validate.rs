//! Validates plugin resources.

use std::ops::RangeInclusive;

use dask_operator_api::{
    DEADLINE_SECONDS, DaskOperatorPlugin, PORTS, RESYNC_SECONDS, Settings as PluginSettings, TIMEOUT_SECONDS, meta,
};
use kube::ResourceExt as _;
use operator_runtime::rejection::Rejection;

use super::endpoint::{self, ValidatedEndpoint};
use crate::model::key::{PluginKey, key_of};
use crate::{
    config::Settings,
    index::{places::Places, registration::Registration},
    model::{
        child_kind::{self, ChildKind},
        writer::Account,
    },
    selector::matcher::Matcher,
};
use plugin_protocol::limits;

/// The plugin's name is used as the value of a label, which may have at most 63 characters.
const MAX_NAME: usize = 63;

/// How deeply settings may be nested. JSON parsers stop at about 100 levels, and the request adds some levels around
/// the settings.
const MAX_SETTINGS_DEPTH: usize = 64;

/// A plugin resource that passed validation.
#[derive(Clone, Debug)]
pub(crate) struct ValidatedPlugin {
    pub(crate) endpoint: ValidatedEndpoint,
    pub(crate) matcher: Matcher,
    /// The namespace whose subjects the plugin is called about; `None` means all watched namespaces.
    pub(crate) scope: Option<String>,
}

/// The namespace that a plugin serves, and the account that writes its children.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Tenancy {
    /// The ServiceAccount that writes, or `None` for the controller itself.
    pub(crate) account: Option<Account>,
    /// See [`ValidatedPlugin::scope`].
    pub(crate) scope: Option<String>,
}

fn refuse<T>(reason: &'static str, message: impl Into<String>) -> Result<T, Rejection> {
    Err(Rejection::new(reason, message))
}

/// Checks whether the plugin is one of those of its namespace that are served.
pub(crate) fn is_served(plugin: &PluginKey, places: &Places) -> Result<(), Rejection> {
    if places.is_served(plugin) {
        return Ok(());
    }
    let message = format!(
        "the namespace {} has more than {} plugins, and the oldest are served; this one is when others are deleted",
        plugin.namespace,
        places.limit()
    );
    refuse("TooManyPlugins", message)
}

/// Validates the plugin resource.
pub(crate) fn validate(plugin: &DaskOperatorPlugin, settings: &Settings) -> Result<ValidatedPlugin, Rejection> {
    let Tenancy { scope, .. } = tenancy(plugin, settings)?;
    if plugin.name_any().len() > MAX_NAME {
        return refuse("InvalidName", format!("the name may have {MAX_NAME} characters"));
    }
    // The labels of children contain `name` for these plugins and `name.namespace` for plugins of teams.
    if settings.tenants && scope.is_none() && plugin.name_any().contains('.') {
        return refuse("InvalidName", "the name may have no dot where plugins of teams are accepted");
    }
    check_children(plugin)?;
    check_numbers(plugin)?;
    check_settings(&plugin.spec.settings)?;
    let rules = &plugin.spec.match_;
    if rules.namespace_selector.is_some() && settings.watched.is_limited() {
        return refuse(
            "NamespacedInstallation",
            format!(
                "match.namespaceSelector: the controller watches {} only, and may not read labels of namespaces; remove \
                 the selector",
                settings.watched
            ),
        );
    }
    let matcher = Matcher::compile(rules)?;
    let endpoint = endpoint::validate(plugin, &plugin.namespace().unwrap_or_default(), settings.urls)?;
    Ok(ValidatedPlugin { endpoint, matcher, scope })
}

/// Returns the registration: the validated resource and its kinds. `home` is the operator's namespace.
pub(crate) fn registration(
    plugin: &DaskOperatorPlugin,
    valid: &ValidatedPlugin,
    kinds: Vec<ChildKind>,
    home: &str,
) -> Registration {
    let key = key_of(plugin);
    Registration {
        identity: key.identity(home),
        key,
        uid: plugin.uid().unwrap_or_default(),
        generation: plugin.metadata.generation.unwrap_or_default(),
        spec: plugin.spec.clone(),
        kinds,
        matcher: valid.matcher.clone(),
        scope: valid.scope.clone(),
    }
}

/// Returns the tenancy of the plugin. A plugin in the operator's namespace serves all namespaces. A plugin of a team
/// serves its own namespace only, with permissions that the team has granted.
pub(crate) fn tenancy(plugin: &DaskOperatorPlugin, settings: &Settings) -> Result<Tenancy, Rejection> {
    let (namespace, own) = (plugin.namespace().unwrap_or_default(), &settings.namespace);
    let account = match &plugin.spec.writer {
        // A name with a colon would impersonate another user.
        Some(writer) if !writer.service_account_name.split('.').all(meta::is_dns_label) => {
            return refuse("InvalidWriter", "writer.serviceAccountName is not the name of a ServiceAccount");
        }
        Some(writer) => Some(Account { namespace: namespace.clone(), name: writer.service_account_name.clone() }),
        None => None,
    };
    if namespace == *own {
        return Ok(Tenancy { account, scope: None });
    }
    if !settings.tenants {
        let message = format!("plugins are accepted in the operator's namespace {own} only: plugins of teams are off");
        return refuse("TenantsDisabled", message);
    }
    if !settings.watched.contains(&namespace) {
        let message = format!("the controller does not watch the namespace {namespace}, where the plugin would work");
        return refuse("NotWatched", message);
    }
    if account.is_none() {
        let message = format!(
            "writer is required outside of the operator's namespace: name a ServiceAccount of {namespace} that may \
             write the kinds in children"
        );
        return refuse("WriterRequired", message);
    }
    if plugin.spec.endpoint.socket.is_some() {
        // Sockets belong to sidecars in the controller's pod, which only the administrator of the controller can add.
        return refuse("InvalidEndpoint", "endpoint.socket is for plugins in the operator's namespace");
    }
    Ok(Tenancy { account, scope: Some(namespace) })
}

/// Checks numbers against their ranges. The API server checks them too, unless an older definition is installed.
fn check_numbers(plugin: &DaskOperatorPlugin) -> Result<(), Rejection> {
    let spec = &plugin.spec;
    let port = spec.endpoint.service.as_ref().map(|service| ("endpoint.service.port", service.port, PORTS));
    let fields: [(&str, i64, RangeInclusive<i64>); 3] = [
        ("timeoutSeconds", spec.timeout_seconds, TIMEOUT_SECONDS),
        ("resyncSeconds", spec.resync_seconds, RESYNC_SECONDS),
        ("finalize.deadlineSeconds", spec.finalize.deadline_seconds, DEADLINE_SECONDS),
    ];
    for (field, value, range) in fields.into_iter().chain(port) {
        if !range.contains(&value) {
            let message = format!("{field} is {value}, and may be {} to {}", range.start(), range.end());
            return refuse("OutOfRange", message);
        }
    }
    Ok(())
}

/// Checks the size and the depth of the settings. The size is checked first, so that settings that are too large are
/// not parsed.
fn check_settings(settings: &PluginSettings) -> Result<(), Rejection> {
    let (size, depth) = (settings.text().len(), settings.depth());
    if size > limits::MAX_SETTINGS_BYTES {
        let message = format!("settings have {size} bytes, and may have {}", limits::MAX_SETTINGS_BYTES);
        return refuse("SettingsTooLarge", message);
    }
    if depth > MAX_SETTINGS_DEPTH {
        let message = format!("settings are nested {depth} levels deep, and may be {MAX_SETTINGS_DEPTH}");
        return refuse("InvalidSettings", message);
    }
    match settings.parse() {
        Ok(_) => Ok(()),
        Err(error) => refuse("InvalidSettings", format!("settings cannot be read: {error}")),
    }
}

fn check_children(plugin: &DaskOperatorPlugin) -> Result<(), Rejection> {
    for rule in &plugin.spec.children {
        let group = child_kind::group_of(&rule.api_version);
        let what = format!("{} {}", rule.api_version, rule.kind);
        if child_kind::is_denied(group, &rule.kind) {
            return refuse("KindDenied", format!("children: no plugin may write {what}"));
        }
        if child_kind::is_sensitive(&rule.kind) && !rule.allow_sensitive {
            return refuse("Sensitive", format!("children: {what} needs allowSensitive: true"));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use operator_runtime::scope::Scope;
    use serde_json::{Value, json};

    use super::*;
    use crate::config::test_settings;

    fn plugin(edit: impl Fn(&mut Value)) -> Result<ValidatedPlugin, Rejection> {
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
        validate(&serde_json::from_value(value).unwrap(), &test_settings())
    }

    /// Like `plugin`, in a team's namespace and with a writer, for a controller that accepts such plugins.
    fn team_plugin(edit: impl Fn(&mut Value), watched: Option<&str>) -> Result<Tenancy, Rejection> {
        let mut value = json!({
            "apiVersion": "kubernetes.dask.org/v1alpha1",
            "kind": "DaskOperatorPlugin",
            "metadata": {"name": "ingress", "namespace": "team-a"},
            "spec": {
                "endpoint": {"service": {"name": "ingress"}},
                "subjects": [{"kind": "Service", "component": "scheduler"}],
                "children": [{"apiVersion": "networking.k8s.io/v1", "kind": "Ingress"}],
                "writer": {"serviceAccountName": "writer"},
            },
        });
        edit(&mut value);
        let watched = Scope::of(watched.map(|names| names.split(',')).into_iter().flatten());
        let settings = Settings { tenants: true, watched, ..test_settings() };
        let plugin = serde_json::from_value(value).unwrap();
        validate(&plugin, &settings)?;
        tenancy(&plugin, &settings)
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
    fn denied_and_sensitive_kinds_are_refused_at_the_resource_already() {
        let children = |api_version: &'static str, kind: &'static str| {
            move |value: &mut Value| value["spec"]["children"] = json!([{"apiVersion": api_version, "kind": kind}])
        };
        assert_eq!(reason(children("rbac.authorization.k8s.io/v1", "RoleBinding")), "KindDenied");
        assert_eq!(reason(children("v1", "Secret")), "Sensitive");
    }

    #[test]
    fn a_number_out_of_its_range_is_refused_by_the_name_of_its_field() {
        let table = [
            ("/timeoutSeconds", json!(31), "timeoutSeconds is 31, and may be 1 to 30"),
            ("/resyncSeconds", json!(5_000_000_000_i64), "resyncSeconds is 5000000000, and may be 10 to 31536000"),
            ("/finalize", json!({"deadlineSeconds": 0}), "finalize.deadlineSeconds is 0, and may be 1 to 31536000"),
            (
                "/endpoint",
                json!({"service": {"name": "a", "port": 70_000}}),
                "endpoint.service.port is 70000, and may be 1 to 65535",
            ),
        ];
        for (field, value, expected) in table {
            let refusal = plugin(|plugin| plugin["spec"][&field[1..]] = value.clone()).unwrap_err();
            assert_eq!((refusal.reason, refusal.message.as_str()), ("OutOfRange", expected));
        }
    }

    #[test]
    fn settings_that_are_nested_too_deeply_are_refused() {
        let nested = |levels: usize| (0..levels).fold(json!(1), |inner, _| json!({"a": inner}));
        assert!(plugin(|value| value["spec"]["settings"] = nested(MAX_SETTINGS_DEPTH)).is_ok());
        assert_eq!(reason(|value| value["spec"]["settings"] = nested(MAX_SETTINGS_DEPTH + 1)), "InvalidSettings");
    }

    #[test]
    fn settings_that_are_too_large_are_refused() {
        let large = "x".repeat(limits::MAX_SETTINGS_BYTES);
        assert_eq!(reason(|value| value["spec"]["settings"] = json!({"a": large})), "SettingsTooLarge");
    }

    #[test]
    fn settings_with_half_a_character_are_refused() {
        let lone: PluginSettings = serde_json::from_str(r#"{"a": "\ud800"}"#).unwrap();
        assert_eq!(check_settings(&lone).unwrap_err().reason, "InvalidSettings");
    }

    #[test]
    fn plugins_of_teams_are_refused_unless_they_are_on() {
        assert_eq!(reason(|value| value["metadata"]["namespace"] = json!("team-a")), "TenantsDisabled");
    }

    #[test]
    fn a_plugin_of_a_team_serves_only_its_namespace_with_a_writer_from_it() {
        let account = Account { namespace: "team-a".to_owned(), name: "writer".to_owned() };
        let tenancy = Tenancy { account: Some(account), scope: Some("team-a".to_owned()) };
        assert_eq!(team_plugin(|_| {}, None), Ok(tenancy.clone()));
        for watched in ["team-a", "team-b,team-a"] {
            assert_eq!(team_plugin(|_| {}, Some(watched)), Ok(tenancy.clone()));
        }
        let table: [(&str, Value, &str); 5] = [
            ("writer", Value::Null, "WriterRequired"),
            ("endpoint", json!({"socket": "ingress.sock"}), "InvalidEndpoint"),
            ("endpoint", json!({"service": {"name": "ingress", "namespace": "dask-operator"}}), "InvalidEndpoint"),
            ("writer", json!({"serviceAccountName": "a:b"}), "InvalidWriter"),
            ("writer", json!({"serviceAccountName": ""}), "InvalidWriter"),
        ];
        for (field, value, expected) in table {
            let refusal = team_plugin(|plugin| plugin["spec"][field] = value.clone(), None).unwrap_err();
            assert_eq!(refusal.reason, expected, "{field} {value}");
        }
        assert_eq!(team_plugin(|_| {}, Some("team-b")).unwrap_err().reason, "NotWatched");
    }

    #[test]
    fn a_plugin_of_the_operator_serves_all_namespaces_with_or_without_a_writer() {
        let home = |value: &mut Value| value["metadata"]["namespace"] = json!("dask-operator");
        let account = Account { namespace: "dask-operator".to_owned(), name: "writer".to_owned() };
        assert_eq!(team_plugin(home, None), Ok(Tenancy { account: Some(account), scope: None }));
        let alone = |value: &mut Value| {
            home(value);
            value["spec"]["writer"] = Value::Null;
        };
        assert_eq!(team_plugin(alone, Some("team-b")), Ok(Tenancy { account: None, scope: None }));
    }

    /// Otherwise `ingress.team-a` in the operator's namespace would be confused with `ingress` in `team-a`.
    #[test]
    fn no_two_plugins_have_one_identity() {
        let dotted = |value: &mut Value| value["metadata"]["name"] = json!("ingress.team-a");
        assert!(plugin(dotted).is_ok(), "without teams there is nothing to be confused with");
        let home = |value: &mut Value| {
            dotted(value);
            value["metadata"]["namespace"] = json!("dask-operator");
        };
        assert_eq!(team_plugin(home, None).unwrap_err().reason, "InvalidName");
        assert!(team_plugin(dotted, None).is_ok());
    }

    /// Reading the labels of namespaces requires cluster-wide requests.
    #[test]
    fn an_installation_in_named_namespaces_refuses_selectors_of_namespaces() {
        let select = |value: &mut Value| value["spec"]["match"] = json!({"namespaceSelector": {}});
        let refusal = team_plugin(select, Some("team-a,team-b")).unwrap_err();
        assert_eq!(refusal.reason, "NamespacedInstallation");
        assert!(refusal.message.contains("watches the namespaces team-a, team-b only"), "{}", refusal.message);
        assert!(team_plugin(select, None).is_ok());
        let expression = |value: &mut Value| {
            value["spec"]["match"] = json!({"conditions": [{"name": "a", "expression": "unknown"}]});
        };
        assert_eq!(reason(expression), "InvalidExpression");
    }
}
