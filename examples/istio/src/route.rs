//! Builds the three objects from the host and the ports of a cluster.

use serde_json::{Value, json};

use crate::settings::{Issuer, Settings};

/// The port of the gateway for dashboards.
const HTTPS_PORT: u64 = 443;
/// The port of the gateway for schedulers.
const SCHEDULER_PORT: u64 = 8786;

/// The route from outside to a Dask cluster.
pub(crate) struct Route<'a> {
    /// The name of all three objects. It contains the name of the plugin, to avoid conflicts with other objects.
    pub(crate) name: String,
    pub(crate) host: String,
    pub(crate) namespace: &'a str,
    /// The name of the DaskCluster.
    pub(crate) cluster: &'a str,
    pub(crate) service: &'a str,
    /// The ports of the Service.
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
                // By default, cert-manager keeps the Secret of a deleted Certificate. It can be found by this label.
                "secretTemplate": {"labels": {"dask.org/cluster-name": self.cluster}},
                "dnsNames": [self.host],
                "issuerRef": issuer,
                "usages": ["digital signature", "key encipherment", "server auth"],
            },
        })
    }

    /// Returns the name of the Secret. It contains the namespace, so that all Secrets can be copied to the namespace of
    /// the ingress gateway.
    fn secret_name(&self) -> String {
        format!("{}.{}-tls", self.namespace, self.name)
    }

    /// Returns the destination. Istio resolves a name without dots in the namespace of the `VirtualService`.
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

/// Returns the number of the port with this name.
pub(crate) fn port_number(service: &Value, name: &str) -> Option<u64> {
    let ports = service.pointer("/spec/ports")?.as_array()?;
    ports.iter().find(|port| port["name"] == name)?["port"].as_u64()
}
