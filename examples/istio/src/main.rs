//! A dask-operator plugin that creates an Istio Gateway, a `VirtualService` and a certificate for each Dask cluster.

// The hosts have the same rules as those of the ingress plugin, which tests them.
#[path = "../../ingress/src/host.rs"]
mod host;
mod route;
mod settings;

use std::process::ExitCode;

use dask_plugin_server::protocol::{Child, Discovery, PluginRequest};
use dask_plugin_server::{Answer, Plugin, PluginError, run};

use crate::route::{Route, port_number};
use crate::settings::Settings;

/// The name of the dashboard's port in the Service of the scheduler.
const DASHBOARD_PORT: &str = "http-dashboard";
/// The name of the port for clients and workers in the Service of the scheduler.
const COMM_PORT: &str = "tcp-comm";

struct IstioPlugin;

impl Plugin for IstioPlugin {
    fn discovery(&self) -> Discovery {
        Discovery::new("istio", env!("CARGO_PKG_VERSION"))
    }

    async fn sync(&self, request: &PluginRequest) -> Result<Answer, PluginError> {
        let settings: Settings = dask_plugin_server::settings(request)?;
        settings.validate()?;
        let service = &request.subject;
        let dashboard = port_number(&service.object, DASHBOARD_PORT).ok_or_else(|| no_port(request, DASHBOARD_PORT))?;
        let (scheduler, warning) = scheduler_port(&settings, request)?;
        let route = Route {
            name: format!("{}-{}", service.name(), request.plugin.name),
            host: host::render(&settings.host_pattern, request.owner.name(), service.namespace())?,
            namespace: service.namespace(),
            cluster: request.owner.name(),
            service: service.name(),
            dashboard,
            scheduler,
        };
        let mut children = vec![
            Child::new("gateway", route.gateway(&settings)),
            Child::new("virtualservice", route.virtual_service(&settings)),
        ];
        children
            .extend(settings.issuer_ref.as_ref().map(|issuer| Child::new("certificate", route.certificate(issuer))));
        let answer = Answer::new(children);
        Ok(match warning {
            Some(warning) => answer.warning(warning),
            None => answer,
        })
    }
}

/// Returns the port of the Service for clients outside of Kubernetes, if any, or a warning why there is none.
///
/// Istio distinguishes the clusters behind one port by SNI, which needs TLS. TLS is also the only protection of a
/// scheduler: any client of it can run code on the workers.
fn scheduler_port(settings: &Settings, request: &PluginRequest) -> Result<(Option<u64>, Option<String>), PluginError> {
    if !settings.expose_scheduler {
        return Ok((None, None));
    }
    let cluster = &request.owner;
    if cluster.object.pointer("/spec/scheduler/tls/secretName").is_none() {
        let warning = format!(
            "the scheduler of {} is not exposed, because it does not use TLS; set spec.scheduler.tls of the DaskCluster",
            cluster.name()
        );
        return Ok((None, Some(warning)));
    }
    let port = port_number(&request.subject.object, COMM_PORT).ok_or_else(|| no_port(request, COMM_PORT))?;
    Ok((Some(port), None))
}

fn no_port(request: &PluginRequest, port: &str) -> PluginError {
    let reason = if port == DASHBOARD_PORT { "NoDashboardPort" } else { "NoCommPort" };
    PluginError::failure(
        reason,
        format!(
            "the Service {} has no port named {port}; add it to spec.scheduler.service.ports of the DaskCluster",
            request.subject.name()
        ),
    )
}

#[tokio::main]
async fn main() -> ExitCode {
    run(IstioPlugin).await
}

#[cfg(test)]
mod tests;
