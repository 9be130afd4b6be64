//! Policies of a plugin: for failures, drift, and deletions.

use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::ranges::{DEADLINE_SECONDS, seconds};
use crate::lenient;

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
