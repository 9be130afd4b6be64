use serde::{Deserialize, Serialize};

use crate::{ApiVersion, Child, PluginRequest, ReviewKind};

/// The body of an answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[non_exhaustive]
pub struct ReviewResponse {
    /// Always the current version.
    pub api_version: ApiVersion,
    /// Always `PluginReview`.
    pub kind: ReviewKind,
    /// The answer.
    pub response: PluginResponse,
}

impl ReviewResponse {
    /// Puts `response` into its envelope.
    pub fn new(response: PluginResponse) -> Self {
        Self { api_version: ApiVersion::default(), kind: ReviewKind::default(), response }
    }
}

/// The answer to one question.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "schema", schemars(
    extend("if" = {"properties": {"status": {"const": "Success"}}}),
    extend("then" = {"required": ["children"]}),
))]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[non_exhaustive]
pub struct PluginResponse {
    /// The uid of the request.
    pub uid: String,
    /// Whether the plugin could answer.
    pub status: ResponseStatus,
    /// One `CamelCase` word, for conditions. It must be the same for the same cause.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub reason: String,
    /// One sentence for people. It must be the same for the same cause: no times, no addresses.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub message: String,
    /// All children that are wanted. Required with [`ResponseStatus::Success`]; `[]` deletes all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schemars(with = "Vec<Child>", length(max = 64)))]
    pub children: Option<Vec<Child>>,
    /// Conditions to show on the Dask resource.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub conditions: Vec<Condition>,
    /// Sentences to show as Events, once each.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub warnings: Vec<String>,
    /// Ask again after so many seconds; 0 means only on a change.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub resync_after_seconds: u32,
    /// Answer to [`crate::Hook::Finalize`]: nothing is held any more.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub finalized: bool,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes the field by reference")]
fn is_zero(seconds: &u32) -> bool {
    *seconds == 0
}

impl PluginResponse {
    /// The complete set of children for the request's subject.
    pub fn success(request: &PluginRequest, children: Vec<Child>) -> Self {
        Self { children: Some(children), ..Self::bare(request, ResponseStatus::Success) }
    }

    /// An explicit no: what is there stays, and the message is shown to the user.
    pub fn failure(request: &PluginRequest, reason: impl Into<String>, message: impl Into<String>) -> Self {
        Self { reason: reason.into(), message: message.into(), ..Self::bare(request, ResponseStatus::Failure) }
    }

    /// Not yet: what is there stays, and the question is repeated.
    pub fn pending(request: &PluginRequest, message: impl Into<String>) -> Self {
        Self { message: message.into(), ..Self::bare(request, ResponseStatus::Pending) }
    }

    /// Asks for another call after `seconds`.
    #[must_use]
    pub fn resync_after(mut self, seconds: u32) -> Self {
        self.resync_after_seconds = seconds;
        self
    }

    /// Adds a sentence that the user should see.
    #[must_use]
    pub fn warning(mut self, warning: impl Into<String>) -> Self {
        self.warnings.push(warning.into());
        self
    }

    /// Says that nothing is held any more; the answer to [`crate::Hook::Finalize`].
    #[must_use]
    pub fn finalized(mut self) -> Self {
        self.finalized = true;
        self
    }

    fn bare(request: &PluginRequest, status: ResponseStatus) -> Self {
        Self {
            uid: request.uid.clone(),
            status,
            reason: String::new(),
            message: String::new(),
            children: None,
            conditions: Vec::new(),
            warnings: Vec::new(),
            resync_after_seconds: 0,
            finalized: false,
        }
    }
}

/// Whether the plugin could answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[non_exhaustive]
pub enum ResponseStatus {
    /// `children` is the complete desired state.
    Success,
    /// The plugin refuses; asked again when something changes.
    Failure,
    /// The plugin cannot say yet.
    Pending,
}

/// A condition on the Dask resource, in a plugin's words.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct Condition {
    /// One `CamelCase` word.
    #[serde(rename = "type")]
    pub type_: String,
    /// Whether it holds.
    pub status: ConditionStatus,
    /// One `CamelCase` word.
    pub reason: String,
    /// One sentence for people.
    pub message: String,
}

/// The status of a condition, as Kubernetes spells it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub enum ConditionStatus {
    /// It holds.
    True,
    /// It does not.
    False,
    /// It cannot be told.
    Unknown,
}
