//! The `dask-operator` program.

use std::process::ExitCode;

use clap::Parser as _;
use dask_operator::{
    args::{Cli, Command, RenderArgs},
    crd_yaml, render, run, schema, telemetry,
};

fn main() -> ExitCode {
    let runtime = match tokio::runtime::Runtime::new() {
        Ok(runtime) => runtime,
        Err(error) => return failed(&error.to_string()),
    };
    let code = runtime.block_on(command());
    // Look-ups of names may hang in threads that cannot be stopped, and a leader that lost its Lease must not wait.
    runtime.shutdown_background();
    code
}

async fn command() -> ExitCode {
    let result = match Cli::parse().command {
        Command::Run(args) => {
            telemetry::init(args.log_format);
            let Err(error) = run::run(*args).await else { return ExitCode::SUCCESS };
            failed(&error.to_string());
            return ExitCode::from(error.exit_code());
        }
        Command::Schema { dir: Some(dir) } => schema::write_files(&dir).map_err(|error| error.to_string()),
        Command::Schema { dir: None } => {
            schema::print(&mut std::io::stdout().lock()).map_err(|error| error.to_string())
        }
        Command::Render(args) => return rendered(&args).await,
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
