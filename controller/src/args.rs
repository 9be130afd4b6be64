//! Flags and their environment variables.

mod parse;

pub use parse::{Error, parse};

use std::{
    ffi::OsString,
    net::{IpAddr, SocketAddr},
    path::PathBuf,
};

use clap::{ArgAction, ArgGroup, Args, Parser, Subcommand};

use crate::{
    telemetry::{LogFormat, Verbosity},
    version,
};
use operator_runtime::{events, scope::Scope};

use dask_operator_api::meta;
use operator_runtime::watch::{MemoryLimits, SILENCE_SECONDS, WATCH_SECONDS};

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
    /// Run the controller. Flags of `kopf run` may follow after `--`, or be given without any sub-command.
    Run(Box<RunArgs>),
    /// Print the CustomResourceDefinitions as YAML.
    Crd,
    /// Print the children that a plugin's responses lead to, without a Kubernetes cluster: those that the controller would
    /// apply, and why it would refuse the others.
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
        /// The format of the output.
        #[arg(long, short, value_enum, default_value_t)]
        output: version::Output,
    },
    /// Remove the finalizers of plugins from all Dask resources, after the controller was uninstalled for good.
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
    /// authority for plugins. In namespaces that are given, also the Leases by which other releases find it.
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
    /// Let one of several replicas act while the others stand by. Without this flag, there must be one replica only.
    #[arg(long, env = "LEADER_ELECTION")]
    pub leader_election: bool,
    /// Name of the Lease that the replicas share, in the operator's namespace.
    #[arg(long, env = "LEASE_NAME", default_value = "dask-operator")]
    pub lease_name: String,
    /// Seconds after which a leader that died is replaced. A leader renews the Lease after each third of this time, and
    /// stops after two thirds without success.
    #[arg(long, env = "LEASE_SECONDS", default_value_t = 15, value_parser = clap::value_parser!(u16).range(2..=3600))]
    pub lease_seconds: u16,
    /// Namespace of the operator, its plugins and their certificates. Defaults to that of the kubeconfig or of the pod.
    #[arg(long, env = "POD_NAMESPACE")]
    pub operator_namespace: Option<String>,
    /// DNS domain of the Kubernetes cluster.
    #[arg(long, env = "CLUSTER_DOMAIN", default_value = "cluster.local")]
    pub cluster_domain: String,
    /// Address on which probes and metrics are served.
    #[arg(long, env = "ADMIN_ADDRESS", default_value = "0.0.0.0:8080")]
    pub admin_address: SocketAddr,
    /// Directory of the Unix sockets of plugins that run as sidecars. Each socket is at `{container}/{file}` in it.
    #[arg(long, env = "PLUGIN_SOCKET_DIR", default_value = "/run/dask-operator/plugins")]
    pub plugin_socket_dir: PathBuf,
    /// Connect to the Services of plugins at this address instead of by DNS. TLS still uses their names. This is for a
    /// controller that runs outside of the Kubernetes cluster, such as in tests.
    #[arg(long, env = "PLUGIN_SERVICE_IP", hide = true)]
    pub plugin_service_ip: Option<IpAddr>,
    /// Accept plugin resources in other namespaces than the operator's. They are called about their own namespace only.
    #[arg(long, env = "PLUGIN_TENANTS")]
    pub plugin_tenants: bool,
    /// Plugins of each of these namespaces that are served; the oldest are.
    #[arg(long, env = "PLUGINS_PER_NAMESPACE", default_value_t = 20, value_parser = clap::value_parser!(u16).range(1..))]
    pub plugins_per_namespace: u16,
    /// Accept plugins at https addresses outside of the Kubernetes cluster.
    #[arg(long, env = "ALLOW_PLUGIN_URLS")]
    pub allow_plugin_urls: bool,
    /// Accept plugins at http://127.0.0.1:PORT without TLS, for a controller on the machine where a plugin is developed. Do
    /// not use this on a Kubernetes cluster that others use.
    #[arg(long, env = "DEV_PLUGINS")]
    pub dev_plugins: bool,
    /// ServiceAccount of the controller, for the tokens that it sends to plugins.
    #[arg(long, env = "SERVICE_ACCOUNT", default_value = "dask-operator")]
    pub service_account: String,
    /// Name of the controller's pod. The tokens for plugins are bound to it if `--pod-uid` is given too.
    #[arg(long, env = "POD_NAME")]
    pub pod_name: Option<String>,
    /// Uid of the controller's pod.
    #[arg(long, env = "POD_UID")]
    pub pod_uid: Option<String>,
    /// Seconds for which the certificate authority for plugins is valid.
    #[arg(long, env = "PLUGIN_AUTHORITY_SECONDS", default_value_t = 315_360_000, hide = true)]
    pub plugin_authority_seconds: u64,
    /// Seconds for which certificates of this authority are valid.
    #[arg(long, env = "PLUGIN_CERTIFICATE_SECONDS", default_value_t = 7_776_000, hide = true)]
    pub plugin_certificate_seconds: u64,
    /// The most workers of a group that are created in one step, unless the group or its cluster says otherwise. 0 means all
    /// of them, which is the default.
    #[arg(long, env = "DASK_KUBERNETES__CONTROLLER__WORKER_ALLOCATION__BATCH_SIZE")]
    pub worker_batch_size: Option<u32>,
    /// Seconds between steps in which workers are created. Defaults to 0.
    #[arg(long, env = "DASK_KUBERNETES__CONTROLLER__WORKER_ALLOCATION__DELAY")]
    pub worker_batch_delay: Option<u32>,
    /// Connect to schedulers at this address and the port of their Service. This is for a controller that runs outside of the
    /// Kubernetes cluster, such as in tests.
    #[arg(long, env = "SCHEDULER_IP", hide = true)]
    pub scheduler_ip: Option<IpAddr>,
    /// Memory that the objects of one namespace may take in the controller, in MiB. Those that do not fit are left
    /// alone.
    #[arg(long, env = "NAMESPACE_MEMORY_MIB", default_value_t = 320, value_parser = clap::value_parser!(u16).range(1..))]
    pub namespace_memory_mib: u16,
    /// Memory that the process may use, in MiB: what the limit of its container says. The objects of all namespaces may
    /// take five eighths of it.
    #[arg(long, env = "MEMORY_LIMIT_MIB", default_value_t = 512, value_parser = clap::value_parser!(u32).range(1..))]
    pub memory_limit_mib: u32,
    /// Seconds that one watch request lasts. This is for tests.
    #[arg(long, env = "WATCH_SECONDS", default_value_t = WATCH_SECONDS, hide = true)]
    pub watch_seconds: u32,
    /// Seconds after which a silent connection to the API server is given up. This is for tests.
    #[arg(long, env = "SILENCE_SECONDS", default_value_t = SILENCE_SECONDS, hide = true)]
    pub silence_seconds: u32,
    /// The format of log lines.
    #[arg(long, env = "LOG_FORMAT", value_enum, default_value_t = LogFormat::Text)]
    pub log_format: LogFormat,
    /// How much is logged where `RUST_LOG` does not say: kopf's flags.
    #[arg(skip)]
    pub verbosity: Verbosity,
    /// Whether Events are published.
    #[arg(
        long,
        env = "DASK_KUBERNETES__CONTROLLER__EVENTS__ENABLED",
        value_parser = events::read_enabled,
        default_value = "true",
        action = ArgAction::Set,
    )]
    pub events: bool,
    /// The lowest level of Events that are published: a name or a number of Python's logging. Above INFO, only warnings are.
    #[arg(
        long,
        env = "DASK_KUBERNETES__CONTROLLER__EVENTS__LEVEL",
        value_parser = events::read_level,
        default_value = "INFO"
    )]
    pub events_level: u32,
    /// Seconds for which the start waits for the API server, the definitions of the Dask kinds and missing rights.
    #[arg(long, env = "STARTUP_SECONDS", default_value_t = 120)]
    pub startup_seconds: u64,
    /// Flags of `kopf run`. The options above take precedence.
    #[arg(last = true, value_name = "KOPF FLAGS")]
    pub kopf: Vec<OsString>,
    /// What of kopf's flags is not followed.
    #[arg(skip)]
    pub warnings: Vec<String>,
}

