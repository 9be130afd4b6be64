//! The kind DaskOperatorPlugin.

mod credentials;
mod endpoint;
mod policies;
mod ranges;
mod rules;
mod status;

use std::time::Duration;

use kube::{CustomResource, KubeSchema};
use serde::{Deserialize, Serialize};

use self::ranges::seconds;
pub use self::{
    credentials::{CertificateRef, HmacRef, KeyRef, KeyRefKind, PluginAuth, PluginTls, TlsMode},
    endpoint::{Endpoint, ServiceEndpoint},
    policies::{DeletionPolicy, DriftPolicy, FailurePolicy, FinalizePolicy},
    ranges::{DEADLINE_SECONDS, PORTS, RESYNC_SECONDS, TIMEOUT_SECONDS},
    rules::{ChildRule, MatchCondition, MatchRules, SubjectKind, SubjectRule, WriterRef},
    status::{DaskOperatorPluginStatus, DiscoveredPlugin, PluginFailure, SubjectCounts},
};
use super::{Settings, lenient};

/// An HTTP service that is called to find out which further objects a Dask resource needs.
///
/// In the operator's namespace, it is called about all Dask resources. In any other namespace, which needs the operator's
/// flag `--plugin-tenants`, it is called about those of that namespace only, and needs a writer.
#[derive(CustomResource, Clone, Debug, PartialEq, Serialize, Deserialize, KubeSchema)]
#[kube(
    group = "kubernetes.dask.org",
    version = "v1alpha1",
    kind = "DaskOperatorPlugin",
    plural = "daskoperatorplugins",
    singular = "daskoperatorplugin",
    shortname = "daskplugin",
    namespaced,
    status = "DaskOperatorPluginStatus",
    printcolumn(name = "Ready", type_ = "string", json_path = ".status.conditions[?(@.type==\"Ready\")].status"),
    printcolumn(name = "Version", type_ = "string", json_path = ".status.discovered.version"),
    printcolumn(name = "Matched", type_ = "integer", json_path = ".status.subjects.matched"),
    printcolumn(name = "Synced", type_ = "integer", json_path = ".status.subjects.synced"),
    printcolumn(name = "Failing", type_ = "integer", json_path = ".status.subjects.failing"),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp"),
    printcolumn(name = "Endpoint", type_ = "string", json_path = ".status.endpoint", priority = 1),
    printcolumn(
        name = "Message",
        type_ = "string",
        json_path = ".status.conditions[?(@.type==\"Ready\")].message",
        priority = 1
    )
)]
#[x_kube(
    validation = Rule::new(
        "!has(self.endpoint.socket) || (self.tls.mode == 'Auto' && !has(self.tls.caBundle) && !has(self.tls.caFrom) \
         && !has(self.tls.clientCertificate))"
    ).message("tls is for endpoint.service and endpoint.url; remove it, a socket is a sidecar's own"),
    validation = Rule::new(
        "has(self.endpoint.url) || self.tls.mode == 'Custom' || (!has(self.tls.caBundle) && !has(self.tls.caFrom) \
         && !has(self.tls.clientCertificate))"
    ).message("tls.caBundle, tls.caFrom and tls.clientCertificate need tls.mode: Custom"),
    validation = Rule::new("!has(self.tls.caBundle) || !has(self.tls.caFrom)")
        .message("tls.caBundle and tls.caFrom exclude each other; remove one"),
    validation = Rule::new(
        "!has(self.auth.serviceAccountToken) || !self.auth.serviceAccountToken || has(self.endpoint.url) \
         || (has(self.endpoint.service) && self.tls.mode == 'Custom')"
    ).message("auth.serviceAccountToken needs endpoint.url, or endpoint.service with tls.mode: Custom; \
               with Auto, the controller shows a certificate"),
    validation = Rule::new("!has(self.auth.hmac) || has(self.endpoint.url)")
        .message("auth.hmac is for endpoint.url; remove it")
)]
#[serde(rename_all = "camelCase")]
pub struct DaskOperatorPluginSpec {
    /// Where the plugin listens: exactly one of service, socket and url.
    pub endpoint: Endpoint,
    /// How the connection is secured; for service and url.
    #[serde(default)]
    pub tls: PluginTls,
    /// How the controller proves who it is, besides TLS.
    #[serde(default)]
    pub auth: PluginAuth,
    /// How many seconds one call may take. Defaults to 10.
    #[serde(default = "default_timeout", deserialize_with = "lenient::integer")]
    #[schemars(with = "i32", range(min = 1, max = 30))]
    pub timeout_seconds: i64,
    /// The kinds of objects that the plugin is called about.
    #[schemars(length(min = 1, max = 16))]
    pub subjects: Vec<SubjectRule>,
    /// Restricts the subjects to those that match. Defaults to all.
    #[serde(default, rename = "match")]
    pub match_: MatchRules,
    /// The kinds of objects that the plugin may return. The controller watches these kinds for drift.
    #[schemars(length(min = 1, max = 32))]
    pub children: Vec<ChildRule>,
    /// The identity that writes children. Defaults to that of the controller.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub writer: Option<WriterRef>,
    /// Whether a cluster waits for this plugin before it is `Running`. Defaults to `Ignore`: it does not wait.
    #[serde(default)]
    pub failure_policy: FailurePolicy,
    /// Whether changes that others make to children are undone. Defaults to `Correct`: they are.
    #[serde(default)]
    pub drift: DriftPolicy,
    /// Whether children are deleted when this resource is. Defaults to `Delete`: they are.
    #[serde(default)]
    pub deletion_policy: DeletionPolicy,
    /// Whether the plugin is called before a Dask resource is deleted. Defaults to no.
    #[serde(default)]
    pub finalize: FinalizePolicy,
    /// After how many seconds the plugin is called again about a subject that did not change. Defaults to 36000, which is 10
    /// hours.
    #[serde(default = "default_resync", deserialize_with = "lenient::integer")]
    #[schemars(with = "i32", range(min = 10, max = 31_536_000))]
    pub resync_seconds: i64,
    /// Settings that are sent with each call. They may have up to 64 KiB and 64 levels of nesting. Defaults to none.
    #[serde(default)]
    pub settings: Settings,
    /// Stops all calls while it is true. Children stay. Defaults to false.
    #[serde(default)]
    pub suspend: bool,
}

