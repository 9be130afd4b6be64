//! Flags and their environment variables.

use std::{
    net::{IpAddr, SocketAddr},
    path::PathBuf,
};

use clap::{Args, Parser, Subcommand, ValueEnum};

/// Kubernetes operator for Dask whose plugins run out of process.
#[derive(Debug, Parser)]
#[command(name = "dask-operator", version, about)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// Sub-commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run the controller.
    Run(RunArgs),
    /// Print the CustomResourceDefinitions as YAML.
    Crd,
}

/// Flags of `run`.
#[derive(Clone, Debug, Args)]
pub struct RunArgs {
    /// Watch this namespace only; all of them unless given.
    #[arg(long, env = "WATCH_NAMESPACE")]
    pub namespace: Option<String>,
    /// Namespace that the operator runs in; plugins and their certificates live there.
    #[arg(long, env = "POD_NAMESPACE")]
    pub operator_namespace: Option<String>,
    /// DNS domain of the Kubernetes cluster.
    #[arg(long, env = "CLUSTER_DOMAIN", default_value = "cluster.local")]
    pub cluster_domain: String,
    /// Where probes are answered.
    #[arg(long, env = "ADMIN_ADDRESS", default_value = "0.0.0.0:8080")]
    pub admin_address: SocketAddr,
    /// Directory of the Unix sockets of plugins that run as sidecars.
    #[arg(long, env = "PLUGIN_SOCKET_DIR", default_value = "/run/dask-operator/plugins")]
    pub plugin_socket_dir: PathBuf,
    /// Connect to plugin Services at this address instead of by DNS, keeping their name for TLS: for a
    /// controller that runs outside of the cluster, such as in tests.
    #[arg(long, env = "PLUGIN_SERVICE_IP", hide = true)]
    pub plugin_service_ip: Option<IpAddr>,
    /// Make at most so many workers of a group in one step; 0 means all.
    #[arg(long, env = "DASK_KUBERNETES__CONTROLLER__WORKER_ALLOCATION__BATCH_SIZE")]
    pub worker_batch_size: Option<u32>,
    /// Seconds between these steps.
    #[arg(long, env = "DASK_KUBERNETES__CONTROLLER__WORKER_ALLOCATION__DELAY")]
    pub worker_batch_delay: Option<u32>,
    /// Connect to schedulers at this address and their Service's port: for a controller that runs outside
    /// of the cluster, such as in tests.
    #[arg(long, env = "SCHEDULER_IP", hide = true)]
    pub scheduler_ip: Option<IpAddr>,
    /// How log lines look.
    #[arg(long, env = "LOG_FORMAT", value_enum, default_value_t = LogFormat::Text)]
    pub log_format: LogFormat,
}

/// How log lines look.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}
