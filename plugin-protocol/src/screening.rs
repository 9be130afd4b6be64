//! What the controller lets no child be, or be only with leave: for the controller itself, and for checks before it.

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
/// Groups whose objects decide over rights, identities, admission or the API itself.
const DENIED_GROUPS: [&str; 19] = [
    "admissionregistration.k8s.io",
    "apiextensions.k8s.io",
    "apiregistration.k8s.io",
    "authentication.k8s.io",
    "authorization.k8s.io",
    // OpenShift's own names of RBAC's kinds: an object of the one is one of the other.
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
    // A TemplateInstance makes objects of any kind, with the rights of who made it.
    "template.openshift.io",
    "user.openshift.io",
];
/// Kinds of the core group, and those that were in a legacy group before they had one of their own.
const DENIED_KINDS: [(&str, &str); 5] = [
    ("", "Namespace"),
    ("", "Node"),
    ("", "ServiceAccount"),
    ("extensions", "PodSecurityPolicy"),
    ("policy", "PodSecurityPolicy"),
];
/// Kinds that hold secrets, run code with the namespace's rights or decide over rights, whatever their group is: the
/// same objects may be served by several groups, such as Deployments by `extensions`, and others take the name of what
/// they resemble.
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

/// Whether no plugin may ever write this kind, whatever its rules say.
///
/// ```
/// use dask_plugin_protocol::screening::is_denied;
/// assert!(is_denied("rbac.authorization.k8s.io", "RoleBinding"));
/// assert!(!is_denied("networking.k8s.io", "Ingress"));
/// ```
pub fn is_denied(group: &str, kind: &str) -> bool {
    DENIED_GROUPS.iter().any(|parent| is_below(parent, group)) || DENIED_KINDS.contains(&(group, kind))
}

/// Whether a plugin may write this kind only with `allowSensitive`, in whatever group.
///
/// ```
/// assert!(dask_plugin_protocol::screening::is_sensitive("Secret"));
/// ```
pub fn is_sensitive(kind: &str) -> bool {
    SENSITIVE_KINDS.contains(&kind)
}

/// The group of an `apiVersion`; "" for the core group.
///
/// ```
/// use dask_plugin_protocol::screening::group_of;
/// assert_eq!((group_of("v1"), group_of("apps/v1")), ("", "apps"));
/// ```
pub fn group_of(api_version: &str) -> &str {
    api_version.rsplit_once('/').map_or("", |(group, _)| group)
}

/// Whether the key of a label or an annotation belongs to the controller, which removes it from manifests.
///
/// ```
/// use dask_plugin_protocol::screening::is_reserved_key;
/// assert!(is_reserved_key("plugin.kubernetes.dask.org/plugin"));
/// assert!(!is_reserved_key("example.org/team") && !is_reserved_key("dask.org"));
/// ```
pub fn is_reserved_key(key: &str) -> bool {
    key.split_once('/').is_some_and(|(domain, _)| is_below("dask.org", domain))
}

/// Whether `name` is `parent` or a domain below it.
fn is_below(parent: &str, name: &str) -> bool {
    name == parent || name.strip_suffix(parent).is_some_and(|rest| rest.ends_with('.'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_that_decide_over_rights_are_denied() {
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
        // The last three are kinds of OpenShift and of any group that takes such a name.
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
