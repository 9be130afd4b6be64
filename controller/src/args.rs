//! Flags and their environment variables.

mod parse;

pub use parse::{Error, parse};

use std::{
    ffi::OsString,
    net::{IpAddr, SocketAddr},
    path::PathBuf,
};

use clap::{ArgAction, ArgGroup, Args, Parser, Subcommand, ValueEnum};

use crate::{telemetry::Verbosity, version};
use operator_runtime::{events, scope::Scope};

use dask_operator_api::meta;
use operator_runtime::watch::{SILENCE_SECONDS, WATCH_SECONDS};

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
    /// Run the controller. Flags of `kopf run` may follow after `--`, or stand without any sub-command.
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
    /// Print the version of the program, of the plugin protocol and of the Kubernetes API.
    Version {
        /// How it is printed.
        #[arg(long, short, value_enum, default_value_t)]
        output: version::Output,
    },
    /// Take plugins' finalizers off all Dask resources, once the controller is removed for good.
    ReleaseFinalizers(ReleaseArgs),
}

/// Flags of `release-finalizers`.
#[derive(Clone, Debug, Args)]
pub struct ReleaseArgs {
    /// Look at this namespace only, and others that are named like it; at all of them unless given.
    #[arg(long = "namespace", value_name = "NAMESPACE", env = "WATCH_NAMESPACE", value_delimiter = ',')]
    pub namespaces: Vec<String>,
    /// Leave out this namespace, and others that are named like it.
    #[arg(long = "exclude-namespace", value_name = "NAMESPACE", env = "EXCLUDE_NAMESPACES", value_delimiter = ',', value_parser = namespace_name)]
    pub excluded: Vec<String>,
    /// Also delete what the controller keeps in its own namespace, which is this one: its Lease and the certificate
    /// authority for plugins.
    #[arg(long, value_name = "NAMESPACE")]
    pub leftovers: Option<String>,
    /// Name of the Lease.
    #[arg(long, env = "LEASE_NAME", default_value = "dask-operator")]
    pub lease_name: String,
}

/// Flags of `run`.
#[derive(Clone, Debug, Args)]
#[expect(clippy::struct_excessive_bools, reason = "each is a flag of its own")]
pub struct RunArgs {
    /// Watch these namespaces only, each by its name; all of them unless given.
    #[arg(long = "namespace", value_name = "NAMESPACE", env = "WATCH_NAMESPACE", value_delimiter = ',', value_parser = namespace_name)]
    pub namespaces: Vec<String>,
    /// Watch all namespaces but these, each by its name. Not together with `--namespace`.
    #[arg(long = "exclude-namespace", value_name = "NAMESPACE", env = "EXCLUDE_NAMESPACES", value_delimiter = ',', value_parser = namespace_name)]
    pub excluded: Vec<String>,
    /// Of several controllers let one work and the others stand by.
    #[arg(long, env = "LEADER_ELECTION")]
    pub leader_election: bool,
    /// Name of the Lease that they share, in the operator's namespace.
    #[arg(long, env = "LEASE_NAME", default_value = "dask-operator")]
    pub lease_name: String,
    /// Seconds after which a leader that died is replaced. It renews the Lease each third of this, and stops when it
    /// could not for two thirds.
    #[arg(long, env = "LEASE_SECONDS", default_value_t = 15, value_parser = clap::value_parser!(u16).range(2..=3600))]
    pub lease_seconds: u16,
    /// Namespace that the operator runs in; plugins and their certificates live there.
    #[arg(long, env = "POD_NAMESPACE")]
    pub operator_namespace: Option<String>,
    /// DNS domain of the Kubernetes cluster.
    #[arg(long, env = "CLUSTER_DOMAIN", default_value = "cluster.local")]
    pub cluster_domain: String,
    /// Where probes are answered.
    #[arg(long, env = "ADMIN_ADDRESS", default_value = "0.0.0.0:8080")]
    pub admin_address: SocketAddr,
    /// Directory of the Unix sockets of plugins that run as sidecars: `{container}/{file}`.
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
    /// Seconds that one watch request lasts: for tests.
    #[arg(long, env = "WATCH_SECONDS", default_value_t = WATCH_SECONDS, hide = true)]
    pub watch_seconds: u32,
    /// Seconds that a connection to the API server may say nothing: for tests.
    #[arg(long, env = "SILENCE_SECONDS", default_value_t = SILENCE_SECONDS, hide = true)]
    pub silence_seconds: u32,
    /// How log lines look.
    #[arg(long, env = "LOG_FORMAT", value_enum, default_value_t = LogFormat::Text)]
    pub log_format: LogFormat,
    /// How much is logged where `RUST_LOG` does not say: kopf's flags.
    #[arg(skip)]
    pub verbosity: Verbosity,
    /// Publish Events.
    #[arg(
        long,
        env = "DASK_KUBERNETES__CONTROLLER__EVENTS__ENABLED",
        value_parser = events::read_enabled,
        default_value = "true",
        action = ArgAction::Set,
    )]
    pub events: bool,
    /// Publish Events from this level of Python's logging on, a name or a number: above INFO only warnings.
    #[arg(
        long,
        env = "DASK_KUBERNETES__CONTROLLER__EVENTS__LEVEL",
        value_parser = events::read_level,
        default_value = "INFO"
    )]
    pub events_level: u32,
    /// Seconds that a start may wait for the API server, the Dask kinds and rights, if they are not there.
    #[arg(long, env = "STARTUP_SECONDS", default_value_t = 120)]
    pub startup_seconds: u64,
    /// Flags of `kopf run`. Those above win over them.
    #[arg(last = true, value_name = "KOPF FLAGS")]
    pub kopf: Vec<OsString>,
    /// What of kopf's flags is not followed.
    #[arg(skip)]
    pub warnings: Vec<String>,
}

