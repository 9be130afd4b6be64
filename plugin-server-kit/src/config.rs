//! The configuration of a plugin's server, read from the environment.

mod credentials;

use std::env::{self, VarError};
use std::path::PathBuf;
use std::time::Duration;

use crate::credentials::Credentials;

/// The default of `PLUGIN_DRAIN_SECONDS` for a plugin behind a Service. Nodes learn of a terminating pod within about a
/// second.
#[cfg(feature = "tls")]
const DRAIN: Duration = Duration::from_secs(5);
const LONGEST_DRAIN: Duration = Duration::from_mins(10);

/// The configuration of a plugin's server.
///
/// [`Config::from_env`] reads these variables. An empty variable counts as unset.
///
/// | variable | default | meaning |
/// |---|---|---|
/// | `PLUGIN_TLS_DIR` | `/etc/plugin-tls` | directory with `ca.crt`, `tls.crt` and `tls.key` |
/// | `PLUGIN_PORT` | 8443 | HTTPS port |
/// | `PLUGIN_SOCKET` | | serves this Unix socket instead of HTTPS, for a sidecar of the controller |
/// | `PLUGIN_INSECURE_PORT` | | serves plain HTTP on 127.0.0.1 instead of HTTPS, for development |
/// | `PLUGIN_HEALTH_PORT` | 8080 with HTTPS, otherwise none | plain HTTP port for probes and metrics; 0 disables it |
/// | `PLUGIN_DRAIN_SECONDS` | 5 with HTTPS, otherwise 0 | after SIGTERM, seconds for which the plugin reports that it is not ready and still serves new calls |
/// | `PLUGIN_HMAC_FILE` | | requires signatures with the secret in this file (`auth.hmac`) |
/// | `PLUGIN_TOKEN_AUDIENCE` | | requires ServiceAccount tokens for this audience, which is the URL of the endpoint, such as `https://mine.dask-operator.svc:443` |
/// | `PLUGIN_TOKEN_JWKS` | `https://kubernetes.default.svc/openid/v1/jwks` | file or https URL of the public keys of the cluster |
/// | `PLUGIN_TOKEN_JWKS_CA` | the ServiceAccount volume of the pod | PEM file with the CA certificates for this URL |
/// | `PLUGIN_TOKEN_ISSUER` | any | requires tokens of this issuer |
/// | `PLUGIN_TOKEN_SUBJECT` | `system:serviceaccount:dask-operator:dask-operator` | requires tokens of this ServiceAccount, which is that of the controller |
/// | `LOG_FORMAT` | `text` | `text` or `json` |
/// | `RUST_LOG` | `info` | filter of the log |
///
/// A variable of a feature that the crate is built without is an error. It must not silently disable a check.
///
/// # Examples
///
/// ```
/// use dask_plugin_server::config::{Config, Endpoint, LogFormat};
///
/// let mut config = Config::new(Endpoint::Insecure { port: 8000 });
/// config.health_port = Some(8080);
/// config.log_format = LogFormat::Json;
/// ```
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Config {
    /// The endpoint that serves calls.
    pub endpoint: Endpoint,
    /// The port of the probes of the kubelet, if any.
    pub health_port: Option<u16>,
    /// The time after the shutdown has started for which new calls are served. The plugin reports that it is not ready,
    /// so that calls go to other pods before this one stops.
    pub drain: Duration,
    /// The credentials that callers need in addition to those of the connection.
    pub credentials: Credentials,
    /// The format of the log.
    pub log_format: LogFormat,
}

/// The endpoint that serves calls.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Endpoint {
    /// HTTPS with mutual authentication, on all addresses.
    #[cfg(feature = "tls")]
    Tls {
        /// The directory of the certificate files.
        dir: PathBuf,
        /// The TCP port.
        port: u16,
    },
    /// A Unix socket.
    Socket(PathBuf),
    /// Plain HTTP on 127.0.0.1.
    Insecure {
        /// The TCP port.
        port: u16,
    },
}

/// The format of the log.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum LogFormat {
    /// Text for people.
    #[default]
    Text,
    /// One JSON object per line.
    Json,
}

