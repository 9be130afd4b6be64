//! How a connection to a plugin is secured: TLS, and how the controller authenticates.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// How the connection to a plugin is secured.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct PluginTls {
    /// `Auto`: the controller writes the Secret `{plugin}-plugin-tls` for the plugin to mount. Nobody mounts it
    /// behind an endpoint.url, which is `Custom` whatever is written here.
    pub mode: TlsMode,
    /// PEM certificates that the plugin's certificate must descend from (`Custom`). Without them, public
    /// authorities.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 51200))]
    pub ca_bundle: Option<String>,
    /// Where to read these certificates from (`Custom`).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ca_from: Option<KeyRef>,
    /// The controller's own certificate (`Custom`).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub client_certificate: Option<CertificateRef>,
}

/// Who makes the certificates.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum TlsMode {
    /// The controller does, and rotates them; both sides authenticate each other.
    #[default]
    Auto,
    /// Somebody else does.
    Custom,
}

/// A key of a ConfigMap or Secret.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct KeyRef {
    /// Which of the two.
    pub kind: KeyRefKind,
    /// Its name.
    pub name: String,
    /// The key. Defaults to `ca.crt`.
    #[serde(default = "default_ca_key")]
    pub key: String,
}

fn default_ca_key() -> String {
    "ca.crt".to_owned()
}

/// What a [`KeyRef`] points at.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum KeyRefKind {
    /// A ConfigMap.
    ConfigMap,
    /// A Secret.
    Secret,
}

impl KeyRefKind {
    /// Returns the name of the kind.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::ConfigMap => "ConfigMap",
            Self::Secret => "Secret",
        }
    }
}

/// A Secret of type `kubernetes.io/tls`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct CertificateRef {
    /// Its name.
    pub secret_name: String,
}

/// How the controller proves who it is, besides TLS.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct PluginAuth {
    /// Send a ServiceAccount token whose audience is the endpoint, as status.endpoint has it, without a / at the
    /// end (`Custom` TLS).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub service_account_token: Option<bool>,
    /// Sign each request as Standard Webhooks says (url).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hmac: Option<HmacRef>,
}

/// Where the signing key is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct HmacRef {
    /// The Secret's name.
    pub secret_name: String,
    /// The key in the Secret.
    pub key: String,
}
