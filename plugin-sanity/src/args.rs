//! Flags.

use std::{net::IpAddr, path::PathBuf};

use clap::Parser;

/// Tells whether a plugin keeps the protocol of dask-operator.
#[derive(Clone, Debug, Default, Parser)]
#[command(name = "dask-plugin-sanity", version, about)]
pub struct Args {
    /// Where the plugin listens: `http://127.0.0.1:8000`, `https://…` or `unix:/path/of.sock`.
    #[arg(required_unless_present = "list", default_value = "", hide_default_value = true)]
    pub endpoint: String,
    /// File with the DaskOperatorPlugin: its settings are sent, and its kinds are those that are allowed.
    #[arg(long)]
    pub plugin: Option<PathBuf>,
    /// File with requests, one JSON document after the other, as `dask-operator render --requests` prints them; else
    /// the plugin is asked about the scheduler's Service of a cluster.
    #[arg(long)]
    pub requests: Option<PathBuf>,
    /// Seconds that an answer may take.
    #[arg(long, default_value_t = 10)]
    pub timeout: u32,
    /// PEM file of the authorities that sign the plugin's certificate.
    #[arg(long)]
    pub ca: Option<PathBuf>,
    /// PEM file of the client certificate.
    #[arg(long, requires = "key")]
    pub cert: Option<PathBuf>,
    /// PEM file of the client certificate's key.
    #[arg(long, requires = "cert")]
    pub key: Option<PathBuf>,
    /// File with the bearer token.
    #[arg(long)]
    pub token_file: Option<PathBuf>,
    /// File with the secret of signatures.
    #[arg(long)]
    pub hmac_file: Option<PathBuf>,
    /// Connect to this address instead of by DNS, keeping the name for TLS.
    #[arg(long)]
    pub connect_to: Option<IpAddr>,
    /// Run these checks only; may be repeated.
    #[arg(long, value_name = "CHECK")]
    pub only: Vec<String>,
    /// Leave these checks out; may be repeated.
    #[arg(long, value_name = "CHECK")]
    pub skip: Vec<String>,
    /// Write a report for CI systems into this file.
    #[arg(long, value_name = "FILE")]
    pub junit: Option<PathBuf>,
    /// Print the report as JSON.
    #[arg(long)]
    pub json: bool,
    /// List the checks.
    #[arg(long)]
    pub list: bool,
}
