//! The address of a scheduler.

use std::{fmt, sync::Arc};

use rustls::ClientConfig;

/// The host and ports at which a scheduler listens.
#[derive(Clone, Debug)]
pub struct Endpoint {
    /// A DNS name or an IP address, without brackets.
    pub host: String,
    /// The port of Dask's RPC.
    pub port: u16,
    /// The port of the dashboard, which also serves the HTTP API.
    pub http_port: Option<u16>,
    /// What the paths of the dashboard begin with: empty, or with a slash at the beginning and none at the end.
    pub http_prefix: String,
    /// The TLS configuration, if the RPC uses TLS.
    pub tls: Option<Arc<ClientConfig>>,
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", bracketed(&self.host), self.port)
    }
}

/// Returns `host` in the form that is used before a colon and a port.
pub(crate) fn bracketed(host: &str) -> String {
    if host.contains(':') { format!("[{host}]") } else { host.to_owned() }
}
