//! `spec.settings` of the plugin resource.

use serde::Deserialize;

/// What a user can choose; a name that is not here is an error.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Settings {
    /// As `spec.children` of the plugin resource, which is not sent along: a hook may rely on an entry for each kind
    /// even if there is no object of it.
    pub(crate) attachments: Vec<Kind>,
}

/// A kind of attachments.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct Kind {
    pub(crate) api_version: String,
    pub(crate) kind: String,
}
