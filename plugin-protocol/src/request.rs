use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{ApiVersion, ReviewKind};

/// The body of a call to a hook.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct ReviewRequest {
    /// Always the current version.
    pub api_version: ApiVersion,
    /// Always `PluginReview`.
    pub kind: ReviewKind,
    /// What is asked.
    pub request: PluginRequest,
}

impl ReviewRequest {
    /// Puts `request` into its envelope.
    pub fn new(request: PluginRequest) -> Self {
        Self { api_version: ApiVersion::default(), kind: ReviewKind::default(), request }
    }
}

/// One question about one subject.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct PluginRequest {
    /// `sha256:` and the digest of what is asked: the same question has the same uid. The answer
    /// must repeat it. See [`crate::digest_of`].
    pub uid: String,
    /// Which hook is called.
    pub hook: Hook,
    /// 1 for the first try, counted up with each repetition of the same question.
    pub attempt: u32,
    /// If true, the answer is shown to somebody and not applied.
    #[serde(default)]
    pub dry_run: bool,
    /// Why the call is made now: a hint; the answer may not depend on it.
    pub event: Event,
    /// The plugin resource that registered this plugin.
    pub plugin: PluginInfo,
    /// Who asks.
    pub controller: ControllerInfo,
    /// The object that children are wanted for.
    pub subject: Subject,
    /// The nearest Dask resource above the subject, or the subject itself; it will own the children.
    pub owner: Owner,
    /// The children of earlier answers as they are now.
    #[serde(default)]
    pub observed: Observed,
}

/// What a plugin can be asked to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[non_exhaustive]
pub enum Hook {
    /// Answer with the complete set of children.
    Sync,
    /// Release what is held outside of the cluster, until `finalized` is true.
    Finalize,
}

impl Hook {
    /// The word on the wire, also used as a metric label.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Sync => "Sync",
            Self::Finalize => "Finalize",
        }
    }
}

/// What made the controller call.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Event {
    /// `org.dask.kubernetes.{kind}` or `org.dask.kubernetes.{kind}.{component}`, in lower case.
    #[serde(rename = "type")]
    pub type_: String,
    /// What happened: `Created`, `Updated`, `ChildDrift`, `PluginChanged`, `Resync`, `Unmatched` or `Deleting`; newer
    /// controllers may say more.
    #[cfg_attr(feature = "schema", schemars(with = "String"))]
    pub reason: EventReason,
    /// RFC 3339, UTC.
    pub time: String,
}

/// What happened to the subject, as far as the controller knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[non_exhaustive]
pub enum EventReason {
    /// First call about this subject since the controller started.
    Created,
    /// Spec, labels or annotations of the subject or its owner changed.
    Updated,
    /// A child was changed or deleted by somebody else.
    ChildDrift,
    /// The plugin resource or the plugin's version changed.
    PluginChanged,
    /// A resync period went by.
    Resync,
    /// The subject no longer matches; its children will be pruned.
    Unmatched,
    /// The owner is being deleted.
    Deleting,
    /// A reason of a newer controller.
    #[serde(other)]
    Unknown,
}

/// The plugin resource, as far as a plugin may care.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct PluginInfo {
    /// `metadata.name` of the DaskOperatorPlugin.
    pub name: String,
    /// `metadata.namespace` of the DaskOperatorPlugin.
    pub namespace: String,
    /// `metadata.generation` of the DaskOperatorPlugin.
    pub generation: i64,
    /// `spec.settings`, `{}` if there are none.
    #[serde(default)]
    pub settings: Value,
}

/// The calling controller.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct ControllerInfo {
    /// Its version.
    pub version: String,
    /// Optional fields of an answer that it acts on, such as `ResyncAfter`.
    #[serde(default)]
    pub capabilities: Vec<String>,
}

/// The object that a plugin is asked about.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Subject {
    /// `scheduler`, `worker` or `job-runner` for objects that the controller made; else absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schemars(with = "String"))]
    pub component: Option<String>,
    /// The object, without managed fields.
    pub object: Value,
}

impl Subject {
    /// `metadata.name`, or "" in a malformed request.
    pub fn name(&self) -> &str {
        metadata_field(&self.object, "name")
    }

    /// `metadata.namespace`, or "" in a malformed request.
    pub fn namespace(&self) -> &str {
        metadata_field(&self.object, "namespace")
    }

    /// `kind`, or "" in a malformed request.
    pub fn kind(&self) -> &str {
        self.object.get("kind").and_then(Value::as_str).unwrap_or_default()
    }
}

fn metadata_field<'a>(object: &'a Value, field: &str) -> &'a str {
    object.pointer("/metadata").and_then(|metadata| metadata.get(field)).and_then(Value::as_str).unwrap_or_default()
}

/// The Dask resource that will own the children.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct Owner {
    /// `apiVersion` of the object.
    pub api_version: String,
    /// `kind` of the object.
    pub kind: String,
    /// The object, without managed fields.
    pub object: Value,
}

impl Owner {
    /// `metadata.name`, or "" in a malformed request.
    pub fn name(&self) -> &str {
        metadata_field(&self.object, "name")
    }
}

/// What is there already.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Observed {
    /// Children by key.
    #[serde(default)]
    pub children: BTreeMap<String, ObservedChild>,
}

/// A child as it is in the cluster.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct ObservedChild {
    /// The object, without managed fields.
    pub object: Value,
}
