//! Where a plugin listens.

use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::lenient;

/// Where a plugin listens.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[x_kube(
    validation = Rule::new(
        "(has(self.service) ? 1 : 0) + (has(self.socket) ? 1 : 0) + (has(self.url) ? 1 : 0) == 1"
    ).message("exactly one of service, socket and url must be set"),
    validation = Rule::new(
        "!has(self.url) || self.url.startsWith('https://') \
         || self.url.matches('^http://127[.]0[.]0[.]1(:[0-9]+)?(/.*)?$')"
    ).message("url must begin with https://; plugins are not called without TLS, but for http://127.0.0.1 by a \
               controller that was started with --dev-plugins")
)]
pub struct Endpoint {
    /// A Service of the cluster, by https.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub service: Option<ServiceEndpoint>,
    /// A sidecar's Unix socket, `{container}/{file}`: the sidecar's container, and the file name in the directory that
    /// it shares with the controller. A file name alone is one of the container with this resource's name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(regex(pattern = r"^([a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?/)?[A-Za-z0-9][A-Za-z0-9._-]{0,62}$"))]
    pub socket: Option<String>,
    /// An https address outside of the cluster, if the operator allows them. With its flag `--dev-plugins`, also
    /// `http://127.0.0.1:PORT`, for a controller that runs on the machine where the plugin is written.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 2048))]
    pub url: Option<String>,
}

/// A Service that a plugin listens behind.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ServiceEndpoint {
    /// The Service's name.
    #[schemars(regex(pattern = r"^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$"))]
    pub name: String,
    /// The Service's namespace. Defaults to that of the plugin resource.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub namespace: Option<String>,
    /// The Service's port. Defaults to 443.
    #[serde(default = "default_port", deserialize_with = "lenient::integer")]
    #[schemars(with = "i32", range(min = 1, max = 65535))]
    pub port: i64,
    /// Prefix of all paths. Defaults to `/`.
    #[serde(default = "default_path")]
    #[schemars(regex(pattern = r"^/[A-Za-z0-9._~/-]*$"))]
    pub path: String,
}

impl ServiceEndpoint {
    /// Returns the port, 443 if what is written is none: the validation refuses it.
    pub fn port(&self) -> u16 {
        u16::try_from(self.port).unwrap_or(443)
    }
}

fn default_port() -> i64 {
    443
}

fn default_path() -> String {
    "/".to_owned()
}
