//! A dask-operator plugin that creates an Ingress for the dashboard of each Dask cluster.

mod host;
mod settings;

use std::process::ExitCode;

use dask_plugin_server::protocol::{Child, Discovery, PluginRequest};
use dask_plugin_server::{Answer, Plugin, PluginError, run};
use serde_json::{Value, json};

use crate::settings::Settings;

/// The name of the dashboard's port in the Service of the scheduler.
const DASHBOARD_PORT: &str = "http-dashboard";

struct IngressPlugin;

impl Plugin for IngressPlugin {
    fn discovery(&self) -> Discovery {
        Discovery::new("ingress", env!("CARGO_PKG_VERSION"))
    }

    async fn sync(&self, request: &PluginRequest) -> Result<Answer, PluginError> {
        let settings: Settings = dask_plugin_server::settings(request)?;
        settings.validate()?;
        let service = &request.subject;
        if !has_dashboard_port(&service.object) {
            return Err(PluginError::failure(
                "NoDashboardPort",
                format!(
                    "the Service {} has no port named {DASHBOARD_PORT}; add it to \
                     spec.scheduler.service.ports of the DaskCluster",
                    service.name()
                ),
            ));
        }
        let cluster = request.owner.name();
        let host = host::render(&settings.host_pattern, cluster, service.namespace())?;
        let ingress = build_ingress(&settings, &host, service.name());
        Ok(Child::new("ingress", ingress).into())
    }
}

fn has_dashboard_port(service: &Value) -> bool {
    let ports = service.pointer("/spec/ports").and_then(Value::as_array);
    ports.is_some_and(|ports| ports.iter().any(|port| port["name"] == DASHBOARD_PORT))
}

/// Returns the Ingress. The controller sets its name, namespace, owner and labels.
fn build_ingress(settings: &Settings, host: &str, service: &str) -> Value {
    let backend = json!({"service": {"name": service, "port": {"name": DASHBOARD_PORT}}});
    let path = json!({"path": settings.path, "pathType": "Prefix", "backend": backend});
    let mut ingress = json!({
        "apiVersion": "networking.k8s.io/v1",
        "kind": "Ingress",
        "spec": {"rules": [{"host": host, "http": {"paths": [path]}}]},
    });
    if !settings.annotations.is_empty() {
        ingress["metadata"] = json!({"annotations": settings.annotations});
    }
    if let Some(class) = &settings.ingress_class_name {
        ingress["spec"]["ingressClassName"] = json!(class);
    }
    if let Some(secret) = &settings.tls_secret_name {
        ingress["spec"]["tls"] = json!([{"hosts": [host], "secretName": secret}]);
    }
    ingress
}

#[tokio::main]
async fn main() -> ExitCode {
    run(IngressPlugin).await
}

#[cfg(test)]
mod tests;