impl RunArgs {
    /// Returns what watched objects may take. Three eighths of the memory are for the process, what it knows about each
    /// object, lists in progress and plugins.
    pub fn memory_limits(&self) -> MemoryLimits {
        let bytes = |mebibytes: u32| usize::try_from(u64::from(mebibytes) << 20).unwrap_or(usize::MAX);
        let total = bytes(self.memory_limit_mib) / 8 * 5;
        MemoryLimits { namespace: bytes(self.namespace_memory_mib.into()), total }
    }

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
    /// Files with the Dask resources that the plugin is called about, and with other objects of the Kubernetes cluster. `-` is
    /// the standard input. What the controller creates for Dask resources is added.
    #[arg(long = "filename", short, required = true)]
    pub files: Vec<PathBuf>,
    /// Address of the plugin to call: `http://127.0.0.1:PORT` or `unix:PATH`.
    #[arg(long)]
    pub endpoint: Option<String>,
    /// File with a response that is used for each subject, instead of calling a plugin.
    #[arg(long)]
    pub answer: Option<PathBuf>,
    /// Print only the requests that the controller would send, one JSON document per line.
    #[arg(long)]
    pub requests: bool,
    /// Namespace of manifests that have none.
    #[arg(long, short, default_value = "default")]
    pub namespace: String,
    /// Namespace that the operator runs in.
    #[arg(long, env = "POD_NAMESPACE", default_value = "dask-operator")]
    pub operator_namespace: String,
    /// DNS domain of the Kubernetes cluster.
    #[arg(long, env = "CLUSTER_DOMAIN", default_value = "cluster.local")]
    pub cluster_domain: String,
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

    #[test]
    fn objects_may_take_five_eighths_of_the_memory_limit() {
        let total = |limit: &str| {
            let words = ["dask-operator", "run", "--memory-limit-mib", limit];
            match Cli::try_parse_from(words).unwrap().command {
                Command::Run(args) => args.memory_limits().total >> 20,
                other => panic!("{other:?}"),
            }
        };
        let limits = ["512", "1280", "128", "131072"];
        assert_eq!(limits.map(total), [320, 800, 80, 81_920]);
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
