//! The `dask-operator` program.

use std::process::ExitCode;

use clap::Parser as _;
use dask_operator::{
    args::{Cli, Command, RenderArgs},
    crd_yaml, metrics, render, run, schema, telemetry,
};

#[tokio::main]
async fn main() -> ExitCode {
    let result = match Cli::parse().command {
        Command::Run(args) => {
            telemetry::init(args.log_format);
            run::run(*args).await.map_err(|error| error.to_string())
        }
        Command::Schema { dir: Some(dir) } => schema::write_files(&dir).map_err(|error| error.to_string()),
        Command::Schema { dir: None } => {
            schema::print(&mut std::io::stdout().lock()).map_err(|error| error.to_string())
        }
        Command::Render(args) => return rendered(&args).await,
        Command::Metrics => metrics::print(&mut std::io::stdout().lock()).map_err(|error| error.to_string()),
        Command::Crd => crd_yaml::print(&mut std::io::stdout().lock()).map_err(|error| error.to_string()),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => failed(&message),
    }
}

async fn rendered(args: &RenderArgs) -> ExitCode {
    match render::render(args, &mut std::io::stdout(), &mut std::io::stderr()).await {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => failed(&error.to_string()),
    }
}

fn failed(message: &str) -> ExitCode {
    eprintln!("dask-operator: {message}");
    ExitCode::FAILURE
}
