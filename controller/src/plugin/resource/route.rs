use jiff::Timestamp;
use kube::ResourceExt as _;

use super::{PluginContext, validate::ValidatedEndpoint};
use crate::{crd::DaskOperatorPlugin, invalid::Invalid, plugin::client::Route};

/// How `plugin` is reached.
pub(super) async fn route(
    context: &PluginContext,
    plugin: &DaskOperatorPlugin,
    endpoint: &ValidatedEndpoint,
) -> Result<Route, Invalid> {
    let service = match endpoint {
        ValidatedEndpoint::Socket(name) => return Ok(Route::Socket(context.settings.socket_dir.join(name))),
        ValidatedEndpoint::Service(service) => service,
    };
    let trust = context.authority.ensure(plugin, &service.name, Timestamp::now()).await;
    let trust = trust.map_err(|error| Invalid { reason: "TlsError", message: error.to_string() })?;
    Ok(Route::Service {
        host: format!("{}.{}.svc", service.name, plugin.namespace().unwrap_or_default()),
        port: service.port,
        path: service.path.clone(),
        ca: trust.ca,
        identity: trust.client,
        address: context.settings.service_ip,
    })
}
