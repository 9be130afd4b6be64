use std::borrow::Cow;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, LabelSelector, Time};
use kube::{CustomResource, KubeSchema};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

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
    #[serde(default = "default_timeout")]
    #[schemars(with = "i32", range(min = 1, max = 30))]
    pub timeout_seconds: u32,
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
    #[serde(default = "default_resync")]
    #[schemars(with = "i32", range(min = 10))]
    pub resync_seconds: u32,
    /// Sent with each call, up to 64 KiB.
    #[serde(default)]
    pub settings: Settings,
    /// Stops all calls; children stay.
    #[serde(default)]
    pub suspend: bool,
}

fn default_timeout() -> u32 {
    10
}

fn default_resync() -> u32 {
    36_000
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
    /// File name of a Unix socket in the directory that sidecars share with the controller.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(regex(pattern = r"^[A-Za-z0-9][A-Za-z0-9._-]{0,62}$"))]
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
    #[serde(default = "default_port")]
    #[schemars(with = "i32", range(min = 1, max = 65535))]
    pub port: u16,
    /// Prefix of all paths.
    #[serde(default = "default_path")]
    #[schemars(regex(pattern = r"^/[A-Za-z0-9._~/-]*$"))]
    pub path: String,
}

fn default_port() -> u16 {
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
    #[schemars(with = "i32", range(min = 1))]
    pub deadline_seconds: u32,
}

impl Default for FinalizePolicy {
    fn default() -> Self {
        Self { enabled: false, deadline_seconds: 300 }
    }
}

/// Free JSON, kept as it was written.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Settings(pub Map<String, Value>);

impl JsonSchema for Settings {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "Settings".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({"type": "object", "x-kubernetes-preserve-unknown-fields": true})
    }
}

/// What the controller knows of a plugin.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct DaskOperatorPluginStatus {
    /// The generation of the spec that this status belongs to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// Accepted, Discovered, Authorized and Ready.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["type".into()]))]
    pub conditions: Vec<Condition>,
    /// Where the plugin is called.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub endpoint: Option<String>,
    /// What the plugin said of itself.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub discovered: Option<DiscoveredPlugin>,
    /// How many subjects there are.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub subjects: Option<SubjectCounts>,
    /// The latest failures, at most 5.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
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