/// The error for an invalid environment.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// The value of a variable is invalid.
    #[error("{variable} is {value:?}, which is not {expected}")]
    Invalid {
        /// The variable.
        variable: &'static str,
        /// Its value.
        value: String,
        /// The values that are valid.
        expected: &'static str,
    },
    /// A variable requires another one.
    #[error("{variable} is set, but PLUGIN_TOKEN_AUDIENCE is not; set both or none")]
    NoAudience {
        /// The variable.
        variable: &'static str,
    },
    /// A variable requires a feature that the plugin is built without.
    #[error("{variable} is set, but the plugin is built without the feature {feature} of dask-plugin-server")]
    MissingFeature {
        /// The variable.
        variable: &'static str,
        /// The feature.
        feature: &'static str,
    },
    /// No endpoint is set, and the plugin is built without TLS.
    #[error(
        "the plugin is built without the feature tls of dask-plugin-server; set PLUGIN_SOCKET or PLUGIN_INSECURE_PORT"
    )]
    NoEndpoint,
    /// Two endpoints are set.
    #[error("PLUGIN_SOCKET and PLUGIN_INSECURE_PORT are both set; unset one")]
    TwoEndpoints,
}

impl Config {
    /// Creates the default configuration for `endpoint`.
    #[must_use]
    pub fn new(endpoint: Endpoint) -> Self {
        let (health_port, drain) = match &endpoint {
            #[cfg(feature = "tls")]
            Endpoint::Tls { .. } => (Some(8080), DRAIN),
            // Sidecars share a network namespace: the default ports of two sidecars would collide. No Service sends
            // calls to a sidecar or to a development server, so there is nothing to wait for.
            Endpoint::Socket(_) | Endpoint::Insecure { .. } => (None, Duration::ZERO),
        };
        let (credentials, log_format) = (Credentials::none(), LogFormat::default());
        Self { endpoint, health_port, drain, credentials, log_format }
    }

    /// Reads the environment of the process.
    pub fn from_env() -> Result<Self, ConfigError> {
        Self::from_lookup(|variable| match env::var(variable) {
            Ok(value) => Ok(Some(value)),
            Err(VarError::NotPresent) => Ok(None),
            Err(VarError::NotUnicode(value)) => {
                Err(ConfigError::Invalid { variable, value: value.to_string_lossy().into_owned(), expected: "UTF-8" })
            }
        })
    }

    fn from_lookup(lookup: impl Fn(&'static str) -> Result<Option<String>, ConfigError>) -> Result<Self, ConfigError> {
        // An empty variable in a manifest means that it is not set.
        let text = |variable| lookup(variable).map(|value| value.filter(|text| !text.is_empty()));
        let port = |variable| match text(variable)? {
            None => Ok(None),
            Some(value) => match value.parse::<u16>() {
                Ok(port) => Ok(Some(port)),
                Err(_) => Err(ConfigError::Invalid { variable, value, expected: "a port number" }),
            },
        };
        let endpoint = match (text("PLUGIN_SOCKET")?, port("PLUGIN_INSECURE_PORT")?) {
            (Some(_), Some(_)) => return Err(ConfigError::TwoEndpoints),
            (Some(path), None) => Endpoint::Socket(path.into()),
            (None, Some(port)) => Endpoint::Insecure { port },
            #[cfg(feature = "tls")]
            (None, None) => Endpoint::Tls {
                dir: text("PLUGIN_TLS_DIR")?.map_or_else(|| PathBuf::from("/etc/plugin-tls"), PathBuf::from),
                port: port("PLUGIN_PORT")?.unwrap_or(8443),
            },
            #[cfg(not(feature = "tls"))]
            (None, None) => return Err(ConfigError::NoEndpoint),
        };
        let mut config = Self::new(endpoint);
        if let Some(port) = port("PLUGIN_HEALTH_PORT")? {
            config.health_port = Some(port).filter(|port| *port != 0);
        }
        if let Some(drain) = drain(text("PLUGIN_DRAIN_SECONDS")?)? {
            config.drain = drain;
        }
        config.credentials = credentials::read(&text)?;
        config.log_format = log_format(text("LOG_FORMAT")?.as_deref())?;
        Ok(config)
    }
}

fn drain(value: Option<String>) -> Result<Option<Duration>, ConfigError> {
    let Some(value) = value else { return Ok(None) };
    match value.parse().map(Duration::from_secs) {
        Ok(drain) if drain <= LONGEST_DRAIN => Ok(Some(drain)),
        _ => Err(ConfigError::Invalid { variable: "PLUGIN_DRAIN_SECONDS", value, expected: "a number from 0 to 600" }),
    }
}

fn log_format(value: Option<&str>) -> Result<LogFormat, ConfigError> {
    match value {
        None | Some("text") => Ok(LogFormat::Text),
        Some("json") => Ok(LogFormat::Json),
        Some(other) => {
            Err(ConfigError::Invalid { variable: "LOG_FORMAT", value: other.to_owned(), expected: "text or json" })
        }
    }
}

#[cfg(test)]
#[cfg(all(feature = "tls", feature = "token"))]
mod tests;

#[cfg(test)]
#[cfg(not(any(feature = "signature", feature = "tls", feature = "token")))]
mod minimal_tests;
