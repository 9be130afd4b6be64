//! The version of the protocol, and the `apiVersion` and `kind` of each body.

use serde::{Deserialize, Serialize};

/// The protocol version of this crate, as it is written in paths and in discovery.
pub const PROTOCOL_VERSION: &str = "v1alpha1";

/// The `apiVersion` of every body. Its group is not the group of the custom resources.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[non_exhaustive]
pub enum ApiVersion {
    /// `plugin.kubernetes.dask.org/v1alpha1`
    #[default]
    #[serde(rename = "plugin.kubernetes.dask.org/v1alpha1")]
    V1Alpha1,
}

/// The `kind` of a request and of its response.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[non_exhaustive]
pub enum ReviewKind {
    /// The only value. Any other value in a body is an error.
    #[default]
    PluginReview,
}

/// The `kind` of the response to discovery.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[non_exhaustive]
pub enum DiscoveryKind {
    /// The only value. Any other value in a body is an error.
    #[default]
    PluginDiscovery,
}

/// Paths below the base path of a plugin.
pub mod path {
    /// `GET`: returns the name of the plugin and the hooks that it serves.
    pub const DISCOVERY: &str = "/v1alpha1/discovery";
    /// `POST`: returns the children of a subject.
    pub const SYNC: &str = "/v1alpha1/sync";
    /// `POST`: releases what the plugin holds outside of the cluster for a subject that is deleted.
    pub const FINALIZE: &str = "/v1alpha1/finalize";
}
