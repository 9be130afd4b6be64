//! Resolves the kinds of a plugin's allow-list without an API server.

use dask_operator_api::ChildRule;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::core::{ApiResource, GroupVersionKind};

use crate::model::child_kind::{ChildKind, group_of};

/// Cluster-scoped kinds: those of Kubernetes, except for kinds that no plugin may write, and those of projects that
/// plugins are often written for.
const CLUSTER_SCOPED: [(&str, &str); 12] = [
    ("", "PersistentVolume"),
    ("cert-manager.io", "ClusterIssuer"),
    ("flowcontrol.apiserver.k8s.io", "FlowSchema"),
    ("flowcontrol.apiserver.k8s.io", "PriorityLevelConfiguration"),
    ("gateway.networking.k8s.io", "GatewayClass"),
    ("networking.k8s.io", "IngressClass"),
    ("node.k8s.io", "RuntimeClass"),
    ("resource.k8s.io", "DeviceClass"),
    ("scheduling.k8s.io", "PriorityClass"),
    ("storage.k8s.io", "CSIDriver"),
    ("storage.k8s.io", "StorageClass"),
    ("storage.k8s.io", "VolumeAttachment"),
];

/// Returns the kinds of `rules`. Kinds that are defined in `definitions` are resolved from these.
pub(crate) fn resolve(rules: &[ChildRule], definitions: &[CustomResourceDefinition]) -> Vec<ChildKind> {
    rules.iter().map(|rule| resolve_one(rule, definitions)).collect()
}

fn resolve_one(rule: &ChildRule, definitions: &[CustomResourceDefinition]) -> ChildKind {
    let group = group_of(&rule.api_version);
    let version = rule.api_version.rsplit_once('/').map_or(rule.api_version.as_str(), |(_, version)| version);
    let kind = GroupVersionKind::gvk(group, version, &rule.kind);
    let defined = definitions.iter().find(|crd| crd.spec.group == group && crd.spec.names.kind == rule.kind);
    let resource = defined.map_or_else(
        || ApiResource::from_gvk(&kind),
        |crd| ApiResource::from_gvk_with_plural(&kind, &crd.spec.names.plural),
    );
    let namespaced = defined
        .map_or_else(|| !CLUSTER_SCOPED.contains(&(group, rule.kind.as_str())), |crd| crd.spec.scope == "Namespaced");
    ChildKind { resource, namespaced, allow_sensitive: rule.allow_sensitive, recreate: rule.recreate_on_immutable }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn resolved(api_version: &str, kind: &str, definitions: Value) -> (String, bool) {
        let rule = serde_json::from_value(json!({"apiVersion": api_version, "kind": kind})).unwrap();
        let definitions: Vec<CustomResourceDefinition> = serde_json::from_value(definitions).unwrap();
        let kind = resolve_one(&rule, &definitions);
        (kind.resource.plural, kind.namespaced)
    }

    #[test]
    fn kinds_are_namespaced_unless_something_says_otherwise() {
        let definition = |scope: &str| {
            json!([{"metadata": {"name": "data.example.org"}, "spec": {
                "group": "example.org", "scope": scope, "names": {"kind": "Datum", "plural": "data"}, "versions": [],
            }}])
        };
        let none = || json!([]);
        let table = [
            (("networking.k8s.io/v1", "Ingress", none()), ("ingresses", true)),
            (("v1", "ConfigMap", none()), ("configmaps", true)),
            (("scheduling.k8s.io/v1", "PriorityClass", none()), ("priorityclasses", false)),
            (("example.org/v1", "Datum", definition("Namespaced")), ("data", true)),
            (("example.org/v1", "Datum", definition("Cluster")), ("data", false)),
        ];
        for ((api_version, kind, definitions), (plural, namespaced)) in table {
            assert_eq!(resolved(api_version, kind, definitions), (plural.to_owned(), namespaced), "{kind}");
        }
    }
}
