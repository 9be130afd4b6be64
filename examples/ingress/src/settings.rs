//! `spec.settings` of the plugin resource.

use std::collections::BTreeMap;

use dask_plugin_server::PluginError;
use serde::Deserialize;

/// What a user can choose; a name that is not here is an error.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct Settings {
    /// Such as `{name}.{namespace}.dask.example.org`.
    pub(crate) host_pattern: String,
    /// The cluster's default class if absent.
    pub(crate) ingress_class_name: Option<String>,
    /// A Secret in the DaskCluster's namespace; without it there is no TLS.
    pub(crate) tls_secret_name: Option<String>,
    /// Put on each Ingress, for its controller.
    #[serde(default)]
    pub(crate) annotations: BTreeMap<String, String>,
    /// Where the dashboard begins.
    #[serde(default = "root")]
    pub(crate) path: String,
}

fn root() -> String {
    "/".to_owned()
}

impl Settings {
    /// What the types do not say. Each message tells what to change.
    pub(crate) fn validate(&self) -> Result<(), PluginError> {
        if !self.path.starts_with('/') {
            return Err(invalid(format!("spec.settings.path is {:?}; begin it with a slash", self.path)));
        }
        for (setting, value) in
            [("ingressClassName", &self.ingress_class_name), ("tlsSecretName", &self.tls_secret_name)]
        {
            if value.as_deref() == Some("") {
                return Err(invalid(format!("spec.settings.{setting} is empty; give it a value or leave it out")));
            }
        }
        Ok(())
    }
}

fn invalid(message: String) -> PluginError {
    PluginError::failure("InvalidSettings", message)
}
