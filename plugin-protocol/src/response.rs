//! Responses: what a plugin returns from a hook.

use serde::{Deserialize, Serialize};

use crate::{ApiVersion, Child, PluginRequest, ReviewKind};

/// The body of a response.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[non_exhaustive]
pub struct ReviewResponse {
    /// Always the current version.
    pub api_version: ApiVersion,
    /// Always `PluginReview`.
    pub kind: ReviewKind,
    /// The response.
    pub response: PluginResponse,
}

impl ReviewResponse {
    /// Wraps `response` in its envelope.
    pub fn new(response: PluginResponse) -> Self {
        Self { api_version: ApiVersion::default(), kind: ReviewKind::default(), response }
    }
}

/// The response to one request.
///
/// ```
/// use dask_plugin_protocol::{Child, Condition, ConditionStatus, PluginResponse, ReviewRequest};
/// use serde_json::json;
///
/// let review: ReviewRequest = serde_json::from_str(include_str!("../tests/golden/sync_request.json"))?;
/// let child = Child::new("config", json!({"apiVersion": "v1", "kind": "ConfigMap"}));
/// let response = PluginResponse::success(&review.request, vec![child])
///     .condition(Condition::new("Configured", ConditionStatus::True, "Done", "the ConfigMap is complete"))
///     .resync_after(600);
/// assert_eq!(response.uid, review.request.uid);
/// # Ok::<(), serde_json::Error>(())
/// ```
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
    /// The outcome of the call.
    pub status: ResponseStatus,
    /// One `CamelCase` word for conditions. The same cause must always have the same reason.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub reason: String,
    /// One sentence for people. The same cause must always have the same message: no times, no addresses.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub message: String,
    /// The complete set of children. Required with [`ResponseStatus::Success`]. `[]` deletes all children.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schemars(with = "Vec<Child>", length(max = 64)))]
    pub children: Option<Vec<Child>>,
    /// Conditions that are shown on the Dask resource.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub conditions: Vec<Condition>,
    /// Sentences that are shown as Events, once each.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub warnings: Vec<String>,
    /// The number of seconds after which the controller calls again. 0 means only when something changes.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub resync_after_seconds: u32,
    /// The response to [`crate::Hook::Finalize`]: whether the plugin has released everything.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub finalized: bool,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes the field by reference")]
fn is_zero(seconds: &u32) -> bool {
    *seconds == 0
}

impl PluginResponse {
    /// Returns the complete set of children for the subject of the request.
    pub fn success(request: &PluginRequest, children: Vec<Child>) -> Self {
        Self { children: Some(children), ..Self::bare(request, ResponseStatus::Success) }
    }

    /// Refuses. The existing children stay, and the message is shown to the user.
    pub fn failure(request: &PluginRequest, reason: impl Into<String>, message: impl Into<String>) -> Self {
        Self { reason: reason.into(), message: message.into(), ..Self::bare(request, ResponseStatus::Failure) }
    }

    /// Asks the controller to retry later. The existing children stay.
    pub fn pending(request: &PluginRequest, message: impl Into<String>) -> Self {
        Self { message: message.into(), ..Self::bare(request, ResponseStatus::Pending) }
    }

    /// Adds a condition.
    #[must_use]
    pub fn condition(mut self, condition: Condition) -> Self {
        self.conditions.push(condition);
        self
    }

    /// Asks for another call after `seconds`, even if nothing changes.
    #[must_use]
    pub fn resync_after(mut self, seconds: u32) -> Self {
        self.resync_after_seconds = seconds;
        self
    }

    /// Adds a sentence that is shown to the user.
    #[must_use]
    pub fn warning(mut self, warning: impl Into<String>) -> Self {
        self.warnings.push(warning.into());
        self
    }

    /// Reports that the plugin has released everything, in response to [`crate::Hook::Finalize`].
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

/// The outcome of a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[non_exhaustive]
pub enum ResponseStatus {
    /// `children` is the complete desired state.
    Success,
    /// The plugin refuses. The controller calls again when something changes.
    Failure,
    /// The plugin has no result yet. The controller calls again.
    Pending,
}

/// A condition that the plugin reports on the Dask resource.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct Condition {
    /// One `CamelCase` word.
    #[serde(rename = "type")]
    pub type_: String,
    /// The status.
    pub status: ConditionStatus,
    /// One `CamelCase` word.
    pub reason: String,
    /// One sentence for people.
    pub message: String,
}

impl Condition {
    /// Creates a condition.
    pub fn new(
        type_: impl Into<String>,
        status: ConditionStatus,
        reason: impl Into<String>,
        message: impl Into<String>,
    ) -> Self {
        Self { type_: type_.into(), status, reason: reason.into(), message: message.into() }
    }
}

/// The status of a condition, as in Kubernetes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[non_exhaustive]
pub enum ConditionStatus {
    /// The condition holds.
    True,
    /// The condition does not hold.
    False,
    /// The status is not known.
    Unknown,
}
