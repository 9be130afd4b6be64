//! `spec.settings` of the plugin resource.

use serde::Deserialize;

/// The settings. Unknown settings are errors.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Settings {
    /// The kinds in `spec.children` of the plugin resource, which are not part of requests. A hook may rely on an entry
    /// for each kind even if there are no objects of it.
    pub(crate) attachments: Vec<Kind>,
}

/// A kind of attachments.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct Kind {
    pub(crate) api_version: String,
    pub(crate) kind: String,
}
