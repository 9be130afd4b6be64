//! What the environment says: where to listen, and how to log.

use std::env::{self, VarError};
use std::path::PathBuf;

use reqwest::Url;

use crate::credentials::{Credentials, KeySource, SignatureVerifier, TokenVerifier};

/// Where a plugin listens, read from the environment.
///
/// | variable | default | meaning |
/// |---|---|---|
/// | `PLUGIN_TLS_DIR` | `/etc/plugin-tls` | directory of `ca.crt`, `tls.crt` and `tls.key` |
/// | `PLUGIN_PORT` | 8443 | port of HTTPS |
/// | `PLUGIN_SOCKET` | | serve on this Unix socket instead: a sidecar of the controller |
/// | `PLUGIN_INSECURE_PORT` | | serve plain HTTP on 127.0.0.1 instead: development |
/// | `PLUGIN_HEALTH_PORT` | 8080 with HTTPS, else none | plain HTTP for probes and metrics; 0: none |
/// | `PLUGIN_HMAC_FILE` | | require signatures with the secret in this file (`auth.hmac`) |
/// | `PLUGIN_TOKEN_AUDIENCE` | | require ServiceAccount tokens for this audience: the URL of the endpoint, such as `https://mine.dask-operator.svc:443` |
/// | `PLUGIN_TOKEN_JWKS` | `https://kubernetes.default.svc/openid/v1/jwks` | file or https address of the cluster's public keys |
/// | `PLUGIN_TOKEN_JWKS_CA` | the pod's own ServiceAccount volume | authorities that are trusted at this address, as PEM |
/// | `PLUGIN_TOKEN_ISSUER` | any | require tokens of this issuer |
/// | `PLUGIN_TOKEN_SUBJECT` | `system:serviceaccount:dask-operator:dask-operator` | require tokens of this ServiceAccount, the controller's |
/// | `LOG_FORMAT` | `text` | `text` or `json` |
/// | `RUST_LOG` | `info` | filter of the log |
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Config {
    /// Where calls arrive.
    pub endpoint: Endpoint,
    /// Where the kubelet's probes arrive, if anywhere.
    pub health_port: Option<u16>,
    /// What callers must show besides what the connection proves.
    pub credentials: Credentials,
    /// How log lines are written.
    pub log_format: LogFormat,
}

/// Where calls arrive.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Endpoint {
    /// HTTPS with mutual authentication, on all addresses.
    Tls {
        /// Directory of the certificate files.
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

/// How log lines are written.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum LogFormat {
    /// For people.
    #[default]
    Text,
    /// One JSON object per line.
    Json,
}

/// What is wrong with the environment.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// A variable has a value that cannot be used.
    #[error("{variable} is {value:?}, which is not {expected}")]
    Invalid {
        /// Its name.
        variable: &'static str,
        /// Its value.
        value: String,
        /// What it should be.
        expected: &'static str,
    },
    /// A variable has no effect without another one.
    #[error("{variable} is set, but PLUGIN_TOKEN_AUDIENCE is not; set both or none")]
    NoAudience {
        /// Its name.
        variable: &'static str,
    },
    /// Two places to listen.
    #[error("PLUGIN_SOCKET and PLUGIN_INSECURE_PORT are both set; unset one")]
    TwoEndpoints,
}

impl Config {
    /// What an environment that names only the endpoint means.
    #[must_use]
    pub fn new(endpoint: Endpoint) -> Self {
        // Sidecars share one network namespace: a default port would collide with the neighbour's.
        let health_port = matches!(endpoint, Endpoint::Tls { .. }).then_some(8080);
        Self { endpoint, health_port, credentials: Credentials::none(), log_format: LogFormat::default() }
    }

    /// Reads the process's environment.
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
        // A manifest that sets a variable to nothing means that it is not set.
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
            (None, None) => Endpoint::Tls {
                dir: text("PLUGIN_TLS_DIR")?.map_or_else(|| PathBuf::from("/etc/plugin-tls"), PathBuf::from),
                port: port("PLUGIN_PORT")?.unwrap_or(8443),
            },
        };
        let mut config = Self::new(endpoint);
        if let Some(port) = port("PLUGIN_HEALTH_PORT")? {
            config.health_port = Some(port).filter(|port| *port != 0);
        }
        config.credentials = credentials(&text)?;
        config.log_format = log_format(text("LOG_FORMAT")?.as_deref())?;
        Ok(config)
    }
}

/// The API server's own address within the cluster.
const JWKS: &str = "https://kubernetes.default.svc/openid/v1/jwks";

