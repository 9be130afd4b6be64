//! `spec.settings` of the plugin resource.

use dask_plugin_server::PluginError;
use k8s_openapi::api::networking::v1::NetworkPolicyPeer;
use serde::de::Error as _;
use serde::{Deserialize, Deserializer};

/// What a user can choose; a name that is not here is an error.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct Settings {
    /// Who may talk to schedulers, besides the cluster's own pods and the operator.
    #[serde(default, deserialize_with = "known_fields_only")]
    pub(crate) clients: Vec<NetworkPolicyPeer>,
    /// The operator scales and watches clusters by talking to their schedulers.
    #[serde(default = "dask_operator")]
    pub(crate) operator_namespace: String,
}

fn dask_operator() -> String {
    "dask-operator".to_owned()
}

/// A selector whose only field is misspelt would be an empty one, which selects everything.
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
    /// What the types do not say. Each message tells what to change.
    pub(crate) fn validate(&self) -> Result<(), PluginError> {
        if self.operator_namespace.is_empty() {
            return Err(invalid(
                "spec.settings.operatorNamespace is empty; give it a value or leave it out".to_owned(),
            ));
        }
        for (index, peer) in self.clients.iter().enumerate() {
            let selects = peer.namespace_selector.is_some() || peer.pod_selector.is_some();
            if peer.ip_block.is_some() == selects {
                return Err(invalid(format!(
                    "spec.settings.clients[{index}] needs selectors or an ipBlock; set one, and not both"
                )));
            }
        }
        Ok(())
    }
}

fn invalid(message: String) -> PluginError {
    PluginError::failure("InvalidSettings", message)
}