fn default_timeout() -> i64 {
    10
}

fn default_resync() -> i64 {
    36_000
}

impl DaskOperatorPluginSpec {
    /// Returns how long one call may take.
    pub fn timeout(&self) -> Duration {
        seconds(self.timeout_seconds, &TIMEOUT_SECONDS)
    }

    /// Returns how often every subject is asked about again.
    pub fn resync(&self) -> Duration {
        seconds(self.resync_seconds, &RESYNC_SECONDS)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn plugin(edit: impl Fn(&mut Value)) -> Value {
        let mut value = json!({
            "apiVersion": "kubernetes.dask.org/v1alpha1",
            "kind": "DaskOperatorPlugin",
            "metadata": {"name": "echo"},
            "spec": {
                "endpoint": {"service": {"name": "echo"}},
                "subjects": [{"kind": "Service"}],
                "children": [{"apiVersion": "v1", "kind": "ConfigMap"}],
            },
        });
        edit(&mut value);
        value
    }

    fn read(value: &Value) -> DaskOperatorPlugin {
        serde_json::from_str(&value.to_string()).unwrap()
    }

    #[test]
    fn a_number_of_any_size_does_not_make_the_object_unreadable() {
        let numbers = [json!(5_000_000_000_i64), json!(-1), json!(0), json!(u64::MAX), json!(1e300), json!(10.0)];
        let shortest = [TIMEOUT_SECONDS, RESYNC_SECONDS, DEADLINE_SECONDS].map(|range| range.start().unsigned_abs());
        let longest = [TIMEOUT_SECONDS, RESYNC_SECONDS, DEADLINE_SECONDS].map(|range| range.end().unsigned_abs());
        for number in numbers {
            let spec = read(&plugin(|value| {
                value["spec"]["timeoutSeconds"] = number.clone();
                value["spec"]["resyncSeconds"] = number.clone();
                value["spec"]["finalize"] = json!({"deadlineSeconds": number});
                value["spec"]["endpoint"]["service"]["port"] = number.clone();
            }));
            let spec = spec.spec;
            let found = [spec.timeout(), spec.resync(), spec.finalize.deadline()].map(|time| time.as_secs());
            for (index, found) in found.into_iter().enumerate() {
                assert!((shortest[index]..=longest[index]).contains(&found), "{number}: {found}");
            }
        }
    }

    #[test]
    fn settings_of_any_depth_and_a_status_of_any_content_do_not_make_the_object_unreadable() {
        let text = plugin(|value| value["spec"]["settings"] = json!("DEEP")).to_string();
        let deep = format!("{{\"a\":{}{}}}", "[".repeat(5_000), "]".repeat(5_000));
        let found: DaskOperatorPlugin = serde_json::from_str(&text.replace("\"DEEP\"", &deep)).unwrap();
        assert_eq!((found.spec.settings.depth(), found.spec.settings.text()), (5_001, deep.as_str()));

        let ready = json!({
            "type": "Ready", "status": "True", "reason": "Ready", "message": "",
            "lastTransitionTime": "2026-01-01T00:00:00Z",
        });
        let mut odd = ready.clone();
        odd["type"] = json!("Odd");
        odd["lastTransitionTime"] = json!("2026-01-01T00:00:00+99:99");
        let failure =
            json!({"subject": "", "hook": "", "reason": "", "message": "", "since": "2026-01-01T00:00:00+99:99"});
        let status = read(&plugin(|value| {
            value["status"] = json!({
                "observedGeneration": "x",
                "conditions": [odd, ready],
                "endpoint": 5,
                "discovered": {"hooks": 7},
                "subjects": {"matched": 1e300},
                "failures": [failure],
            });
        }));
        let status = status.status.unwrap();
        assert_eq!(status.conditions.iter().map(|found| found.type_.as_str()).collect::<Vec<_>>(), ["Ready"]);
        let rest = DaskOperatorPluginStatus { conditions: Vec::new(), ..status };
        assert_eq!(rest, DaskOperatorPluginStatus::default());
    }
}
