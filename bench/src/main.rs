//! Measures what plugins cost on a real API server: `make bench`. It asserts nothing; it prints tables and writes
//! them to `target/bench/plugins.json`.
#![expect(clippy::print_stdout, reason = "its output is its purpose")]

mod controller;
mod hang;
mod lab;
mod latency;
mod plugin;
mod report;
mod requests;
mod sightings;
mod throughput;

use std::{path::PathBuf, process::ExitCode};

use clap::Parser;
use serde_json::json;

/// Measures what plugins cost on the cluster of the current kubeconfig.
#[derive(Debug, Parser)]
struct Args {
    /// Small numbers, to try it.
    #[arg(long)]
    quick: bool,
    /// The controller; the one beside this program unless given.
    #[arg(long)]
    controller: Option<PathBuf>,
    /// Measure only this.
    #[arg(long)]
    only: Option<Part>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Part {
    Hang,
    Latency,
    Throughput,
}

/// Why nothing could be measured.
#[derive(Debug, thiserror::Error)]
enum Error {
    #[error("{0}")]
    Kube(#[from] kube::Error),
    #[error("no cluster: {0}")]
    Config(#[from] kube::config::InferConfigError),
    #[error("{0}")]
    Io(#[from] std::io::Error),
    #[error("{0}")]
    Json(#[from] serde_json::Error),
    #[error("waited in vain for {0}")]
    Late(String),
    #[error("{0}")]
    Plugin(String),
}

#[tokio::main]
async fn main() -> ExitCode {
    match run(&Args::parse()).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("bench: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn run(args: &Args) -> Result<(), Error> {
    let program = std::env::current_exe()?;
    let controller = args.controller.clone().unwrap_or_else(|| program.with_file_name("dask-operator"));
    let client = lab::connect().await?;
    let wants = |part| args.only.is_none_or(|only| only == part);
    let pick = |all, quick| if args.quick { quick } else { all };
    let mut document = json!({"machine": report::machine()?, "date": jiff::Timestamp::now().to_string()});
    if wants(Part::Hang) {
        let measured =
            lab::with_lab(&client, &controller, async |lab| hang::measure(lab, pick(50, 10), 3).await).await?;
        document["hang"] = report::hang(&measured);
    }
    if wants(Part::Latency) {
        let measured =
            lab::with_lab(&client, &controller, async |lab| latency::measure(lab, pick(50, 10)).await).await?;
        document["latency"] = report::latency(&measured);
    }
    if wants(Part::Throughput) {
        let measured =
            lab::with_lab(&client, &controller, async |lab| throughput::measure(lab, pick(500, 50), 3).await).await?;
        document["throughput"] = report::throughput(&measured);
    }
    let target = program.ancestors().nth(2).map(PathBuf::from).unwrap_or_default();
    let file = target.join("bench/plugins.json");
    std::fs::create_dir_all(target.join("bench"))?;
    std::fs::write(&file, serde_json::to_string_pretty(&document)?)?;
    println!("\nAll of this is in {}.", file.display());
    Ok(())
}
