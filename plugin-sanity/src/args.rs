//! The command line.

use std::{net::IpAddr, path::PathBuf};

use clap::Parser;

/// Checks whether a plugin conforms to the protocol of dask-operator.
#[derive(Clone, Debug, Default, Parser)]
#[command(name = "dask-plugin-sanity", version, about)]
pub struct Args {
    /// The endpoint of the plugin: `http://127.0.0.1:8000`, `https://…` or `unix:/path/of.sock`.
    #[arg(required_unless_present = "list", default_value = "", hide_default_value = true)]
    pub endpoint: String,
    /// File with the DaskOperatorPlugin: the source of the settings, the subjects and the allowed kinds of children.
    #[arg(long, value_name = "FILE")]
    pub plugin: Option<PathBuf>,
    /// File with requests, as `dask-operator render --requests` prints them, or with manifests of subjects, as JSON or
    /// YAML; may be repeated. Without it, examples of the subjects of the plugin are used.
    #[arg(long, visible_alias = "request", value_name = "FILE")]
    pub requests: Vec<PathBuf>,
    /// File with the Dask resource that owns the subjects of --requests.
    #[arg(long, value_name = "FILE", requires = "requests")]
    pub owner: Option<PathBuf>,
    /// File with settings that replace those of the plugin or of the requests, as JSON or YAML.
    #[arg(long, value_name = "FILE")]
    pub settings: Option<PathBuf>,
    /// A kind that the plugin may return, such as `networking.k8s.io/v1/Ingress`; may be repeated.
    #[arg(long, value_name = "APIVERSION/KIND")]
    pub allow: Vec<String>,
    /// Timeout of a call in seconds, such as `10s`: 1 to 30.
    #[arg(long, default_value = "10s", value_parser = seconds)]
    pub timeout: u32,
    /// PEM file with the CA certificates for the certificate of the plugin.
    #[arg(long, value_name = "FILE")]
    pub ca: Option<PathBuf>,
    /// PEM file with the client certificate.
    #[arg(long, value_name = "FILE", requires = "key")]
    pub cert: Option<PathBuf>,
    /// PEM file with the key of the client certificate.
    #[arg(long, value_name = "FILE", requires = "cert")]
    pub key: Option<PathBuf>,
    /// File with the bearer token.
    #[arg(long, value_name = "FILE")]
    pub token_file: Option<PathBuf>,
    /// File with the secret for signatures.
    #[arg(long, value_name = "FILE")]
    pub hmac_file: Option<PathBuf>,
    /// Connect to this address instead of resolving the name, which is still used for TLS.
    #[arg(long, value_name = "IP")]
    pub connect_to: Option<IpAddr>,
    /// Run these checks only; may be repeated.
    #[arg(long, value_name = "CHECK")]
    pub only: Vec<String>,
    /// Skip these checks; may be repeated.
    #[arg(long, value_name = "CHECK")]
    pub skip: Vec<String>,
    /// Write a report for CI systems to this file.
    #[arg(long, value_name = "FILE")]
    pub junit: Option<PathBuf>,
    /// Print the report as JSON.
    #[arg(long)]
    pub json: bool,
    /// List the checks.
    #[arg(long)]
    pub list: bool,
}

fn seconds(text: &str) -> Result<u32, String> {
    let number = text.strip_suffix('s').unwrap_or(text).parse().ok();
    number
        .filter(|number| (1..=30).contains(number))
        .ok_or_else(|| "use 1s to 30s, as in spec.timeoutSeconds".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_timeout_is_between_1_and_30_seconds() {
        assert_eq!((seconds("10s"), seconds("3")), (Ok(10), Ok(3)));
        for wrong in ["0", "31s", "1m", "", "s"] {
            assert!(seconds(wrong).is_err(), "{wrong}");
        }
    }
}
