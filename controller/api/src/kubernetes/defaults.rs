//! Values that the API server sets, or treats alike, where a field of Kubernetes' own types is absent.
//!
//! They are those of `k8s.io/kubernetes/pkg/apis/core/v1/defaults.go`, and the zero values of fields that are not
//! stored when they are zero.

use serde_json::Value;

/// The value of a field that means the same as its absence.
#[derive(Clone, Copy, Debug)]
pub(super) enum Implied {
    Text(&'static str),
    Number(i64),
    Off,
    On,
    /// An object without fields.
    Empty,
}

use Implied::{Empty, Number, Off, On, Text};

/// Type, field, value. Empty texts are left out: they mean the same as absence wherever they are not listed in
/// [`EMPTY_TEXTS`].
const DEFAULTS: &[(&str, &str, Implied)] = &[
    ("PodSpec", "affinity", Empty),
    ("PodSpec", "dnsConfig", Empty),
    ("PodSpec", "dnsPolicy", Text("ClusterFirst")),
    ("PodSpec", "enableServiceLinks", On),
    ("PodSpec", "hostIPC", Off),
    ("PodSpec", "hostNetwork", Off),
    ("PodSpec", "hostPID", Off),
    ("PodSpec", "hostUsers", On),
    ("PodSpec", "resources", Empty),
    ("PodSpec", "restartPolicy", Text("Always")),
    ("PodSpec", "schedulerName", Text("default-scheduler")),
    ("PodSpec", "securityContext", Empty),
    ("PodSpec", "setHostnameAsFQDN", Off),
    ("PodSpec", "shareProcessNamespace", Off),
    ("PodSpec", "terminationGracePeriodSeconds", Number(30)),
    ("Affinity", "nodeAffinity", Empty),
    ("Affinity", "podAffinity", Empty),
    ("Affinity", "podAntiAffinity", Empty),
    ("Container", "lifecycle", Empty),
    ("Container", "resources", Empty),
    ("Container", "securityContext", Empty),
    ("Container", "stdin", Off),
    ("Container", "stdinOnce", Off),
    ("Container", "terminationMessagePath", Text("/dev/termination-log")),
    ("Container", "terminationMessagePolicy", Text("File")),
    ("Container", "tty", Off),
    ("ContainerPort", "hostPort", Number(0)),
    ("ContainerPort", "protocol", Text("TCP")),
    ("Probe", "failureThreshold", Number(3)),
    ("Probe", "initialDelaySeconds", Number(0)),
    ("Probe", "periodSeconds", Number(10)),
    ("Probe", "successThreshold", Number(1)),
    ("Probe", "timeoutSeconds", Number(1)),
    ("HTTPGetAction", "path", Text("/")),
    ("HTTPGetAction", "scheme", Text("HTTP")),
    ("SecurityContext", "capabilities", Empty),
    ("SecurityContext", "privileged", Off),
    ("SecurityContext", "procMount", Text("Default")),
    ("SecurityContext", "readOnlyRootFilesystem", Off),
    ("PodSecurityContext", "fsGroupChangePolicy", Text("Always")),
    ("ConfigMapEnvSource", "optional", Off),
    ("ConfigMapKeySelector", "optional", Off),
    ("ConfigMapProjection", "optional", Off),
    ("ConfigMapVolumeSource", "optional", Off),
    ("FileKeySelector", "optional", Off),
    ("SecretEnvSource", "optional", Off),
    ("SecretKeySelector", "optional", Off),
    ("SecretProjection", "optional", Off),
    ("SecretVolumeSource", "optional", Off),
    ("ConfigMapVolumeSource", "defaultMode", Number(0o644)),
    ("DownwardAPIVolumeSource", "defaultMode", Number(0o644)),
    ("ProjectedVolumeSource", "defaultMode", Number(0o644)),
    ("SecretVolumeSource", "defaultMode", Number(0o644)),
    ("ServiceAccountTokenProjection", "expirationSeconds", Number(3600)),
    ("ObjectFieldSelector", "apiVersion", Text("v1")),
    ("ResourceFieldSelector", "divisor", Number(0)),
    ("Toleration", "operator", Text("Equal")),
    ("TopologySpreadConstraint", "nodeAffinityPolicy", Text("Honor")),
    ("TopologySpreadConstraint", "nodeTaintsPolicy", Text("Ignore")),
    ("VolumeMount", "readOnly", Off),
    ("PersistentVolumeClaimSpec", "resources", Empty),
    ("PersistentVolumeClaimSpec", "volumeMode", Text("Filesystem")),
    ("PersistentVolumeClaimVolumeSource", "readOnly", Off),
    ("NFSVolumeSource", "readOnly", Off),
    ("ISCSIVolumeSource", "iscsiInterface", Text("default")),
    ("ISCSIVolumeSource", "readOnly", Off),
    ("RBDVolumeSource", "keyring", Text("/etc/ceph/keyring")),
    ("RBDVolumeSource", "pool", Text("rbd")),
    ("RBDVolumeSource", "readOnly", Off),
    ("RBDVolumeSource", "user", Text("admin")),
    ("AzureDiskVolumeSource", "cachingMode", Text("ReadWrite")),
    ("AzureDiskVolumeSource", "fsType", Text("ext4")),
    ("AzureDiskVolumeSource", "kind", Text("Shared")),
    ("AzureDiskVolumeSource", "readOnly", Off),
    ("AzureFileVolumeSource", "readOnly", Off),
    ("AWSElasticBlockStoreVolumeSource", "partition", Number(0)),
    ("AWSElasticBlockStoreVolumeSource", "readOnly", Off),
    ("GCEPersistentDiskVolumeSource", "partition", Number(0)),
    ("GCEPersistentDiskVolumeSource", "readOnly", Off),
    ("CephFSVolumeSource", "readOnly", Off),
    ("CinderVolumeSource", "readOnly", Off),
    ("CSIVolumeSource", "readOnly", Off),
    ("FCVolumeSource", "readOnly", Off),
    ("FlexVolumeSource", "readOnly", Off),
    ("ScaleIOVolumeSource", "fsType", Text("xfs")),
    ("ScaleIOVolumeSource", "storageMode", Text("ThinProvisioned")),
    ("ServiceSpec", "internalTrafficPolicy", Text("Cluster")),
    ("ServiceSpec", "publishNotReadyAddresses", Off),
    ("ServiceSpec", "sessionAffinity", Text("None")),
    ("ServiceSpec", "sessionAffinityConfig", Empty),
    ("ServiceSpec", "type", Text("ClusterIP")),
    ("ServicePort", "nodePort", Number(0)),
    ("ServicePort", "protocol", Text("TCP")),
];

/// Texts whose emptiness says something: an empty class is no class, and an absent one is the default.
const EMPTY_TEXTS: [&str; 3] = ["storageClassName", "volumeAttributesClassName", "loadBalancerClass"];

/// Returns the value that the absence of a field of the type `owner` implies, if it is not an empty text.
pub(super) fn implied(owner: &str, field: &str) -> Option<Implied> {
    DEFAULTS.iter().find(|(name, of, _)| *name == owner && *of == field).map(|(.., default)| *default)
}

/// Returns whether `value` is the empty text, and means the same as the absence of `field`.
pub(super) fn is_empty_text(field: &str, value: &Value) -> bool {
    value == "" && !EMPTY_TEXTS.contains(&field)
}

impl Implied {
    /// Returns whether `value`, in its canonical form, is this one.
    pub(super) fn is(self, value: &Value) -> bool {
        match self {
            Text(text) => value == text,
            Number(number) => value == number,
            Off => value == false,
            On => value == true,
            Empty => value.as_object().is_some_and(serde_json::Map::is_empty),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kubernetes::schema;

    /// A field with another name would never be found.
    #[test]
    fn every_default_belongs_to_a_field_that_kubernetes_has() {
        let types = schema::types();
        for (owner, field, _) in DEFAULTS {
            assert!(types[*owner]["properties"].get(field).is_some(), "{owner}.{field}");
        }
    }
}
