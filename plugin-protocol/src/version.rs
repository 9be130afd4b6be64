use serde::{Deserialize, Serialize};

/// The protocol version that this crate speaks, as it stands in paths and in discovery.
pub const PROTOCOL_VERSION: &str = "v1alpha1";

/// `apiVersion` of every body: the wire group is apart from the group of the custom resources.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub enum ApiVersion {
    /// `plugin.kubernetes.dask.org/v1alpha1`
    #[default]
    #[serde(rename = "plugin.kubernetes.dask.org/v1alpha1")]
    V1Alpha1,
}

/// `kind` of a request and of its answer.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub enum ReviewKind {
    /// The only value; another one in a body is an error.
    #[default]
    PluginReview,
}

/// `kind` of the answer to discovery.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub enum DiscoveryKind {
    /// The only value; another one in a body is an error.
    #[default]
    PluginDiscovery,
}

/// Paths below a plugin's base path.
pub mod path {
    /// `GET`: who are you and what do you serve?
    pub const DISCOVERY: &str = "/v1alpha1/discovery";
    /// `POST`: which children does this subject need?
    pub const SYNC: &str = "/v1alpha1/sync";
    /// `POST`: this subject goes away; release what you hold outside of the cluster.
    pub const FINALIZE: &str = "/v1alpha1/finalize";
}
