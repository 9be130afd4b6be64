//! Requests: what the controller sends to a hook.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{ApiVersion, Observed, Owner, ReviewKind, Subject};

/// The body of a call to a hook.
///
/// ```
/// use dask_plugin_protocol::ReviewRequest;
/// let review: ReviewRequest = serde_json::from_str(include_str!("../tests/golden/sync_request.json"))?;
/// assert_eq!(review.request.subject.kind(), "Service");
/// # Ok::<(), serde_json::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct ReviewRequest {
    /// Always the current version.
    pub api_version: ApiVersion,
    /// Always `PluginReview`.
    pub kind: ReviewKind,
    /// The request.
    pub request: PluginRequest,
}

impl ReviewRequest {
    /// Wraps `request` in its envelope.
    pub fn new(request: PluginRequest) -> Self {
        Self { api_version: ApiVersion::default(), kind: ReviewKind::default(), request }
    }
}

/// A request about one subject.
///
/// ```
/// use dask_plugin_protocol::{
///     ControllerInfo, Event, EventReason, Hook, Owner, PluginInfo, PluginRequest, StatusInDigest, Subject, digest_of,
/// };
/// use serde_json::json;
///
/// let event = Event::new("org.dask.kubernetes.service.scheduler", EventReason::Created, "2026-01-01T00:00:00Z");
/// let plugin = PluginInfo::new("ingress", "dask-operator", 1, json!({"domain": "example.org"}));
/// let service = json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "demo-scheduler"}});
/// let cluster = json!({"apiVersion": "kubernetes.dask.org/v1", "kind": "DaskCluster", "metadata": {"name": "demo"}});
///
/// let (subject, owner) = (Subject::new(service).component("scheduler"), Owner::from_object(cluster));
/// let mut request = PluginRequest::new(Hook::Sync, event, plugin, subject, owner).controller(ControllerInfo::new("0.1.0"));
/// request.uid = digest_of(&request, StatusInDigest::Ignored)?;
/// assert_eq!(request.owner.name(), "demo");
/// # Ok::<(), dask_plugin_protocol::DigestError>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct PluginRequest {
    /// `sha256:` and a digest of the content. Requests with the same content have the same uid. The response must
    /// repeat it. See [`crate::digest_of`].
    pub uid: String,
    /// The hook that is called.
    pub hook: Hook,
    /// 1 for the first attempt. Each retry of the same request adds 1.
    pub attempt: u32,
    /// If true, the response is only shown and not applied.
    #[serde(default)]
    pub dry_run: bool,
    /// The reason for the call. It is a hint: the response must not depend on it.
    pub event: Event,
    /// The plugin resource that registered this plugin.
    pub plugin: PluginInfo,
    /// The controller that makes the call.
    pub controller: ControllerInfo,
    /// The object that the children are for.
    pub subject: Subject,
    /// The owner of the children: the nearest Dask resource above the subject, or the subject itself.
    pub owner: Owner,
    /// The children of earlier responses, as they are now.
    #[serde(default)]
    pub observed: Observed,
}

impl PluginRequest {
    /// Creates the first attempt of a request, without observed children.
    ///
    /// The uid and the version of the controller are empty. Set the [`uid`](Self::uid) last, since it is a digest of
    /// the other fields.
    pub fn new(hook: Hook, event: Event, plugin: PluginInfo, subject: Subject, owner: Owner) -> Self {
        Self {
            uid: String::new(),
            hook,
            attempt: 1,
            dry_run: false,
            event,
            plugin,
            controller: ControllerInfo::new(""),
            subject,
            owner,
            observed: Observed::default(),
        }
    }

    /// Sets the controller that makes the call.
    #[must_use]
    pub fn controller(mut self, controller: ControllerInfo) -> Self {
        self.controller = controller;
        self
    }

    /// Sets the children that exist already.
    #[must_use]
    pub fn observed(mut self, observed: Observed) -> Self {
        self.observed = observed;
        self
    }
}

