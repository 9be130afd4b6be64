//! The `dask-operator` program.

use std::process::ExitCode;

use clap::Parser as _;
use dask_operator::{
    args::{Cli, Command},
    crd_yaml, run, telemetry,
};

#[tokio::main]
async fn main() -> ExitCode {
    let result = match Cli::parse().command {
        Command::Run(args) => {
            telemetry::init(args.log_format);
            run::run(*args).await.map_err(|error| error.to_string())
        }
        Command::Crd => crd_yaml::print(&mut std::io::stdout().lock()).map_err(|error| error.to_string()),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            eprintln!("dask-operator: {message}");
            ExitCode::FAILURE
        }
    }
}
