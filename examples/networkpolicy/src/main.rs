//! A dask-operator plugin that creates `NetworkPolicies` which allow only the clients of each Dask cluster.

mod policy;
mod settings;

use std::process::ExitCode;

use dask_plugin_server::protocol::{Child, Discovery, PluginRequest};
use dask_plugin_server::{Answer, Plugin, PluginError, run};

use crate::settings::Settings;

struct NetworkPolicyPlugin;

impl Plugin for NetworkPolicyPlugin {
    fn discovery(&self) -> Discovery {
        Discovery::new("networkpolicy", env!("CARGO_PKG_VERSION"))
    }

    async fn sync(&self, request: &PluginRequest) -> Result<Answer, PluginError> {
        let settings: Settings = dask_plugin_server::settings(request)?;
        settings.validate()?;
        let cluster = request.owner.name();
        let ports = policy::ports_behind(&request.subject.object);
        if ports.is_empty() {
            // A rule without ports would allow all ports.
            return Err(PluginError::failure(
                "NoPorts",
                format!(
                    "the Service {} has no ports; add them to spec.scheduler.service.ports of the DaskCluster",
                    request.subject.name()
                ),
            ));
        }
        let children = [
            Child::from_object("scheduler", &policy::of_scheduler(cluster, &settings, &ports)),
            Child::from_object("workers", &policy::of_workers(cluster)),
        ];
        let children: Result<Vec<_>, _> = children.into_iter().collect();
        // The types of k8s-openapi can always be written as JSON.
        children.map(Answer::new).map_err(|error| PluginError::failure("NotSerializable", error.to_string()))
    }
}

#[tokio::main]
async fn main() -> ExitCode {
    run(NetworkPolicyPlugin).await
}

#[cfg(test)]
mod tests;
