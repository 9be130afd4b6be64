//! Which objects a plugin is called about, and which it may return.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// One kind of object that a plugin is asked about.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new(
    "self.kind in ['Service', 'Deployment', 'Pod'] || !has(self.component)"
).message("component is for Service, Deployment and Pod only"))]
pub struct SubjectRule {
    /// The kind.
    pub kind: SubjectKind,
    /// `scheduler`, `worker` or `job-runner`. Defaults to all of them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("enum" = ["scheduler", "worker", "job-runner"]))]
    pub component: Option<String>,
    /// Whether the plugin is also called when only the status changed. Defaults to false.
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
    /// Whether a child is deleted and created again when an immutable field changes. Defaults to false.
    #[serde(default)]
    pub recreate_on_immutable: bool,
    /// Allows kinds that are sensitive: Secrets, and kinds that run pods. Defaults to false.
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
