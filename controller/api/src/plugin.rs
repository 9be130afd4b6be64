use std::{ops::RangeInclusive, time::Duration};

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, LabelSelector, Time};
use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Settings, lenient};

/// What `timeoutSeconds` may be.
pub const TIMEOUT_SECONDS: RangeInclusive<i64> = 1..=30;
/// What `resyncSeconds` may be: at most a year.
pub const RESYNC_SECONDS: RangeInclusive<i64> = 10..=31_536_000;
/// What `finalize.deadlineSeconds` may be: at most a year.
pub const DEADLINE_SECONDS: RangeInclusive<i64> = 1..=31_536_000;
/// What `endpoint.service.port` may be.
pub const PORTS: RangeInclusive<i64> = 1..=65_535;

/// An HTTP service that is asked which further objects a Dask resource needs.
///
/// In the operator's namespace it is asked about all Dask resources. In any other namespace, where the operator
/// must be told to look (`--plugin-tenants`), it is asked about those of that namespace only, and needs a writer.
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
    /// How long one call may take.
    #[serde(default = "default_timeout", deserialize_with = "lenient::integer")]
    #[schemars(with = "i32", range(min = 1, max = 30))]
    pub timeout_seconds: i64,
    /// What the plugin is asked about.
    #[schemars(length(min = 1, max = 16))]
    pub subjects: Vec<SubjectRule>,
    /// Narrows the subjects.
    #[serde(default, rename = "match")]
    pub match_: MatchRules,
    /// The kinds that the plugin may answer with; also what is watched for drift.
    #[schemars(length(min = 1, max = 32))]
    pub children: Vec<ChildRule>,
    /// The identity that writes children. Without it, the controller's own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub writer: Option<WriterRef>,
    /// Whether a cluster waits for this plugin before it is `Running`.
    #[serde(default)]
    pub failure_policy: FailurePolicy,
    /// Whether changes that somebody else makes to children are undone.
    #[serde(default)]
    pub drift: DriftPolicy,
    /// What becomes of the children when this resource goes.
    #[serde(default)]
    pub deletion_policy: DeletionPolicy,
    /// Whether the plugin is called before a Dask resource goes.
    #[serde(default)]
    pub finalize: FinalizePolicy,
    /// How often every subject is asked about again although nothing changed.
    #[serde(default = "default_resync", deserialize_with = "lenient::integer")]
    #[schemars(with = "i32", range(min = 10, max = 31_536_000))]
    pub resync_seconds: i64,
    /// Sent with each call, up to 64 KiB and 64 levels of nesting.
    #[serde(default)]
    pub settings: Settings,
    /// Stops all calls; children stay.
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

/// Returns `value` within `range`: what is outside of it is refused by the validation, and must do no harm before.
fn seconds(value: i64, range: &RangeInclusive<i64>) -> Duration {
    Duration::from_secs(value.clamp(*range.start(), *range.end()).unsigned_abs())
}

/// Where a plugin listens.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[x_kube(
    validation = Rule::new(
        "(has(self.service) ? 1 : 0) + (has(self.socket) ? 1 : 0) + (has(self.url) ? 1 : 0) == 1"
    ).message("exactly one of service, socket and url must be set"),
    validation = Rule::new(
        "!has(self.url) || self.url.startsWith('https://') \
         || self.url.matches('^http://127[.]0[.]0[.]1(:[0-9]+)?(/.*)?$')"
    ).message("url must begin with https://; plugins are not called without TLS, but for http://127.0.0.1 by a \
               controller that was started with --dev-plugins")
)]
pub struct Endpoint {
    /// A Service of the cluster, by https.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub service: Option<ServiceEndpoint>,
    /// A sidecar's Unix socket, `{container}/{file}`: the sidecar's container, and the file name in the directory that
    /// it shares with the controller. A file name alone is one of the container with this resource's name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(regex(pattern = r"^([a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?/)?[A-Za-z0-9][A-Za-z0-9._-]{0,62}$"))]
    pub socket: Option<String>,
    /// An https address outside of the cluster, if the operator allows them. With its flag `--dev-plugins`, also
    /// `http://127.0.0.1:PORT`, for a controller that runs on the machine where the plugin is written.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 2048))]
    pub url: Option<String>,
}

