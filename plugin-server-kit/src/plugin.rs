//! The trait of a plugin, its response and its settings.

use std::future::Future;

use dask_plugin_protocol::{Child, Condition, Discovery, PluginRequest, PluginResponse};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use crate::PluginError;

/// A plugin: decides which objects should exist beside one object of a Dask cluster.
///
/// Implementations write `async fn`. They must not keep state between calls that a response depends on: each request
/// carries everything, and the same request must lead to the same response.
///
/// A call that takes longer than the timeout of the controller is dropped at its next `.await`, see
/// [`time_left`](crate::time_left). Run blocking work in [`tokio::task::spawn_blocking`].
///
/// # Examples
///
/// A plugin that registers a DNS name outside of the cluster, and removes it when the cluster is deleted. The
/// directory `examples/` of this crate has the complete program.
///
/// ```
/// use dask_plugin_server::protocol::{Discovery, Hook, PluginRequest};
/// use dask_plugin_server::{Answer, Plugin, PluginError};
///
/// struct Dns;
///
/// impl Plugin for Dns {
///     fn discovery(&self) -> Discovery {
///         Discovery::new("dns", "1.0.0").hook(Hook::Finalize)
///     }
///
///     async fn sync(&self, request: &PluginRequest) -> Result<Answer, PluginError> {
///         register(request.owner.name()).await?;
///         Ok(Answer::none())
///     }
///
///     async fn finalize(&self, request: &PluginRequest) -> Result<(), PluginError> {
///         unregister(request.owner.name()).await
///     }
/// }
/// # async fn register(_: &str) -> Result<(), PluginError> { Ok(()) }
/// # async fn unregister(_: &str) -> Result<(), PluginError> { Ok(()) }
/// ```
pub trait Plugin: Send + Sync + 'static {
    /// Returns the name and version of this plugin and the hooks that it serves.
    ///
    /// When the version changes, the controller calls the plugin again for every subject.
    fn discovery(&self) -> Discovery;

    /// Returns the *complete* set of children for `request.subject`.
    ///
    /// # Errors
    /// Return [`PluginError::failure`] to refuse, and [`PluginError::pending`] if there is no result yet. In both
    /// cases, the existing children stay.
    fn sync(&self, request: &PluginRequest) -> impl Future<Output = Result<Answer, PluginError>> + Send;

    /// Releases what the plugin holds outside of the cluster for `request.subject`.
    ///
    /// It is called only if [`Plugin::discovery`] lists [`Hook::Finalize`](dask_plugin_protocol::Hook), and repeatedly
    /// until it returns `Ok`, which means that everything is released. Without the hook, the path returns 404.
    ///
    /// # Errors
    /// Return [`PluginError::pending`] while something is not released. The default implementation fails with the
    /// reason `FinalizeNotImplemented`, because a plugin that lists the hook but does not implement it must not report
    /// that it has cleaned up.
    fn finalize(&self, request: &PluginRequest) -> impl Future<Output = Result<(), PluginError>> + Send {
        let _ = request;
        std::future::ready(Err(PluginError::failure(
            "FinalizeNotImplemented",
            "the plugin's discovery lists the hook Finalize, but the plugin does not implement it",
        )))
    }
}

/// The response of a plugin: its children, and what else the user should know.
///
/// ```
/// use dask_plugin_server::{Answer, protocol::Child};
/// use serde_json::json;
///
/// let map = json!({"apiVersion": "v1", "kind": "ConfigMap", "data": {"a": "b"}});
/// let answer = Answer::from(Child::new("config", map)).warning("`a` is deprecated").resync_after(600);
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
    /// Returns exactly these children. Other children of this plugin for the subject are deleted.
    pub fn new(children: impl IntoIterator<Item = Child>) -> Self {
        Self { children: children.into_iter().collect(), ..Self::default() }
    }

    /// Returns no children. The children of this plugin for the subject are deleted.
    pub fn none() -> Self {
        Self::default()
    }

    /// Adds a condition that is shown on the Dask resource.
    ///
    /// ```
    /// use dask_plugin_server::Answer;
    /// use dask_plugin_server::protocol::{Condition, ConditionStatus};
    ///
    /// let exposed = Condition::new("Exposed", ConditionStatus::False, "NoAddress", "the gateway has no address");
    /// let answer = Answer::none().condition(exposed);
    /// ```
    pub fn condition(mut self, condition: Condition) -> Self {
        self.conditions.push(condition);
        self
    }

    /// Adds a sentence that is shown to the user once.
    pub fn warning(mut self, sentence: impl Into<String>) -> Self {
        self.warnings.push(sentence.into());
        self
    }

    /// Asks for another call after this number of seconds, even if nothing changes.
    pub fn resync_after(mut self, seconds: u32) -> Self {
        self.resync_after_seconds = seconds;
        self
    }

    /// Returns the children.
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

/// Reads `spec.settings` of the plugin resource into a type of the plugin.
///
/// Give the type `#[serde(deny_unknown_fields)]`, so that a misspelt setting is an error instead of an unintended
/// default.
///
/// # Errors
/// Fails with the reason `InvalidSettings` and a message that names the setting.
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
