//! From one cluster's host and ports to the three objects.

use serde_json::{Value, json};

use crate::settings::{Issuer, Settings};

/// Where the gateway takes the dashboard's requests.
const HTTPS_PORT: u64 = 443;
/// Where the gateway takes connections to schedulers.
const SCHEDULER_PORT: u64 = 8786;

/// How a Dask cluster is reached from outside.
pub(crate) struct Route<'a> {
    /// Of all three objects. The plugin's name is in it, so that it differs from what people create.
    pub(crate) name: String,
    pub(crate) host: String,
    pub(crate) namespace: &'a str,
    pub(crate) service: &'a str,
    /// Ports of the Service.
    pub(crate) dashboard: u64,
    pub(crate) scheduler: Option<u64>,
}

impl Route<'_> {
    pub(crate) fn gateway(&self, settings: &Settings) -> Value {
        // `./`: no VirtualService of another namespace can attach itself to this host.
        let hosts = json!([format!("./{}", self.host)]);
        let secret = settings.tls_secret_name.clone().unwrap_or_else(|| self.secret_name());
        let mut servers = vec![json!({
            "port": {"number": HTTPS_PORT, "name": "https-dashboard", "protocol": "HTTPS"},
            "hosts": hosts,
            "tls": {"mode": "SIMPLE", "credentialName": secret},
        })];
        if self.scheduler.is_some() {
            servers.push(json!({
                "port": {"number": SCHEDULER_PORT, "name": "tls-scheduler", "protocol": "TLS"},
                "hosts": hosts,
                "tls": {"mode": "PASSTHROUGH"},
            }));
        }
        json!({
            "apiVersion": "networking.istio.io/v1",
            "kind": "Gateway",
            "metadata": self.metadata(settings),
            "spec": {"selector": settings.gateway_selector, "servers": servers},
        })
    }

    pub(crate) fn virtual_service(&self, settings: &Settings) -> Value {
        let mut spec = json!({
            "hosts": [self.host],
            "gateways": [self.name],
            "http": [{"match": [{"port": HTTPS_PORT}], "route": self.destination(self.dashboard)}],
        });
        if let Some(port) = self.scheduler {
            let matches = json!([{"port": SCHEDULER_PORT, "sniHosts": [self.host]}]);
            spec["tls"] = json!([{"match": matches, "route": self.destination(port)}]);
        }
        json!({
            "apiVersion": "networking.istio.io/v1",
            "kind": "VirtualService",
            "metadata": self.metadata(settings),
            "spec": spec,
        })
    }

    pub(crate) fn certificate(&self, issuer: &Issuer) -> Value {
        json!({
            "apiVersion": "cert-manager.io/v1",
            "kind": "Certificate",
            "metadata": {"name": self.name},
            "spec": {
                "secretName": self.secret_name(),
                "dnsNames": [self.host],
                "issuerRef": issuer,
                "usages": ["digital signature", "key encipherment", "server auth"],
            },
        })
    }

    /// With the namespace, so that copies of all Secrets have room beside the ingress gateway.
    fn secret_name(&self) -> String {
        format!("{}.{}-tls", self.namespace, self.name)
    }

    /// Istio takes a name without dots for a Service beside the `VirtualService`.
    fn destination(&self, port: u64) -> Value {
        json!([{"destination": {"host": self.service, "port": {"number": port}}}])
    }

    fn metadata(&self, settings: &Settings) -> Value {
        let mut metadata = json!({"name": self.name});
        if !settings.annotations.is_empty() {
            metadata["annotations"] = json!(settings.annotations);
        }
        metadata
    }
}

/// The number of the port with this name.
pub(crate) fn port_number(service: &Value, name: &str) -> Option<u64> {
    let ports = service.pointer("/spec/ports")?.as_array()?;
    ports.iter().find(|port| port["name"] == name)?["port"].as_u64()
}