/// A Service that a plugin listens behind.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ServiceEndpoint {
    /// The Service's name.
    #[schemars(regex(pattern = r"^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$"))]
    pub name: String,
    /// The Service's namespace; the plugin resource's own unless given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub namespace: Option<String>,
    /// The Service's port.
    #[serde(default = "default_port", deserialize_with = "lenient::integer")]
    #[schemars(with = "i32", range(min = 1, max = 65535))]
    pub port: i64,
    /// Prefix of all paths.
    #[serde(default = "default_path")]
    #[schemars(regex(pattern = r"^/[A-Za-z0-9._~/-]*$"))]
    pub path: String,
}

impl ServiceEndpoint {
    /// Returns the port, 443 if what is written is none: the validation refuses it.
    pub fn port(&self) -> u16 {
        u16::try_from(self.port).unwrap_or(443)
    }
}

fn default_port() -> i64 {
    443
}

fn default_path() -> String {
    "/".to_owned()
}

/// How the connection to a plugin is secured.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct PluginTls {
    /// `Auto`: the controller writes the Secret `{plugin}-plugin-tls` for the plugin to mount. Nobody mounts it
    /// behind an endpoint.url, which is `Custom` whatever is written here.
    pub mode: TlsMode,
    /// PEM certificates that the plugin's certificate must descend from (`Custom`). Without them, public
    /// authorities.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 51200))]
    pub ca_bundle: Option<String>,
    /// Where to read these certificates from (`Custom`).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ca_from: Option<KeyRef>,
    /// The controller's own certificate (`Custom`).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub client_certificate: Option<CertificateRef>,
}

/// Who makes the certificates.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum TlsMode {
    /// The controller does, and rotates them; both sides authenticate each other.
    #[default]
    Auto,
    /// Somebody else does.
    Custom,
}

/// A key of a ConfigMap or Secret.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct KeyRef {
    /// Which of the two.
    pub kind: KeyRefKind,
    /// Its name.
    pub name: String,
    /// The key.
    #[serde(default = "default_ca_key")]
    pub key: String,
}

fn default_ca_key() -> String {
    "ca.crt".to_owned()
}

/// What a [`KeyRef`] points at.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum KeyRefKind {
    /// A ConfigMap.
    ConfigMap,
    /// A Secret.
    Secret,
}

/// A Secret of type `kubernetes.io/tls`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct CertificateRef {
    /// Its name.
    pub secret_name: String,
}

/// How the controller proves who it is, besides TLS.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct PluginAuth {
    /// Send a ServiceAccount token whose audience is the endpoint, as status.endpoint has it, without a / at the
    /// end (`Custom` TLS).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub service_account_token: Option<bool>,
    /// Sign each request as Standard Webhooks says (url).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hmac: Option<HmacRef>,
}

/// Where the signing key is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct HmacRef {
    /// The Secret's name.
    pub secret_name: String,
    /// The key in the Secret.
    pub key: String,
}

/// One kind of object that a plugin is asked about.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new(
    "self.kind in ['Service', 'Deployment', 'Pod'] || !has(self.component)"
).message("component is for Service, Deployment and Pod only"))]
pub struct SubjectRule {
    /// The kind.
    pub kind: SubjectKind,
    /// `scheduler`, `worker` or `job-runner`; all of them unless given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("enum" = ["scheduler", "worker", "job-runner"]))]
    pub component: Option<String>,
    /// Also ask when only the status changed.
    #[serde(default)]
    pub on_status: bool,
}

/// Kinds that can be subjects.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[allow(missing_docs, reason = "the names are those of the kinds")]
pub enum SubjectKind {
    DaskCluster,
    DaskWorkerGroup,
    DaskJob,
    DaskAutoscaler,
    Service,
    Deployment,
    Pod,
}

/// Narrows the subjects; all parts must hold.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct MatchRules {
    /// Labels of the namespace; not where the operator watches one namespace only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub namespace_selector: Option<LabelSelector>,
    /// Labels of the subject.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub object_selector: Option<LabelSelector>,
    /// Expressions about the subject.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["name".into()]))]
    pub conditions: Vec<MatchCondition>,
}

/// A CEL expression with a name for messages.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct MatchCondition {
    /// The name.
    #[schemars(length(max = 63), regex(pattern = r"^[A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9])?$"))]
    pub name: String,
    /// Must evaluate to a bool. `object` is the subject, `owner` the Dask resource above it, and `component`
    /// `scheduler`, `worker`, `job-runner` or null. One that fails leaves children as they are.
    #[schemars(length(min = 1, max = 1024))]
    pub expression: String,
}

