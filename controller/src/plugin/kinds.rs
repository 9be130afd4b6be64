//! The kinds that a plugin may answer with.

use kube::core::ApiResource;

/// A kind of the allow-list that the API server serves.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct ChildKind {
    pub(super) resource: ApiResource,
    pub(super) namespaced: bool,
    pub(super) allow_sensitive: bool,
    /// Whether one whose immutable field is to change is deleted and made again.
    pub(super) recreate: bool,
}

impl ChildKind {
    pub(super) fn is(&self, api_version: &str, kind: &str) -> bool {
        self.resource.api_version == api_version && self.resource.kind == kind
    }
}

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
pub(super) fn is_denied(group: &str, kind: &str) -> bool {
    let below = |parent: &str| group == parent || group.strip_suffix(parent).is_some_and(|rest| rest.ends_with('.'));
    DENIED_GROUPS.iter().any(|parent| below(parent)) || (group.is_empty() && DENIED_CORE_KINDS.contains(&kind))
}

/// Whether a plugin may write this kind only with `allowSensitive`.
pub(super) fn is_sensitive(group: &str, kind: &str) -> bool {
    SENSITIVE_KINDS.contains(&(group, kind))
}

/// The group of an `apiVersion`; "" for the core group.
pub(super) fn group_of(api_version: &str) -> &str {
    api_version.rsplit_once('/').map_or("", |(group, _)| group)
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
