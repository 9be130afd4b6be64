//! How the API server merges lists and objects of Kubernetes' own types.
//!
//! `k8s-openapi` does not carry these markers in its schemas. They are the `+listType`, `+listMapKey` and `+structType`
//! comments of `k8s.io/api/core/v1`.

use serde_json::{Value, json};

/// Prefix of the names of types in `k8s.io/api/core/v1`.
pub(super) const CORE: &str = "io.k8s.api.core.v1.";

/// Lists that are merged by key: type, field, keys.
const KEYS: [(&str, &str, &[&str]); 15] = [
    ("PodSpec", "containers", &["name"]),
    ("PodSpec", "hostAliases", &["ip"]),
    ("PodSpec", "imagePullSecrets", &["name"]),
    ("PodSpec", "initContainers", &["name"]),
    ("PodSpec", "resourceClaims", &["name"]),
    ("PodSpec", "schedulingGates", &["name"]),
    ("PodSpec", "topologySpreadConstraints", &["topologyKey", "whenUnsatisfiable"]),
    ("PodSpec", "volumes", &["name"]),
    ("Container", "env", &["name"]),
    ("Container", "ports", &["containerPort", "protocol"]),
    ("Container", "volumeDevices", &["devicePath"]),
    ("Container", "volumeMounts", &["mountPath"]),
    ("ResourceRequirements", "claims", &["name"]),
    ("ServiceSpec", "ports", &["port", "protocol"]),
    ("PodSecurityContext", "sysctls", &["name"]),
];

/// Values of merge keys that may be left out: type, field, value. The API server requires a default for them.
const KEY_DEFAULTS: [(&str, &str, &str); 3] =
    [("ContainerPort", "protocol", "TCP"), ("LocalObjectReference", "name", ""), ("ServicePort", "protocol", "TCP")];

/// Types whose values are replaced as a whole.
const ATOMIC: [&str; 10] = [
    "ConfigMapKeySelector",
    "FileKeySelector",
    "LabelSelector",
    "LocalObjectReference",
    "NodeSelector",
    "NodeSelectorTerm",
    "ObjectFieldSelector",
    "ResourceFieldSelector",
    "SecretKeySelector",
    "TypedLocalObjectReference",
];

/// Adds the markers of the type `name` to its schema.
pub(super) fn mark(name: &str, schema: &mut Value) {
    for (_, field, keys) in KEYS.iter().filter(|(owner, ..)| *owner == name) {
        let field = &mut schema["properties"][field];
        field["x-kubernetes-list-type"] = json!("map");
        field["x-kubernetes-list-map-keys"] = json!(keys);
    }
    for (_, field, default) in KEY_DEFAULTS.iter().filter(|(owner, ..)| *owner == name) {
        schema["properties"][field]["default"] = json!(default);
    }
    if ATOMIC.contains(&name) {
        schema["x-kubernetes-map-type"] = json!("atomic");
    }
}
