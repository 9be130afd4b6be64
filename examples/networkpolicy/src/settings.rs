//! `spec.settings` of the plugin resource.

use dask_plugin_server::PluginError;
use k8s_openapi::api::networking::v1::NetworkPolicyPeer;
use serde::de::Error as _;
use serde::{Deserialize, Deserializer};

/// The settings. Unknown settings are errors.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct Settings {
    /// The clients that may connect to schedulers, besides the pods of the cluster and the operator.
    #[serde(default, deserialize_with = "known_fields_only")]
    pub(crate) clients: Vec<NetworkPolicyPeer>,
    /// The namespace of the operator, which connects to schedulers to scale clusters.
    #[serde(default = "dask_operator")]
    pub(crate) operator_namespace: String,
}

fn dask_operator() -> String {
    "dask-operator".to_owned()
}

/// Refuses unknown fields: a selector whose only field is misspelt would be empty and select everything.
fn known_fields_only<'de, D: Deserializer<'de>>(peers: D) -> Result<Vec<NetworkPolicyPeer>, D::Error> {
    let mut unknown = None;
    let peers = serde_ignored::deserialize(peers, |path| {
        unknown.get_or_insert_with(|| path.to_string());
    })?;
    match unknown {
        Some(path) => Err(D::Error::custom(format!("a NetworkPolicyPeer has no field {path}"))),
        None => Ok(peers),
    }
}

impl Settings {
    /// Checks what the types do not express. Each message says what to change.
    pub(crate) fn validate(&self) -> Result<(), PluginError> {
        if self.operator_namespace.is_empty() {
            return Err(invalid(
                "spec.settings.operatorNamespace is empty; set a value or remove the setting".to_owned(),
            ));
        }
        for (index, peer) in self.clients.iter().enumerate() {
            let selects = peer.namespace_selector.is_some() || peer.pod_selector.is_some();
            if peer.ip_block.is_some() == selects {
                return Err(invalid(format!("spec.settings.clients[{index}] needs either selectors or an ipBlock")));
            }
        }
        Ok(())
    }
}

fn invalid(message: String) -> PluginError {
    PluginError::failure("InvalidSettings", message)
}
