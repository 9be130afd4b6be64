//! The entry point of the `dask-operator` program: parses the command line, runs the command and returns its exit code.

use std::{env, io::stdout, process::ExitCode};

use dask_operator::{
    args::{self, Command, RenderArgs, RunArgs},
    crd_yaml,
    exit::Exit,
    leftovers, metrics, removal, render, run, schema, telemetry, version,
};

fn main() -> ExitCode {
    let runtime = match tokio::runtime::Runtime::new() {
        Ok(runtime) => runtime,
        Err(error) => return failed(&error, Exit::Other),
    };
    let code = runtime.block_on(command());
    // DNS lookups may hang in threads that cannot be stopped, and a leader that lost its Lease must not wait for them.
    runtime.shutdown_background();
    code
}

async fn command() -> ExitCode {
    let cli = match args::parse(env::args_os(), |name| env::var(name).ok()) {
        Ok(cli) => cli,
        Err(args::Error::Clap(error)) => return printed(&error),
        Err(error) => return failed(&error, Exit::Usage),
    };
    let result = match cli.command {
        Command::Run(args) => return running(*args).await,
        Command::Render(args) => return rendered(&args).await,
        Command::Schema { dir: Some(dir) } => schema::write_files(&dir).map_err(|error| error.to_string()),
        Command::Schema { dir: None } => schema::print(&mut stdout().lock()).map_err(|error| error.to_string()),
        Command::Crd => crd_yaml::print(&mut stdout().lock()).map_err(|error| error.to_string()),
        Command::Metrics => metrics::print(&mut stdout().lock()).map_err(|error| error.to_string()),
        Command::ReleaseFinalizers(args) => {
            let released = removal::release_finalizers(&args.scope(), &mut stdout()).await;
            // What is left of finalizers does not depend on what is left in the controller's namespace.
            let deleted = leftovers::delete(&args).await;
            released.map_err(|error| error.to_string()).and_then(|()| deleted.map_err(|error| error.to_string()))
        }
        Command::Version { output } => version::print(output, &mut stdout().lock()).map_err(|error| error.to_string()),
    };
    result.map_or_else(|error| failed(&error, Exit::Other), |()| ExitCode::SUCCESS)
}

async fn running(args: RunArgs) -> ExitCode {
    if let Err(error) = telemetry::init(args.log_format, args.verbosity) {
        return failed(&error, Exit::Usage);
    }
    Box::pin(run::run(args)).await.map_or_else(|error| failed(&error, error.exit()), |()| ExitCode::SUCCESS)
}

async fn rendered(args: &RenderArgs) -> ExitCode {
    match render::render(args, &mut stdout(), &mut std::io::stderr()).await {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => failed(&error, Exit::Other),
    }
}

/// Prints an error of clap and returns its exit code. Clap reports `--help` and `--version` as errors too.
fn printed(error: &clap::Error) -> ExitCode {
    // If printing fails, there is nowhere left to report that.
    let _ = error.print();
    u8::try_from(error.exit_code()).map_or(ExitCode::FAILURE, ExitCode::from)
}

fn failed(error: &impl std::fmt::Display, exit: Exit) -> ExitCode {
    eprintln!("dask-operator: {error}");
    exit.into()
}
