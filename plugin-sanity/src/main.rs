//! The `dask-plugin-sanity` program.

use std::{
    fs,
    io::{self, Write as _},
    process::ExitCode,
};

use clap::Parser as _;
use dask_plugin_sanity::{CHECKS, args::Args, run};

/// The exit code for invalid arguments and for a plugin that cannot be reached.
const USAGE: u8 = 2;

#[tokio::main]
async fn main() -> ExitCode {
    let args = Args::parse();
    match execute(&args).await {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(message) => {
            eprintln!("dask-plugin-sanity: {message}");
            ExitCode::from(USAGE)
        }
    }
}

/// Runs the program. Returns whether all checks passed.
async fn execute(args: &Args) -> Result<bool, String> {
    let mut out = io::stdout();
    if args.list {
        for check in &CHECKS {
            writeln!(out, "{:<22} {}", check.id, check.rule).map_err(|error| error.to_string())?;
        }
        return Ok(true);
    }
    let report = run(args).await.map_err(|error| error.to_string())?;
    let text = if args.json { report.json() } else { report.text() };
    out.write_all(text.as_bytes()).map_err(|error| error.to_string())?;
    if let Some(path) = &args.junit {
        let failed = |error: &dyn std::fmt::Display| format!("failed to write {}: {error}", path.display());
        let junit = report.junit().map_err(|error| failed(&error))?;
        fs::write(path, junit).map_err(|error| failed(&error))?;
    }
    Ok(report.passed())
}
