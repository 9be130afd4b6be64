//! The status of a plugin resource.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::lenient;

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
