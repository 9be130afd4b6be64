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
    Run(Box<RunArgs>),
    /// Print the CustomResourceDefinitions as YAML.
    Crd,
    /// Print the children that a plugin's answers lead to, without a cluster: those that the controller would apply,
    /// and why it would refuse the others.
    Render(RenderArgs),
    /// Print the table of all metrics, as Markdown.
    Metrics,
    /// Print the plugin protocol as OpenAPI 3.1.
    Schema {
        /// Write the OpenAPI document and a JSON Schema for each body into this directory instead.
        #[arg(long)]
        dir: Option<PathBuf>,
    },
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
    /// Accept plugin resources outside of the operator's namespace, for subjects of their own namespace.
    #[arg(long, env = "PLUGIN_TENANTS")]
    pub plugin_tenants: bool,
    /// Accept plugins at addresses outside of the cluster.
    #[arg(long, env = "ALLOW_PLUGIN_URLS")]
    pub allow_plugin_urls: bool,
    /// Accept plugins at http://127.0.0.1:PORT, without TLS: for a controller on the machine where a plugin is
    /// written. Not for a cluster that others use.
    #[arg(long, env = "DEV_PLUGINS")]
    pub dev_plugins: bool,
    /// The controller's ServiceAccount, for the tokens that it shows to plugins.
    #[arg(long, env = "SERVICE_ACCOUNT", default_value = "dask-operator")]
    pub service_account: String,
    /// Name of the controller's pod, to which these tokens are bound if its uid is given too.
    #[arg(long, env = "POD_NAME")]
    pub pod_name: Option<String>,
    /// Uid of the controller's pod.
    #[arg(long, env = "POD_UID")]
    pub pod_uid: Option<String>,
    /// Seconds that the authority for plugins lives.
    #[arg(long, env = "PLUGIN_AUTHORITY_SECONDS", default_value_t = 315_360_000, hide = true)]
    pub plugin_authority_seconds: u64,
    /// Seconds that certificates of this authority live.
    #[arg(long, env = "PLUGIN_CERTIFICATE_SECONDS", default_value_t = 7_776_000, hide = true)]
    pub plugin_certificate_seconds: u64,
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

/// Flags of `render`.
#[derive(Clone, Debug, Args)]
#[group(id = "answers", required = true, args = ["endpoint", "answer", "requests"])]
pub struct RenderArgs {
    /// File with the DaskOperatorPlugin.
    #[arg(long, short)]
    pub plugin: PathBuf,
    /// Files with the Dask resources that the plugin is asked about, and with what else is in the cluster; `-` is
    /// the standard input. What the controller makes of Dask resources is added.
    #[arg(long = "filename", short, required = true)]
    pub files: Vec<PathBuf>,
    /// Ask the plugin here: `http://127.0.0.1:PORT` or `unix:PATH`.
    #[arg(long)]
    pub endpoint: Option<String>,
    /// Take the answer in this file for each subject, instead of asking.
    #[arg(long)]
    pub answer: Option<PathBuf>,
    /// Print the requests that the controller would send, one JSON document a line, and nothing else.
    #[arg(long)]
    pub requests: bool,
    /// Namespace of manifests that name none.
    #[arg(long, short, default_value = "default")]
    pub namespace: String,
    /// Namespace that the operator runs in.
    #[arg(long, env = "POD_NAMESPACE", default_value = "dask-operator")]
    pub operator_namespace: String,
    /// DNS domain of the Kubernetes cluster.
    #[arg(long, env = "CLUSTER_DOMAIN", default_value = "cluster.local")]
    pub cluster_domain: String,
}

/// How log lines look.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}
