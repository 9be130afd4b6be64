//! `kubectl dask`: shows Dask clusters, says why one does not work, and reaches its scheduler, with the rights of the
//! user's kubeconfig.

mod access;
mod args;
mod bundle;
mod dashboard;
mod error;
mod explain;
mod fetch;
mod forward;
mod get;
mod json;
mod logs;
mod output;
#[cfg(test)]
mod page;
mod plugins;
mod pods;
mod progress;
mod redact;
mod report;
mod scale;
mod snapshot;
mod top;
mod why;

use std::process::ExitCode;

use clap::{CommandFactory as _, Parser as _};

use access::Connection;
use args::{Command, CommandLine};
use error::{Error, FAILED};

#[tokio::main]
async fn main() -> ExitCode {
    match run(CommandLine::parse()).await {
        Ok(code) => ExitCode::from(code),
        Err(error) if error.is_broken_pipe() => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::from(FAILED)
        }
    }
}

/// Returns the exit code.
async fn run(line: CommandLine) -> Result<u8, Error> {
    let format = line.output;
    if let Command::Completion { shell } = line.command {
        let mut command = CommandLine::command();
        clap_complete::generate(shell, &mut command, "kubectl-dask", &mut std::io::stdout());
        return Ok(0);
    }
    let connection = Connection::open(&line.access).await?;
    match &line.command {
        Command::Why { cluster } => return explain::run(&connection, cluster, format).await,
        Command::Get { cluster, all_namespaces } => {
            get::run(&connection, cluster.as_deref(), *all_namespaces, format).await
        }
        Command::Dashboard { cluster, port, no_browser } => {
            dashboard::run(&connection, cluster, *port, *no_browser).await
        }
        Command::Logs(wanted) => logs::run(&connection, wanted).await,
        Command::Scale { cluster, workers, group } => {
            let wanted = scale::Wanted { cluster, workers: *workers, group: group.as_deref() };
            scale::run(&connection, &wanted, format).await
        }
        Command::Plugins { cluster, all_namespaces } => {
            plugins::run(&connection, cluster.as_deref(), *all_namespaces, format).await
        }
        Command::Report(wanted) => report::run(&connection, wanted).await,
        Command::Top { cluster } => top::run(&connection, cluster, format).await,
        Command::Completion { .. } => Ok(()),
    }?;
    Ok(0)
}
