use serde::{Deserialize, Serialize};

use crate::{ApiVersion, DiscoveryKind, Hook, PROTOCOL_VERSION};

/// What a plugin says of itself at `GET {base}/v1alpha1/discovery`.
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
    /// The plugin's name, for people; it need not be the resource's.
    pub name: String,
    /// The plugin's version. When it changes, every subject is asked about again.
    pub version: String,
    /// Protocol versions that are served, newest first.
    pub protocol_versions: Vec<String>,
    /// Hooks that are served.
    pub hooks: Vec<Hook>,
    /// Optional features that the plugin understands.
    #[serde(default)]
    pub capabilities: Vec<String>,
}

impl Discovery {
    /// A plugin that serves [`Hook::Sync`] of this crate's protocol version.
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
    #[must_use]
    pub fn hook(mut self, hook: Hook) -> Self {
        if !self.hooks.contains(&hook) {
            self.hooks.push(hook);
        }
        self
    }

    /// Whether this crate's protocol version is among those served.
    pub fn speaks_our_version(&self) -> bool {
        self.protocol_versions.iter().any(|version| version == PROTOCOL_VERSION)
    }
}
