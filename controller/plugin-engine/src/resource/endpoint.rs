//! Validates the endpoint of a plugin: where it listens, and how both sides authenticate. Rules of the
//! `CustomResourceDefinition` are checked here again, because an older definition may be installed.

use dask_operator_api::{DaskOperatorPlugin, PluginAuth, PluginTls, ServiceEndpoint, TlsMode, meta};
use kube::ResourceExt as _;
use operator_runtime::rejection::Rejection;
use reqwest::Url;

use super::{reasons::INVALID_ENDPOINT, sockets};
use crate::{
    Urls,
    client::{Base, address},
};

const INVALID_TLS: &str = "InvalidTls";
const INVALID_AUTH: &str = "InvalidAuth";

/// The only host to which `--dev-plugins` allows http.
const LOOPBACK: &str = "127.0.0.1";
const MAX_LABEL: usize = 63;
const MAX_NAME: usize = 253;

/// The endpoint of a plugin.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum ValidatedEndpoint {
    /// A socket: its path below the directory of sockets.
    Socket(String),
    /// A program on the controller's own machine, reached by http.
    Dev(Base),
    /// A Service that uses certificates of the controller's own authority.
    Auto(ServiceEndpoint),
    /// An endpoint whose certificates the user manages.
    Custom(CustomEndpoint),
}

/// An endpoint whose certificates the user manages.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct CustomEndpoint {
    pub(crate) target: Target,
    pub(crate) tls: PluginTls,
    pub(crate) auth: PluginAuth,
}

/// The target of connections.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Target {
    Service(ServiceEndpoint),
    Url(Base),
}

fn refuse<T>(reason: &'static str, message: impl Into<String>) -> Result<T, Rejection> {
    Err(Rejection::new(reason, message))
}

/// Validates the endpoint. `namespace` is that of the plugin resource.
pub(crate) fn validate(
    plugin: &DaskOperatorPlugin,
    namespace: &str,
    urls: Urls,
) -> Result<ValidatedEndpoint, Rejection> {
    let spec = &plugin.spec;
    let (endpoint, tls, auth) = (&spec.endpoint, &spec.tls, &spec.auth);
    if let Some(socket) = &endpoint.socket {
        check_bare(tls, auth)?;
        return validate_socket(&plugin.name_any(), socket).map(ValidatedEndpoint::Socket);
    }
    if let Some(url) = endpoint.url.as_ref().filter(|url| urls.dev && url.starts_with("http://")) {
        check_bare(tls, auth)?;
        return parse_url(url, "http").map(ValidatedEndpoint::Dev).map_err(invalid_url);
    }
    let target = match (&endpoint.service, &endpoint.url) {
        (Some(service), _) => Target::Service(validate_service(service, namespace)?),
        (None, Some(_)) if !urls.allowed => {
            let message = "endpoint.url is not allowed here; the operator's flag --allow-plugin-urls allows it";
            return refuse("UrlsDisabled", message);
        }
        (None, Some(url)) => Target::Url(parse_url(url, "https").map_err(invalid_url)?),
        (None, None) => {
            return refuse(INVALID_ENDPOINT, "one of endpoint.service, endpoint.socket and endpoint.url must be set");
        }
    };
    match target {
        Target::Service(service) if tls.mode == TlsMode::Auto => {
            check_auto(tls, auth)?;
            Ok(ValidatedEndpoint::Auto(service))
        }
        target => {
            check_custom(&target, tls, auth)?;
            Ok(ValidatedEndpoint::Custom(CustomEndpoint { target, tls: tls.clone(), auth: auth.clone() }))
        }
    }
}

fn invalid_url(message: impl std::fmt::Display) -> Rejection {
    Rejection::new(INVALID_ENDPOINT, format!("endpoint.url {message}"))
}

fn has_certificates(tls: &PluginTls) -> bool {
    tls.ca_bundle.is_some() || tls.ca_from.is_some() || tls.client_certificate.is_some()
}

/// Refuses TLS and authentication for plain connections: a socket is in the controller's own pod, and a development
/// plugin is on its machine.
fn check_bare(tls: &PluginTls, auth: &PluginAuth) -> Result<(), Rejection> {
    if has_certificates(tls) || tls.mode == TlsMode::Custom {
        return refuse(INVALID_TLS, "tls is for https: endpoint.service and endpoint.url");
    }
    if auth.hmac.is_some() || auth.service_account_token == Some(true) {
        return refuse(INVALID_AUTH, "auth is for https: endpoint.service and endpoint.url");
    }
    Ok(())
}

fn check_auto(tls: &PluginTls, auth: &PluginAuth) -> Result<(), Rejection> {
    if has_certificates(tls) {
        let message = "tls.caBundle, tls.caFrom and tls.clientCertificate need tls.mode: Custom";
        return refuse(INVALID_TLS, message);
    }
    if auth.service_account_token == Some(true) {
        return refuse(INVALID_AUTH, "auth.serviceAccountToken needs endpoint.url or tls.mode: Custom");
    }
    if auth.hmac.is_some() {
        return refuse(INVALID_AUTH, "auth.hmac is for endpoint.url");
    }
    Ok(())
}