impl RunArgs {
    /// Returns the namespaces that are watched.
    pub fn scope(&self) -> Scope {
        scope(&self.namespaces, &self.excluded)
    }
}

impl ReleaseArgs {
    /// Returns the namespaces that are gone through.
    pub fn scope(&self) -> Scope {
        scope(&self.namespaces, &self.excluded)
    }
}

/// Returns the namespaces of `names`, or all but those of `excluded`.
fn scope(names: &[String], excluded: &[String]) -> Scope {
    let names = Scope::of(names.iter().map(String::as_str));
    if names.is_limited() { names } else { Scope::all_but(excluded.iter().map(String::as_str)) }
}

/// An empty name is that of a variable which is set to nothing.
fn namespace_name(name: &str) -> Result<String, &'static str> {
    let name = name.trim();
    if name.is_empty() || meta::is_dns_label(name) {
        Ok(name.to_owned())
    } else {
        Err("this is no name of a namespace")
    }
}

/// Flags of `render`.
#[derive(Clone, Debug, Args)]
#[command(group(ArgGroup::new("answers").required(true).args(["endpoint", "answer", "requests"])))]
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

#[cfg(test)]
mod tests {
    use super::*;

    fn namespaces(flags: &[&str]) -> Result<Vec<String>, String> {
        let words = ["dask-operator", "run"].iter().chain(flags);
        match Cli::try_parse_from(words).map_err(|error| error.to_string())?.command {
            Command::Run(args) => Ok(args.namespaces),
            other => Err(format!("{other:?}")),
        }
    }

    fn rendering(flags: &[&str]) -> String {
        let words = ["dask-operator", "render", "--plugin", "p.yaml", "-f", "c.yaml"].iter().chain(flags);
        Cli::try_parse_from(words).map_or_else(|error| error.to_string(), |_| "accepted".to_owned())
    }

    #[test]
    fn rendering_needs_one_source_of_answers() {
        let missing = rendering(&[]);
        assert!(
            missing.contains("were not provided:\n  <--endpoint <ENDPOINT>|--answer <ANSWER>|--requests>"),
            "{missing}"
        );
        let both = rendering(&["--requests", "--answer", "a.json"]);
        assert!(both.contains("cannot be used with"), "{both}");
        assert_eq!(rendering(&["--requests", "--namespace", "a"]), "accepted");
        assert_eq!(rendering(&["--endpoint", "http://127.0.0.1:8000"]), "accepted");
    }

    #[test]
    fn namespaces_are_named_one_by_one_or_in_a_list() {
        let table: [(&[&str], &[&str]); 4] = [
            (&[], &[]),
            (&["--namespace", ""], &[""]),
            (&["--namespace", "a", "--namespace", "b"], &["a", "b"]),
            (&["--namespace", "a, b"], &["a", "b"]),
        ];
        for (flags, expected) in table {
            assert_eq!(namespaces(flags).unwrap(), expected, "{flags:?}");
        }
        for pattern in ["team-*", "!kube-system", "A", "a/b"] {
            assert!(namespaces(&["--namespace", pattern]).unwrap_err().contains("no name of a namespace"), "{pattern}");
        }
    }
}
