//! `spec.settings` of the plugin resource.

use serde::Deserialize;
use serde_json::{Map, Value};

/// The settings. Unknown settings are errors.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Settings {
    /// The kinds in `spec.children` of the plugin resource, which are not part of requests. A hook may rely on an entry
    /// for each kind even if there are no objects of it.
    pub(crate) attachments: Vec<Kind>,
    /// The `DecoratorController` that the hook was written for, for hooks that read it.
    pub(crate) controller: Option<Map<String, Value>>,
}

/// A kind of attachments.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct Kind {
    pub(crate) api_version: String,
    pub(crate) kind: String,
}