fn check_custom(target: &Target, tls: &PluginTls, auth: &PluginAuth) -> Result<(), Rejection> {
    if tls.ca_bundle.is_some() && tls.ca_from.is_some() {
        return refuse(INVALID_TLS, "tls.caBundle and tls.caFrom exclude each other");
    }
    if auth.hmac.is_some() && matches!(target, Target::Service(_)) {
        return refuse(INVALID_AUTH, "auth.hmac is for endpoint.url");
    }
    // The names become part of API server paths, and must not lead to other objects.
    let ca = tls.ca_from.as_ref().map(|from| (INVALID_TLS, "tls.caFrom.name", from.kind.as_str(), &from.name));
    let client = tls.client_certificate.as_ref();
    let client = client.map(|from| (INVALID_TLS, "tls.clientCertificate.secretName", "Secret", &from.secret_name));
    let hmac = auth.hmac.as_ref();
    let hmac = hmac.map(|from| (INVALID_AUTH, "auth.hmac.secretName", "Secret", &from.secret_name));
    match [ca, client, hmac].into_iter().flatten().find(|(_, _, _, name)| !is_object_name(name)) {
        Some((reason, field, kind, _)) => refuse(reason, format!("{field} is not the name of a {kind}")),
        None => Ok(()),
    }
}

/// Validates the path of a socket. The API server checks the pattern too, but that alone must not be what keeps the
/// path inside the directory.
fn validate_socket(plugin: &str, socket: &str) -> Result<String, Rejection> {
    sockets::path_below(plugin, socket).ok_or_else(|| {
        let message = "endpoint.socket must be {container}/{file}: the sidecar's container and its socket's name";
        Rejection::new(INVALID_ENDPOINT, message)
    })
}

/// Validates a Service endpoint. Its name and path become part of a URL, and must not lead to another host.
fn validate_service(service: &ServiceEndpoint, namespace: &str) -> Result<ServiceEndpoint, Rejection> {
    let wrong = if !is_service_name(&service.name) {
        "endpoint.service.name is not the name of a Service"
    } else if !is_plain_path(&service.path) {
        "endpoint.service.path must begin with / and contain no query or fragment"
    } else if service.namespace.as_deref().is_some_and(|other| other != namespace) {
        "endpoint.service must be in the namespace of the plugin resource"
    } else if (namespace, service.name.as_str()) == ("default", "kubernetes") {
        "endpoint.service must not be the API server"
    } else {
        return Ok(service.clone());
    };
    refuse(INVALID_ENDPOINT, wrong)
}

/// Returns the usable parts of a URL with this scheme, or what is wrong with it.
pub(crate) fn parse_url(text: &str, scheme: &str) -> Result<Base, String> {
    let url = Url::parse(text).map_err(|error| format!("is not a URL: {error}"))?;
    if url.scheme() != scheme {
        return Err(format!("must begin with {scheme}://"));
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err("must not contain a user; see auth for credentials".to_owned());
    }
    if url.query().is_some() || url.fragment().is_some() {
        return Err("must not contain a query or a fragment".to_owned());
    }
    if !is_plain_path(url.path()) {
        return Err("may have A-Z, a-z, 0-9 and ._~/- in its path only".to_owned());
    }
    let (Some(host), Some(port)) = (url.host_str(), url.port_or_known_default()) else {
        return Err("must name a host".to_owned());
    };
    match scheme {
        "https" => check_host(host)?,
        _ if host != LOOPBACK => return Err(format!("must begin with https://, or with http://{LOOPBACK}")),
        _ => {}
    }
    Ok(Base { host: host.to_owned(), port, path: url.path().to_owned(), absolute: true })
}

/// Refuses hosts that plugins must not use. `host` is normalised by the URL parser: names are in lower case, and an
/// address in any notation is written as four numbers or in brackets. Addresses are checked here, since they are never
/// resolved. Names are checked after DNS resolution.
fn check_host(host: &str) -> Result<(), String> {
    let literal = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
    if let Ok(address) = literal.parse() {
        if address::is_refused(address) {
            return Err(format!("must not be {literal}: loopback, link-local, metadata and multicast are refused"));
        }
        return Ok(());
    }
    let labels: Vec<&str> = host.trim_end_matches('.').split('.').collect();
    match labels.as_slice() {
        [.., "localhost"] => Err(format!("must not be {host}: the controller is alone there")),
        [_] => Err("must have the full name of a host".to_owned()),
        labels if labels.contains(&"svc") => {
            Err("must not be a Service of the cluster; use endpoint.service".to_owned())
        }
        _ => Ok(()),
    }
}

/// Returns whether `name` is an RFC 1123 label, as the API server requires for names of Services.
fn is_service_name(name: &str) -> bool {
    name.len() <= MAX_LABEL && meta::is_dns_label(name)
}

fn is_object_name(name: &str) -> bool {
    name.len() <= MAX_NAME && name.split('.').all(meta::is_dns_label)
}

fn is_plain_path(path: &str) -> bool {
    let allowed = |c: u8| c.is_ascii_alphanumeric() || b"._~/-".contains(&c);
    path.starts_with('/') && path.bytes().all(allowed)
}

#[cfg(test)]
mod tests;
