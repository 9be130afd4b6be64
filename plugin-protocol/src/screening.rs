//! Kinds and metadata that the controller does not accept from plugins, or only with `allowSensitive`.
//!
//! The controller uses these lists, and so do checks that run before a plugin is deployed.

/// Metadata that only the controller or the API server may set.
pub const RESERVED_METADATA: [&str; 11] = [
    "creationTimestamp",
    "deletionGracePeriodSeconds",
    "deletionTimestamp",
    "finalizers",
    "generateName",
    "generation",
    "managedFields",
    "ownerReferences",
    "resourceVersion",
    "selfLink",
    "uid",
];
/// API groups whose objects control permissions, identities, admission or the API itself.
const DENIED_GROUPS: [&str; 19] = [
    "admissionregistration.k8s.io",
    "apiextensions.k8s.io",
    "apiregistration.k8s.io",
    "authentication.k8s.io",
    "authorization.k8s.io",
    // OpenShift serves RBAC objects under this group, too.
    "authorization.openshift.io",
    "certificates.k8s.io",
    "config.openshift.io",
    "dask.org",
    "flowcontrol.apiserver.k8s.io",
    "machineconfiguration.openshift.io",
    "oauth.openshift.io",
    "operator.openshift.io",
    // A Project is a Namespace.
    "project.openshift.io",
    "rbac.authorization.k8s.io",
    "security.internal.openshift.io",
    "security.openshift.io",
    // A TemplateInstance creates objects of any kind, with the permissions of its creator.
    "template.openshift.io",
    "user.openshift.io",
];
/// Denied kinds of the core group, and kinds that used to be in a legacy group.
const DENIED_KINDS: [(&str, &str); 5] = [
    ("", "Namespace"),
    ("", "Node"),
    ("", "ServiceAccount"),
    ("extensions", "PodSecurityPolicy"),
    ("policy", "PodSecurityPolicy"),
];
/// Kinds that hold secrets, run code with the permissions of the namespace or control permissions, in any group.
///
/// The group does not matter, because several groups may serve the same objects (such as Deployments in `extensions`),
/// and custom resources often take the name of the kind that they resemble.
const SENSITIVE_KINDS: [&str; 17] = [
    "Build",
    "BuildConfig",
    "ClusterRole",
    "ClusterRoleBinding",
    "CronJob",
    "DaemonSet",
    "Deployment",
    "DeploymentConfig",
    "Job",
    "Pod",
    "ReplicaSet",
    "ReplicationController",
    "Role",
    "RoleBinding",
    "Secret",
    "ServiceAccount",
    "StatefulSet",
];

/// Returns whether plugins must never write this kind, regardless of their rules.
///
/// ```
/// use dask_plugin_protocol::screening::is_denied;
/// assert!(is_denied("rbac.authorization.k8s.io", "RoleBinding"));
/// assert!(!is_denied("networking.k8s.io", "Ingress"));
/// ```
pub fn is_denied(group: &str, kind: &str) -> bool {
    DENIED_GROUPS.iter().any(|parent| is_below(parent, group)) || DENIED_KINDS.contains(&(group, kind))
}

/// Returns whether a plugin needs `allowSensitive` to write this kind, in any group.
///
/// ```
/// assert!(dask_plugin_protocol::screening::is_sensitive("Secret"));
/// ```
pub fn is_sensitive(kind: &str) -> bool {
    SENSITIVE_KINDS.contains(&kind)
}

/// Returns the group of an `apiVersion`, "" for the core group.
///
/// ```
/// use dask_plugin_protocol::screening::group_of;
/// assert_eq!((group_of("v1"), group_of("apps/v1")), ("", "apps"));
/// ```
pub fn group_of(api_version: &str) -> &str {
    api_version.rsplit_once('/').map_or("", |(group, _)| group)
}

/// Returns whether the key of a label or an annotation is reserved for the controller, which removes it from manifests.
///
/// ```
/// use dask_plugin_protocol::screening::is_reserved_key;
/// assert!(is_reserved_key("plugin.kubernetes.dask.org/plugin"));
/// assert!(!is_reserved_key("example.org/team") && !is_reserved_key("dask.org"));
/// ```
pub fn is_reserved_key(key: &str) -> bool {
    key.split_once('/').is_some_and(|(domain, _)| is_below("dask.org", domain))
}

/// Returns whether `name` is `parent` or a subdomain of it.
fn is_below(parent: &str, name: &str) -> bool {
    name == parent || name.strip_suffix(parent).is_some_and(|rest| rest.ends_with('.'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_that_control_permissions_are_denied() {
        let denied = [
            ("rbac.authorization.k8s.io", "RoleBinding"),
            ("kubernetes.dask.org", "DaskCluster"),
            ("plugin.kubernetes.dask.org", "Anything"),
            ("", "ServiceAccount"),
            ("", "Namespace"),
            ("admissionregistration.k8s.io", "ValidatingWebhookConfiguration"),
            ("authorization.openshift.io", "RoleBinding"),
            ("oauth.openshift.io", "OAuthClient"),
            ("project.openshift.io", "ProjectRequest"),
            ("security.openshift.io", "SecurityContextConstraints"),
            ("template.openshift.io", "TemplateInstance"),
            ("user.openshift.io", "Group"),
            ("extensions", "PodSecurityPolicy"),
            ("authentication.k8s.io", "TokenRequest"),
        ];
        for (group, kind) in denied {
            assert!(is_denied(group, kind), "{group} {kind}");
        }
        for (group, kind) in [
            ("networking.k8s.io", "Ingress"),
            ("extensions", "Ingress"),
            ("route.openshift.io", "Route"),
            ("", "ConfigMap"),
            ("notdask.org", "DaskThing"),
        ] {
            assert!(!is_denied(group, kind), "{group} {kind}");
        }
    }

    #[test]
    fn secrets_and_workloads_are_sensitive() {
        // The last three are kinds of OpenShift, or of any other group that uses such a name.
        for kind in ["Secret", "Deployment", "Job", "DeploymentConfig", "BuildConfig", "RoleBinding"] {
            assert!(is_sensitive(kind), "{kind}");
        }
        for kind in ["Ingress", "NetworkPolicy", "Service", "ConfigMap", "Route"] {
            assert!(!is_sensitive(kind), "{kind}");
        }
    }

    #[test]
    fn the_core_group_has_no_name() {
        assert_eq!(group_of("v1"), "");
        assert_eq!(group_of("networking.k8s.io/v1"), "networking.k8s.io");
    }
}