fn credentials(
    text: &impl Fn(&'static str) -> Result<Option<String>, ConfigError>,
) -> Result<Credentials, ConfigError> {
    let mut credentials = Credentials::none();
    if let Some(file) = text("PLUGIN_HMAC_FILE")? {
        credentials = credentials.signature(SignatureVerifier::from_file(file));
    }
    let Some(audience) = text("PLUGIN_TOKEN_AUDIENCE")? else {
        // Half a configuration must not mean that everybody is let in.
        for variable in ["PLUGIN_TOKEN_JWKS", "PLUGIN_TOKEN_JWKS_CA", "PLUGIN_TOKEN_ISSUER", "PLUGIN_TOKEN_SUBJECT"] {
            if text(variable)?.is_some() {
                return Err(ConfigError::NoAudience { variable });
            }
        }
        return Ok(credentials);
    };
    let given = text("PLUGIN_TOKEN_JWKS")?.unwrap_or_else(|| JWKS.to_owned());
    let source = if given.starts_with('/') {
        KeySource::File(given.into())
    } else {
        let url = Url::parse(&given).ok().filter(|url| url.scheme() == "https");
        let expected = "the path of a file or an https address";
        let url = url.ok_or(ConfigError::Invalid { variable: "PLUGIN_TOKEN_JWKS", value: given, expected })?;
        KeySource::Url { url, ca: text("PLUGIN_TOKEN_JWKS_CA")?.map(PathBuf::from) }
    };
    let (issuer, subject) = (text("PLUGIN_TOKEN_ISSUER")?, text("PLUGIN_TOKEN_SUBJECT")?);
    Ok(credentials.token(TokenVerifier::with(source, audience, issuer, subject)))
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
mod tests {
    use super::*;

    fn config(variables: &[(&str, &str)]) -> Result<Config, ConfigError> {
        Config::from_lookup(|wanted| {
            let found = variables.iter().find(|(variable, _)| *variable == wanted);
            Ok(found.map(|(_, value)| (*value).to_owned()))
        })
    }

    #[test]
    fn an_empty_environment_means_mutual_tls_and_a_health_port() {
        for variables in [[("", "")], [("PLUGIN_SOCKET", "")]] {
            let config = config(&variables).unwrap();
            assert_eq!(config.endpoint, Endpoint::Tls { dir: "/etc/plugin-tls".into(), port: 8443 });
            assert_eq!((config.health_port, config.log_format), (Some(8080), LogFormat::Text));
        }
    }

    #[test]
    fn every_variable_has_its_effect() {
        let config = config(&[
            ("PLUGIN_TLS_DIR", "/certs"),
            ("PLUGIN_PORT", "9443"),
            ("PLUGIN_HEALTH_PORT", "9080"),
            ("LOG_FORMAT", "json"),
        ]);
        let config = config.unwrap();
        assert_eq!(config.endpoint, Endpoint::Tls { dir: "/certs".into(), port: 9443 });
        assert_eq!((config.health_port, config.log_format), (Some(9080), LogFormat::Json));
    }

    #[test]
    fn a_sidecar_and_a_development_server_open_no_second_port_unless_told() {
        let socket = config(&[("PLUGIN_SOCKET", "/run/x.sock")]).unwrap();
        assert_eq!(socket.endpoint, Endpoint::Socket("/run/x.sock".into()));
        assert_eq!(socket.health_port, None);
        let insecure = config(&[("PLUGIN_INSECURE_PORT", "8000")]).unwrap();
        assert_eq!(insecure.endpoint, Endpoint::Insecure { port: 8000 });
        assert_eq!(insecure.health_port, None);
        let told = config(&[("PLUGIN_SOCKET", "/x"), ("PLUGIN_HEALTH_PORT", "1")]).unwrap();
        assert_eq!(told.health_port, Some(1));
        let off = config(&[("PLUGIN_HEALTH_PORT", "0")]).unwrap();
        assert_eq!(off.health_port, None);
    }

    #[test]
    fn what_is_wrong_is_said_in_one_sentence() {
        for (variables, sentence) in [
            ([("PLUGIN_PORT", "https"), ("", "")], "PLUGIN_PORT is \"https\", which is not a port number"),
            (
                [("PLUGIN_HEALTH_PORT", "70000"), ("", "")],
                "PLUGIN_HEALTH_PORT is \"70000\", which is not a port number",
            ),
            ([("LOG_FORMAT", "xml"), ("", "")], "LOG_FORMAT is \"xml\", which is not text or json"),
            (
                [("PLUGIN_TOKEN_AUDIENCE", "https://a:443"), ("PLUGIN_TOKEN_JWKS", "http://a/jwks")],
                "PLUGIN_TOKEN_JWKS is \"http://a/jwks\", which is not the path of a file or an https address",
            ),
            (
                [("PLUGIN_TOKEN_ISSUER", "https://a"), ("", "")],
                "PLUGIN_TOKEN_ISSUER is set, but PLUGIN_TOKEN_AUDIENCE is not; set both or none",
            ),
            (
                [("PLUGIN_SOCKET", "/x"), ("PLUGIN_INSECURE_PORT", "1")],
                "PLUGIN_SOCKET and PLUGIN_INSECURE_PORT are both set; unset one",
            ),
        ] {
            assert_eq!(config(&variables).unwrap_err().to_string(), sentence);
        }
    }
}
