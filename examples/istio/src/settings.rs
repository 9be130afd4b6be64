//! `spec.settings` of the plugin resource.

use std::collections::BTreeMap;

use dask_plugin_server::PluginError;
use serde::{Deserialize, Serialize};

/// What a user can choose; a name that is not here is an error.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct Settings {
    /// Such as `{name}.{namespace}.dask.example.org`.
    pub(crate) host_pattern: String,
    /// Who signs a certificate for each host; excludes `tls_secret_name`.
    pub(crate) issuer_ref: Option<Issuer>,
    /// A Secret beside the ingress gateway, for all hosts; excludes `issuer_ref`.
    pub(crate) tls_secret_name: Option<String>,
    /// Labels of the ingress gateway's pods.
    #[serde(default = "istio_ingress_gateway")]
    pub(crate) gateway_selector: BTreeMap<String, String>,
    /// Put on each Gateway and `VirtualService`.
    #[serde(default)]
    pub(crate) annotations: BTreeMap<String, String>,
    /// Whether clients outside of Kubernetes reach the scheduler.
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

/// Where an issuer is: in the DaskCluster's namespace, or for all of them.
#[derive(Debug, Clone, Copy, Deserialize, Serialize)]
enum IssuerKind {
    Issuer,
    ClusterIssuer,
}

fn istio_ingress_gateway() -> BTreeMap<String, String> {
    BTreeMap::from([("istio".to_owned(), "ingressgateway".to_owned())])
}

impl Settings {
    /// What the types do not say. Each message tells what to change.
    pub(crate) fn validate(&self) -> Result<(), PluginError> {
        if self.issuer_ref.is_some() == self.tls_secret_name.is_some() {
            return Err(invalid("spec.settings needs one of issuerRef and tlsSecretName; set it, and only it"));
        }
        if self.gateway_selector.is_empty() {
            // Istio would serve the host on every gateway that there is.
            return Err(invalid("spec.settings.gatewaySelector is empty; give it a label or leave it out"));
        }
        let names = [
            ("issuerRef.name", self.issuer_ref.as_ref().map(|issuer| &issuer.name)),
            ("tlsSecretName", self.tls_secret_name.as_ref()),
        ];
        for (setting, value) in names {
            if value.is_some_and(String::is_empty) {
                return Err(invalid(format!("spec.settings.{setting} is empty; give it a value")));
            }
        }
        Ok(())
    }
}

fn invalid(message: impl Into<String>) -> PluginError {
    PluginError::failure("InvalidSettings", message)
}
