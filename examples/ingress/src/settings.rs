//! `spec.settings` of the plugin resource.

use std::collections::BTreeMap;

use dask_plugin_server::PluginError;
use serde::Deserialize;

/// The settings. Unknown settings are errors.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct Settings {
    /// The pattern of the host, such as `{name}.{namespace}.dask.example.org`.
    pub(crate) host_pattern: String,
    /// The class of the Ingress, by default the default class of the cluster.
    pub(crate) ingress_class_name: Option<String>,
    /// The Secret with the certificate, in the namespace of the DaskCluster. Without it, TLS is off.
    pub(crate) tls_secret_name: Option<String>,
    /// Annotations of each Ingress, for the ingress controller.
    #[serde(default)]
    pub(crate) annotations: BTreeMap<String, String>,
    /// The path of the dashboard.
    #[serde(default = "root")]
    pub(crate) path: String,
}

fn root() -> String {
    "/".to_owned()
}

impl Settings {
    /// Checks what the types do not express. Each message says what to change.
    pub(crate) fn validate(&self) -> Result<(), PluginError> {
        if !self.path.starts_with('/') {
            return Err(invalid(format!("spec.settings.path is {:?}; start it with a slash", self.path)));
        }
        for (setting, value) in
            [("ingressClassName", &self.ingress_class_name), ("tlsSecretName", &self.tls_secret_name)]
        {
            if value.as_deref() == Some("") {
                return Err(invalid(format!("spec.settings.{setting} is empty; set a value or remove the setting")));
            }
        }
        Ok(())
    }
}

fn invalid(message: String) -> PluginError {
    PluginError::failure("InvalidSettings", message)
}
