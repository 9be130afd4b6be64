//! `spec.settings` of the plugin resource.

use std::collections::BTreeMap;

use dask_plugin_server::PluginError;
use serde::{Deserialize, Serialize};

/// The settings. Unknown settings are errors.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct Settings {
    /// The pattern of the host, such as `{name}.{namespace}.dask.example.org`.
    pub(crate) host_pattern: String,
    /// The issuer of a certificate for each host. Excludes `tls_secret_name`.
    pub(crate) issuer_ref: Option<Issuer>,
    /// The Secret for all hosts, in the namespace of the ingress gateway. Excludes `issuer_ref`.
    pub(crate) tls_secret_name: Option<String>,
    /// The labels of the pods of the ingress gateway.
    #[serde(default = "istio_ingress_gateway")]
    pub(crate) gateway_selector: BTreeMap<String, String>,
    /// Annotations of each Gateway and `VirtualService`.
    #[serde(default)]
    pub(crate) annotations: BTreeMap<String, String>,
    /// Whether clients outside of Kubernetes can connect to the scheduler.
    #[serde(default)]
    pub(crate) expose_scheduler: bool,
}

/// An issuer of cert-manager.
#[derive(Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Issuer {
    name: String,
    kind: IssuerKind,
}

/// The scope of an issuer: the namespace of the DaskCluster, or all namespaces.
#[derive(Debug, Clone, Copy, Deserialize, Serialize)]
enum IssuerKind {
    Issuer,
    ClusterIssuer,
}

fn istio_ingress_gateway() -> BTreeMap<String, String> {
    BTreeMap::from([("istio".to_owned(), "ingressgateway".to_owned())])
}

impl Settings {
    /// Checks what the types do not express. Each message says what to change.
    pub(crate) fn validate(&self) -> Result<(), PluginError> {
        if self.issuer_ref.is_some() == self.tls_secret_name.is_some() {
            return Err(invalid("spec.settings needs exactly one of issuerRef and tlsSecretName"));
        }
        if self.gateway_selector.is_empty() {
            // Istio would serve the host on every gateway.
            return Err(invalid("spec.settings.gatewaySelector is empty; set a label or remove the setting"));
        }
        let names = [
            ("issuerRef.name", self.issuer_ref.as_ref().map(|issuer| &issuer.name)),
            ("tlsSecretName", self.tls_secret_name.as_ref()),
        ];
        for (setting, value) in names {
            if value.is_some_and(String::is_empty) {
                return Err(invalid(format!("spec.settings.{setting} is empty; set a value")));
            }
        }
        Ok(())
    }
}

fn invalid(message: impl Into<String>) -> PluginError {
    PluginError::failure("InvalidSettings", message)
}
