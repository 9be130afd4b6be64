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
/// Groups whose objects decide over rights, admission or the API itself.
const DENIED_GROUPS: [&str; 6] = [
    "admissionregistration.k8s.io",
    "apiextensions.k8s.io",
    "apiregistration.k8s.io",
    "certificates.k8s.io",
    "dask.org",
    "rbac.authorization.k8s.io",
];
const DENIED_CORE_KINDS: [&str; 3] = ["Namespace", "Node", "ServiceAccount"];
/// Kinds that hold secrets or run code with the namespace's rights.
const SENSITIVE_KINDS: [(&str, &str); 9] = [
    ("", "Pod"),
    ("", "ReplicationController"),
    ("", "Secret"),
    ("apps", "DaemonSet"),
    ("apps", "Deployment"),
    ("apps", "ReplicaSet"),
    ("apps", "StatefulSet"),
    ("batch", "CronJob"),
    ("batch", "Job"),
];

/// Whether no plugin may ever write this kind, whatever its rules say.
///
/// ```
/// use plugin_protocol::screening::is_denied;
/// assert!(is_denied("rbac.authorization.k8s.io", "RoleBinding"));
/// assert!(!is_denied("networking.k8s.io", "Ingress"));
/// ```
pub fn is_denied(group: &str, kind: &str) -> bool {
    DENIED_GROUPS.iter().any(|parent| is_below(parent, group))
        || (group.is_empty() && DENIED_CORE_KINDS.contains(&kind))
}

/// Whether a plugin may write this kind only with `allowSensitive`.
///
/// ```
/// assert!(plugin_protocol::screening::is_sensitive("", "Secret"));
/// ```
pub fn is_sensitive(group: &str, kind: &str) -> bool {
    SENSITIVE_KINDS.contains(&(group, kind))
}

/// The group of an `apiVersion`; "" for the core group.
///
/// ```
/// use plugin_protocol::screening::group_of;
/// assert_eq!((group_of("v1"), group_of("apps/v1")), ("", "apps"));
/// ```
pub fn group_of(api_version: &str) -> &str {
    api_version.rsplit_once('/').map_or("", |(group, _)| group)
}

/// Whether the key of a label or an annotation belongs to the controller, which removes it from manifests.
///
/// ```
/// use plugin_protocol::screening::is_reserved_key;
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
        ];
        for (group, kind) in denied {
            assert!(is_denied(group, kind), "{group} {kind}");
        }
        for (group, kind) in [("networking.k8s.io", "Ingress"), ("", "ConfigMap"), ("notdask.org", "DaskThing")] {
            assert!(!is_denied(group, kind), "{group} {kind}");
        }
    }

    #[test]
    fn secrets_and_workloads_are_sensitive() {
        assert!(is_sensitive("", "Secret") && is_sensitive("apps", "Deployment"));
        assert!(!is_sensitive("networking.k8s.io", "Ingress"));
    }

    #[test]
    fn the_core_group_has_no_name() {
        assert_eq!(group_of("v1"), "");
        assert_eq!(group_of("networking.k8s.io/v1"), "networking.k8s.io");
    }
}
