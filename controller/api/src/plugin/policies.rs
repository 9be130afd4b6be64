//! Policies of a plugin: for failures, drift, and deletions.

use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::ranges::{DEADLINE_SECONDS, seconds};
use crate::lenient;

/// Whether a cluster waits for a plugin.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum FailurePolicy {
    /// The cluster does not wait.
    #[default]
    Ignore,
    /// The cluster stays `Pending` until the plugin's children exist.
    Fail,
}

/// What happens when somebody else changes a child.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum DriftPolicy {
    /// The change is undone.
    #[default]
    Correct,
    /// The change stays until the plugin is called again.
    Ignore,
}

/// What happens to children when the plugin resource is deleted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum DeletionPolicy {
    /// They are deleted.
    #[default]
    Delete,
    /// They stay until their Dask resource is deleted.
    Orphan,
}

/// Whether the plugin is called before a Dask resource is deleted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct FinalizePolicy {
    /// Puts a finalizer on the Dask resource, if the plugin serves the hook. Defaults to false.
    pub enabled: bool,
    /// After how many seconds the finalizer is removed, whatever the plugin responds. Defaults to 300.
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
