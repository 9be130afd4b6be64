//! The command line.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};
use clap_complete::Shell;

/// Looks after Dask clusters, with the rights of your kubeconfig.
///
/// Exit codes: 0 if the command did what it should, 1 if `why` found a problem, 2 if the command line is wrong, 3 if the
/// API server could not be asked or has no such object.
#[derive(Debug, Parser)]
#[command(name = "kubectl-dask", bin_name = "kubectl dask", version)]
pub(crate) struct CommandLine {
    #[command(flatten)]
    pub(crate) access: Access,
    /// The format of what is printed.
    #[arg(long, short, global = true, value_enum, default_value_t)]
    pub(crate) output: Format,
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// Which API server is asked, about which namespace.
#[derive(Args, Debug)]
pub(crate) struct Access {
    /// The namespace; by default that of the context.
    #[arg(long, short, global = true)]
    pub(crate) namespace: Option<String>,
    /// The context of the kubeconfig; by default the current one.
    #[arg(long, global = true)]
    pub(crate) context: Option<String>,
    /// The kubeconfig; by default those of the variable KUBECONFIG, or ~/.kube/config.
    #[arg(long, global = true)]
    pub(crate) kubeconfig: Option<PathBuf>,
}

/// How results are printed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// For people.
    #[default]
    Table,
    /// For programs.
    Json,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// List clusters with their worker groups and their first failure.
    Get {
        /// Only this cluster.
        cluster: Option<String>,
        /// List the clusters of all namespaces.
        #[arg(long, short = 'A')]
        all_namespaces: bool,
    },
    /// Say why a cluster or a job does not work, and what to do. The first line is the cause.
    Why {
        /// The DaskCluster or DaskJob.
        cluster: String,
    },
    /// Forward a local port to the dashboard, and open it in the browser.
    Dashboard {
        /// The DaskCluster.
        cluster: String,
        /// The local port; by default 8787, or any other if it is in use.
        #[arg(long)]
        port: Option<u16>,
        /// Only print the URL.
        #[arg(long)]
        no_browser: bool,
    },
    /// Print the log of the scheduler or of a worker.
    Logs(Logs),
    /// Set the number of workers of a group.
    Scale {
        /// The DaskCluster.
        cluster: String,
        /// The number of workers.
        workers: u32,
        /// The worker group; by default the one that the cluster made.
        #[arg(long)]
        group: Option<String>,
    },
    /// List plugins, or what each of them did for one cluster.
    Plugins {
        /// The DaskCluster.
        cluster: Option<String>,
        /// List the plugins of all namespaces.
        #[arg(long, short = 'A', conflicts_with = "cluster")]
        all_namespaces: bool,
    },
    /// Write a support bundle in which secret values are blanked.
    Report(Report),
    /// Show the scheduler's own counts of workers and tasks.
    Top {
        /// The DaskCluster.
        cluster: String,
    },
    /// Print the completion script of a shell.
    Completion {
        /// The shell.
        shell: Shell,
    },
}

#[derive(Args, Debug)]
pub(crate) struct Logs {
    /// The DaskCluster.
    pub(crate) cluster: String,
    /// The worker: the name of its pod or its Deployment.
    #[arg(long, conflicts_with = "scheduler")]
    pub(crate) worker: Option<String>,
    /// The scheduler, which is the default.
    #[arg(long)]
    pub(crate) scheduler: bool,
    /// Print what comes, until the container ends.
    #[arg(long, short)]
    pub(crate) follow: bool,
    /// The container that ran before the last restart.
    #[arg(long, short)]
    pub(crate) previous: bool,
    /// Only so many lines from the end.
    #[arg(long)]
    pub(crate) tail: Option<i64>,
}

#[derive(Args, Debug)]
pub(crate) struct Report {
    /// Only what belongs to this DaskCluster; by default all of the namespace.
    pub(crate) cluster: Option<String>,
    /// The file to write: a .tar.gz, or a directory if the name ends otherwise.
    #[arg(long, short = 'f')]
    pub(crate) file: Option<PathBuf>,
    /// Add the logs of the pods. They are not blanked.
    #[arg(long)]
    pub(crate) logs: bool,
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        CommandLine::command().debug_assert();
    }

    #[test]
    fn the_namespace_may_stand_before_and_after_the_command() {
        for line in [["kubectl-dask", "-n", "a", "why", "demo"], ["kubectl-dask", "why", "demo", "-n", "a"]] {
            let parsed = CommandLine::try_parse_from(line).unwrap();
            assert_eq!(parsed.access.namespace.as_deref(), Some("a"));
        }
    }
}
