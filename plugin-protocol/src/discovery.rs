//! Discovery: the name of a plugin, its version and the hooks that it serves.

use serde::{Deserialize, Serialize};

use crate::{ApiVersion, DiscoveryKind, Hook, PROTOCOL_VERSION};

/// The body of the response to `GET {base}/v1alpha1/discovery`.
///
/// ```
/// use dask_plugin_protocol::{Discovery, Hook};
/// let discovery = Discovery::new("ingress", "1.2.0");
/// assert_eq!(discovery.hooks, [Hook::Sync]);
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[non_exhaustive]
pub struct Discovery {
    /// Always the current version.
    pub api_version: ApiVersion,
    /// Always `PluginDiscovery`.
    pub kind: DiscoveryKind,
    /// The name of the plugin, for people. It may differ from the name of the resource.
    pub name: String,
    /// The version of the plugin. When it changes, the controller calls the plugin again for every subject.
    pub version: String,
    /// The protocol versions that the plugin serves, newest first.
    pub protocol_versions: Vec<String>,
    /// The hooks that the plugin serves.
    pub hooks: Vec<Hook>,
    /// Optional features that the plugin understands.
    #[serde(default)]
    pub capabilities: Vec<String>,
}

impl Discovery {
    /// Describes a plugin that serves [`Hook::Sync`] in the protocol version of this crate.
    pub fn new(name: impl Into<String>, version: impl Into<String>) -> Self {
        Self {
            api_version: ApiVersion::default(),
            kind: DiscoveryKind::default(),
            name: name.into(),
            version: version.into(),
            protocol_versions: vec![PROTOCOL_VERSION.to_owned()],
            hooks: vec![Hook::Sync],
            capabilities: Vec::new(),
        }
    }

    /// Adds a hook.
    ///
    /// ```
    /// use dask_plugin_protocol::{Discovery, Hook};
    /// let discovery = Discovery::new("dns", "1.0.0").hook(Hook::Finalize);
    /// assert_eq!(discovery.hooks, [Hook::Sync, Hook::Finalize]);
    /// ```
    #[must_use]
    pub fn hook(mut self, hook: Hook) -> Self {
        if !self.hooks.contains(&hook) {
            self.hooks.push(hook);
        }
        self
    }

    /// Returns whether the plugin serves the protocol version of this crate.
    pub fn speaks_our_version(&self) -> bool {
        self.protocol_versions.iter().any(|version| version == PROTOCOL_VERSION)
    }
}
