//! Determines how a plugin is reached: its address, the trusted authorities and the credentials.

use dask_operator_api::{DaskOperatorPlugin, ServiceEndpoint};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::Service;
use kube::{Api, ResourceExt as _};
use operator_runtime::{k8s, rejection::Rejection};

use super::{
    context::PluginContext,
    credentials::{self, Materials},
    endpoint::{CustomEndpoint, Target, ValidatedEndpoint},
    reasons::{INVALID_ENDPOINT, SERVICE_NOT_FOUND, TLS_ERROR},
};
use crate::client::{Base, Https, Route, tls::Roots, token::Tokens};

/// Returns how `plugin` is reached.
pub(crate) async fn route(
    context: &PluginContext,
    plugin: &DaskOperatorPlugin,
    endpoint: &ValidatedEndpoint,
) -> Result<Route, Rejection> {
    let namespace = plugin.namespace().unwrap_or_default();
    match endpoint {
        ValidatedEndpoint::Dev(base) => Ok(Route::Dev(base.clone())),
        ValidatedEndpoint::Socket(name) => {
            context.sockets.find(crate::model::key::key_of(plugin), name).map(Route::Socket)
        }
        ValidatedEndpoint::Auto(service) => {
            check_service(context, &namespace, service).await?;
            let trust = context.authority.ensure(plugin, &service.name, Timestamp::now()).await;
            let trust = trust.map_err(|error| Rejection { reason: TLS_ERROR, message: error.to_string() })?;
            context.probes.renew_at(crate::model::key::key_of(plugin), trust.renewal);
            Ok(Route::Https(Https {
                base: base_of(service, &namespace),
                address: context.settings.service_ip,
                roots: Roots::Bundle(trust.ca),
                identity: Some(trust.client),
                tokens: None,
                signer: None,
            }))
        }
        ValidatedEndpoint::Custom(custom) => custom_route(context, &namespace, custom).await.map(Route::Https),
    }
}

/// Returns how an endpoint is reached whose certificates the user manages.
async fn custom_route(context: &PluginContext, namespace: &str, custom: &CustomEndpoint) -> Result<Https, Rejection> {
    let CustomEndpoint { target, tls, auth } = custom;
    let base = match target {
        Target::Url(base) => base.clone(),
        Target::Service(service) => {
            check_service(context, namespace, service).await?;
            base_of(service, namespace)
        }
    };
    let materials = Materials { client: &context.client, namespace };
    let roots = match (&tls.ca_bundle, &tls.ca_from) {
        (Some(pem), _) => Materials::bundle(pem)?,
        (None, Some(from)) => materials.roots(from).await?,
        (None, None) => Roots::Public,
    };
    let identity = match &tls.client_certificate {
        Some(from) => Some(materials.identity(from).await?),
        None => None,
    };
    let signer = match &auth.hmac {
        Some(from) => Some(materials.signer(from).await?),
        None => None,
    };
    let settings = &context.settings;
    let tokens = (auth.service_account_token == Some(true))
        .then(|| Tokens::new(context.client.clone(), &settings.namespace, &settings.identity, base.url()));
    Ok(Https { base, address: settings.service_ip, roots, identity, tokens, signer })
}

fn base_of(service: &ServiceEndpoint, namespace: &str) -> Base {
    Base {
        host: format!("{}.{namespace}.svc", service.name),
        port: service.port(),
        path: service.path.clone(),
        absolute: false,
    }
}

async fn check_service(context: &PluginContext, namespace: &str, service: &ServiceEndpoint) -> Result<(), Rejection> {
    let api: Api<Service> = Api::namespaced(context.client.clone(), namespace);
    let name = format!("{namespace}/{}", service.name);
    let found = k8s::timed("get", &format!("Service {name}"), api.get_opt(&service.name)).await;
    let found = found.map_err(|error| credentials::failed(&error))?;
    // Outside of the cluster, plugins are reached at `service_ip`, so the Service need not exist.
    judge_service(&name, found.as_ref(), context.settings.service_ip.is_some())
}

/// Refuses a Service that does not exist, or that is of type `ExternalName`: its DNS name may lead outside of the
/// cluster.
fn judge_service(name: &str, service: Option<&Service>, may_be_missing: bool) -> Result<(), Rejection> {
    let Some(service) = service else {
        if may_be_missing {
            return Ok(());
        }
        return Err(Rejection::new(SERVICE_NOT_FOUND, format!("there is no Service {name}")));
    };
    let spec = service.spec.as_ref();
    if spec.is_some_and(|spec| spec.type_.as_deref() == Some("ExternalName") || spec.external_name.is_some()) {
        let message = format!("the Service {name} is of type ExternalName, which plugins may not be behind");
        return Err(Rejection::new(INVALID_ENDPOINT, message));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn plugins_are_behind_services_of_the_cluster_only() {
        let service = |spec| serde_json::from_value::<Service>(json!({"metadata": {}, "spec": spec})).unwrap();
        let reason = |service: Option<&Service>, may_be_missing| {
            judge_service("ns/a", service, may_be_missing).err().map(|refused| refused.reason)
        };
        let external = service(json!({"type": "ExternalName", "externalName": "metadata.google.internal"}));
        for pinned in [true, false] {
            assert_eq!(reason(Some(&external), pinned), Some("InvalidEndpoint"));
            for type_ in ["ClusterIP", "NodePort", "LoadBalancer"] {
                assert_eq!(reason(Some(&service(json!({"type": type_}))), pinned), None, "{type_}");
            }
        }
        assert_eq!(reason(None, false), Some("ServiceNotFound"));
        assert_eq!(reason(None, true), None);
    }
}