/// A hook of a plugin.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[non_exhaustive]
pub enum Hook {
    /// Returns the complete set of children.
    Sync,
    /// Releases what the plugin holds outside of the cluster, until `finalized` is true.
    Finalize,
}

impl Hook {
    /// Returns the name of the hook on the wire, which is also used as a metric label.
    ///
    /// ```
    /// assert_eq!(dask_plugin_protocol::Hook::Sync.as_str(), "Sync");
    /// ```
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Sync => "Sync",
            Self::Finalize => "Finalize",
        }
    }
}

/// The event that made the controller call.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[non_exhaustive]
pub struct Event {
    /// `org.dask.kubernetes.{kind}` or `org.dask.kubernetes.{kind}.{component}`, in lower case.
    #[serde(rename = "type")]
    pub type_: String,
    /// The reason: `Created`, `Updated`, `ChildDrift`, `PluginChanged`, `Resync`, `Unmatched` or `Deleting`. Newer
    /// controllers may send other reasons.
    #[cfg_attr(feature = "schema", schemars(with = "String"))]
    pub reason: EventReason,
    /// The time in RFC 3339, UTC.
    pub time: String,
}

impl Event {
    /// Creates an event.
    pub fn new(type_: impl Into<String>, reason: EventReason, time: impl Into<String>) -> Self {
        Self { type_: type_.into(), reason, time: time.into() }
    }
}

/// What happened to the subject, as far as the controller knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[non_exhaustive]
pub enum EventReason {
    /// This is the first call about the subject since the controller started.
    Created,
    /// The spec, labels or annotations of the subject or of its owner changed.
    Updated,
    /// Something other than the controller changed or deleted a child.
    ChildDrift,
    /// The plugin resource or the version of the plugin changed.
    PluginChanged,
    /// The resync period has passed.
    Resync,
    /// The subject no longer matches. Its children will be pruned.
    Unmatched,
    /// The owner is being deleted.
    Deleting,
    /// A reason of a newer controller.
    #[serde(other)]
    Unknown,
}

/// The plugin resource, as far as it matters to a plugin.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[non_exhaustive]
pub struct PluginInfo {
    /// `metadata.name` of the DaskOperatorPlugin.
    pub name: String,
    /// `metadata.namespace` of the DaskOperatorPlugin.
    pub namespace: String,
    /// `metadata.generation` of the DaskOperatorPlugin.
    pub generation: i64,
    /// `spec.settings`, `{}` if there are none.
    #[serde(default)]
    pub settings: Value,
}

impl PluginInfo {
    /// Describes the plugin resource `namespace/name`.
    pub fn new(name: impl Into<String>, namespace: impl Into<String>, generation: i64, settings: Value) -> Self {
        Self { name: name.into(), namespace: namespace.into(), generation, settings }
    }
}

/// The controller that makes the call.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[non_exhaustive]
pub struct ControllerInfo {
    /// The version of the controller.
    pub version: String,
    /// The optional fields of a response that the controller supports, such as `ResyncAfter`.
    #[serde(default)]
    pub capabilities: Vec<String>,
}

impl ControllerInfo {
    /// Describes a controller of this version, without capabilities.
    pub fn new(version: impl Into<String>) -> Self {
        Self { version: version.into(), capabilities: Vec::new() }
    }

    /// Sets the capabilities.
    ///
    /// ```
    /// use dask_plugin_protocol::ControllerInfo;
    /// let controller = ControllerInfo::new("0.1.0").capabilities(["Conditions", "ResyncAfter"]);
    /// assert_eq!(controller.capabilities.len(), 2);
    /// ```
    #[must_use]
    pub fn capabilities<T: Into<String>>(mut self, capabilities: impl IntoIterator<Item = T>) -> Self {
        self.capabilities = capabilities.into_iter().map(Into::into).collect();
        self
    }
}
