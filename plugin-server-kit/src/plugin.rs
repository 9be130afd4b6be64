use std::future::Future;

use dask_plugin_protocol::{Child, Condition, Discovery, PluginRequest, PluginResponse};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use crate::PluginError;

/// A plugin: given one object of a Dask cluster, which other objects should exist?
///
/// Implementations write `async fn`. They hold no state between calls that an answer depends on: each
/// request carries everything, and the same request must lead to the same answer.
///
/// A call that outlasts the caller's patience is dropped at its next `.await`, so work that blocks
/// belongs into [`tokio::task::spawn_blocking`].
pub trait Plugin: Send + Sync + 'static {
    /// Who this plugin is and which hooks it serves.
    ///
    /// When the version changes, the controller asks about every subject again.
    fn discovery(&self) -> Discovery;

    /// The *complete* set of children for `request.subject`.
    ///
    /// # Errors
    /// [`PluginError::failure`] if the plugin refuses, [`PluginError::pending`] if it cannot say yet.
    /// Both leave the children of earlier answers untouched.
    fn sync(&self, request: &PluginRequest) -> impl Future<Output = Result<Answer, PluginError>> + Send;

    /// Releases what is held outside of the cluster for `request.subject`; `Ok` means that nothing is.
    ///
    /// It is called only if [`Plugin::discovery`] lists [`Hook::Finalize`](dask_plugin_protocol::Hook), and
    /// then again and again until it returns `Ok`. Otherwise the hook answers 404.
    ///
    /// # Errors
    /// [`PluginError::pending`] while something is still held. The default fails with the reason
    /// `FinalizeNotImplemented`: a plugin that lists the hook and forgets this method must not claim
    /// that it has cleaned up.
    fn finalize(&self, request: &PluginRequest) -> impl Future<Output = Result<(), PluginError>> + Send {
        let _ = request;
        std::future::ready(Err(PluginError::failure(
            "FinalizeNotImplemented",
            "the plugin's discovery lists the hook Finalize, but the plugin does not implement it",
        )))
    }
}

/// What a plugin wants: its children, and what else the user should know.
///
/// ```
/// use dask_plugin_server::{Answer, protocol::Child};
/// use serde_json::json;
///
/// let map = json!({"apiVersion": "v1", "kind": "ConfigMap", "data": {"a": "b"}});
/// let answer = Answer::from(Child::new("config", map)).warning("`a` is deprecated");
/// assert_eq!(answer.children().len(), 1);
/// ```
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[must_use]
pub struct Answer {
    children: Vec<Child>,
    conditions: Vec<Condition>,
    warnings: Vec<String>,
    resync_after_seconds: u32,
}

impl Answer {
    /// Exactly these children; others that this plugin had for the subject are deleted.
    pub fn new(children: impl IntoIterator<Item = Child>) -> Self {
        Self { children: children.into_iter().collect(), ..Self::default() }
    }

    /// No children: those that this plugin had for the subject are deleted.
    pub fn none() -> Self {
        Self::default()
    }

    /// Adds a condition to show on the Dask resource.
    pub fn condition(mut self, condition: Condition) -> Self {
        self.conditions.push(condition);
        self
    }

    /// Adds a sentence that the user should see once.
    pub fn warning(mut self, sentence: impl Into<String>) -> Self {
        self.warnings.push(sentence.into());
        self
    }

    /// Asks for another call after so many seconds, even if nothing changes.
    pub fn resync_after(mut self, seconds: u32) -> Self {
        self.resync_after_seconds = seconds;
        self
    }

    /// The children that are wanted.
    pub fn children(&self) -> &[Child] {
        &self.children
    }

    pub(crate) fn into_response(self, request: &PluginRequest) -> PluginResponse {
        let mut response = PluginResponse::success(request, self.children);
        response.conditions = self.conditions;
        response.warnings = self.warnings;
        response.resync_after_seconds = self.resync_after_seconds;
        response
    }
}

impl From<Child> for Answer {
    fn from(child: Child) -> Self {
        Self::new([child])
    }
}

impl From<Vec<Child>> for Answer {
    fn from(children: Vec<Child>) -> Self {
        Self::new(children)
    }
}

/// The plugin resource's `spec.settings` as a type of the plugin's own.
///
/// Give the type `#[serde(deny_unknown_fields)]`, so that a misspelt setting is an error and not a
/// default that nobody asked for.
///
/// # Errors
/// A failure with the reason `InvalidSettings` and a message that names the setting.
///
/// ```
/// # #[cfg(feature = "testing")] {
/// use dask_plugin_server::{settings, testing::RequestBuilder};
/// use serde_json::json;
///
/// #[derive(Debug, serde::Deserialize)]
/// #[serde(rename_all = "camelCase", deny_unknown_fields)]
/// struct Settings {
///     host_pattern: String,
/// }
///
/// let request = RequestBuilder::sync().settings(json!({"hostPattern": 5})).build();
/// let error = settings::<Settings>(&request).unwrap_err();
/// assert!(error.message().starts_with("spec.settings.hostPattern: invalid type: integer"));
/// # }
/// ```
pub fn settings<T: DeserializeOwned>(request: &PluginRequest) -> Result<T, PluginError> {
    let settings = match &request.plugin.settings {
        Value::Null => json!({}),
        settings => settings.clone(),
    };
    serde_path_to_error::deserialize(settings).map_err(|error| {
        let path = match error.path().to_string() {
            root if root == "." => String::new(),
            path => format!(".{path}"),
        };
        let cause = error.into_inner();
        PluginError::failure("InvalidSettings", format!("spec.settings{path}: {cause}"))
    })
}