/// A kind that a plugin may answer with.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ChildRule {
    /// `apiVersion` of the kind.
    #[schemars(length(max = 317), regex(pattern = r"^([a-z0-9.-]+/)?v[a-z0-9]+$"))]
    pub api_version: String,
    /// The kind.
    #[schemars(length(max = 63), regex(pattern = r"^[A-Z][A-Za-z0-9]*$"))]
    pub kind: String,
    /// Delete and create again if a change hits an immutable field.
    #[serde(default)]
    pub recreate_on_immutable: bool,
    /// Needed for Secrets and for kinds that run pods.
    #[serde(default)]
    pub allow_sensitive: bool,
}

/// The identity that writes children.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct WriterRef {
    /// A ServiceAccount in the plugin resource's namespace. The controller needs the right to impersonate it.
    #[schemars(length(max = 253), regex(pattern = r"^[a-z0-9]([a-z0-9.-]*[a-z0-9])?$"))]
    pub service_account_name: String,
}

/// Whether a cluster waits for a plugin.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum FailurePolicy {
    /// It does not.
    #[default]
    Ignore,
    /// It stays `Pending` until the plugin's children stand.
    Fail,
}

/// What happens when somebody else changes a child.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum DriftPolicy {
    /// It is put back.
    #[default]
    Correct,
    /// It stays until the next call.
    Ignore,
}

/// What becomes of children when the plugin resource goes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum DeletionPolicy {
    /// They go.
    #[default]
    Delete,
    /// They stay, and go with their Dask resource.
    Orphan,
}

/// Whether the plugin is called before a Dask resource goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct FinalizePolicy {
    /// Puts a finalizer on the Dask resource, if the plugin serves the hook.
    pub enabled: bool,
    /// The finalizer goes after so many seconds whatever the plugin says.
    #[serde(deserialize_with = "lenient::integer")]
    #[schemars(with = "i32", range(min = 1, max = 31_536_000))]
    pub deadline_seconds: i64,
}

impl FinalizePolicy {
    /// Returns after what time the finalizer goes.
    pub fn deadline(&self) -> Duration {
        seconds(self.deadline_seconds, &DEADLINE_SECONDS)
    }
}

impl Default for FinalizePolicy {
    fn default() -> Self {
        Self { enabled: false, deadline_seconds: 300 }
    }
}

/// What the controller knows of a plugin.
// A field that cannot be read counts as absent, and is written again.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct DaskOperatorPluginStatus {
    /// The generation of the spec that this status belongs to.
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "lenient::or_default")]
    pub observed_generation: Option<i64>,
    /// Accepted, Discovered, Authorized, Ready and Stalled.
    #[serde(default, skip_serializing_if = "Vec::is_empty", deserialize_with = "lenient::readable")]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["type".into()]))]
    pub conditions: Vec<Condition>,
    /// Where the plugin is called.
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "lenient::or_default")]
    pub endpoint: Option<String>,
    /// What the plugin said of itself.
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "lenient::or_default")]
    pub discovered: Option<DiscoveredPlugin>,
    /// How many subjects there are.
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "lenient::or_default")]
    pub subjects: Option<SubjectCounts>,
    /// The latest failures, at most 5.
    #[serde(default, skip_serializing_if = "Vec::is_empty", deserialize_with = "lenient::readable")]
    pub failures: Vec<PluginFailure>,
}

/// What a plugin said of itself.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct DiscoveredPlugin {
    /// Its name.
    pub name: String,
    /// Its version.
    pub version: String,
    /// Protocol versions that it speaks.
    pub protocol_versions: Vec<String>,
    /// Hooks that it serves.
    pub hooks: Vec<String>,
    /// Optional features that it understands.
    pub capabilities: Vec<String>,
}

/// How many subjects there are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct SubjectCounts {
    /// Subjects that the plugin is asked about.
    pub matched: i64,
    /// Those whose children all stand.
    pub synced: i64,
    /// Those whose last call or write failed.
    pub failing: i64,
}

/// One failure, for people.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct PluginFailure {
    /// `kind namespace/name` of the subject.
    pub subject: String,
    /// The hook.
    pub hook: String,
    /// One word.
    pub reason: String,
    /// One sentence.
    pub message: String,
    /// Since when it fails for this reason.
    pub since: Time,
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
