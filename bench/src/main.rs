//! Measures this project's operator on a real API server, beside the API server's own speed and beside the operator
//! that dask-kubernetes ships: `make bench`. It asserts nothing; it prints tables and writes them to
//! `target/bench/bench.json`.
#![expect(clippy::print_stdout, reason = "its output is its purpose")]

mod account;
mod burst;
mod components;
#[path = "../../controller/tests/support/scheduler.rs"]
#[allow(dead_code, reason = "tests use more of it")]
#[expect(clippy::unwrap_used, reason = "it is a part of tests too, in which what fails must fail loudly")]
mod fake_scheduler;
mod fleet;
mod kwok;
mod lab;
mod machine;
mod operator;
mod plugins;
mod process;
mod report;
mod requests;
mod scale;
mod sightings;
mod steady;

use std::{
    path::{Path, PathBuf},
    process::ExitCode,
    time::Duration,
};

use clap::Parser;
use serde_json::{Value, json};

use burst::Size;
use kwok::Kwok;
use lab::Bench;
use machine::Machine;
use operator::Program;
use plugins::throughput::Setup;

/// Measures operators on the cluster of the kubeconfig.
#[derive(Debug, Parser)]
struct Args {
    /// The cluster on which ours is measured.
    #[arg(long, env = "KUBECONFIG")]
    kubeconfig: PathBuf,
    /// Small numbers, to try it.
    #[arg(long)]
    quick: bool,
    /// Our controller; the one beside this program unless given.
    #[arg(long)]
    controller: Option<PathBuf>,
    /// A Python environment with dask-kubernetes; without it, only ours is measured.
    #[arg(long, env = "UPSTREAM", requires = "upstream_kubeconfig")]
    upstream: Option<PathBuf>,
    /// Another cluster, on which it is measured: its definitions differ from ours.
    #[arg(long, env = "UPSTREAM_KUBECONFIG")]
    upstream_kubeconfig: Option<PathBuf>,
    /// kwok; without it, what needs pods that run is left out.
    #[arg(long, env = "KWOK")]
    kwok: Option<PathBuf>,
    /// Measure only these.
    #[arg(long, value_delimiter = ',')]
    only: Vec<Part>,
    /// Other bursts than the usual ones: clusters x workers of each, such as 1000x2.
    #[arg(long, value_delimiter = ',')]
    sizes: Vec<Size>,
    /// How often the floor and ours are measured in turn, since machines do not keep their speed; dask-kubernetes only
    /// once.
    #[arg(long)]
    rounds: Option<usize>,
    /// Another number of clusters at rest than the usual one.
    #[arg(long)]
    clusters: Option<usize>,
}

/// Rounds unless told otherwise.
const ROUNDS: usize = 3;

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Part {
    Burst,
    Scale,
    Steady,
    Hang,
    Latency,
    Throughput,
}

impl Part {
    const ALL: [Self; 6] = [Self::Burst, Self::Scale, Self::Steady, Self::Hang, Self::Latency, Self::Throughput];
}

/// Why nothing could be measured.
#[derive(Debug, thiserror::Error)]
enum Error {
    #[error("{0}")]
    Kube(#[from] kube::Error),
    #[error("no cluster: {0}")]
    Kubeconfig(#[from] kube::config::KubeconfigError),
    #[error("{0}")]
    Io(#[from] std::io::Error),
    #[error("{0}")]
    Json(#[from] serde_json::Error),
    #[error("cannot read a definition: {0}")]
    Definition(String),
    #[error("waited in vain for {0}")]
    Late(String),
    #[error("the operator ended: {0}")]
    Ended(String),
    #[error("{0}")]
    Watch(String),
    #[error("{0}")]
    Plugin(String),
    #[error("schedulers were asked {asked} times where {due} were due: their pods cannot have been ready")]
    Asleep { asked: usize, due: usize },
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
    let bench = Bench::new(&args.kubeconfig, Program::Ours(controller)).await?;
    let (machine, date) = (Machine::this()?, jiff::Timestamp::now().to_string());
    println!("{machine}, {date}");
    let mut document = json!({"machine": machine.json(), "date": date});
    let target = program.ancestors().nth(2).map(PathBuf::from).unwrap_or_default();
    let file = target.join("bench/bench.json");
    std::fs::create_dir_all(target.join("bench"))?;
    for part in Part::ALL {
        if args.only.is_empty() || args.only.contains(&part) {
            part.measure(args, &bench, &mut document).await?;
            // What was measured so far is not lost if a later part fails.
            std::fs::write(&file, serde_json::to_string_pretty(&document)?)?;
        }
    }
    println!("\nAll of this is in {}.", file.display());
    Ok(())
}

impl Part {
    async fn measure(self, args: &Args, bench: &Bench, document: &mut Value) -> Result<(), Error> {
        let pick = |all, quick| if args.quick { quick } else { all };
        match self {
            Self::Burst => document["burst"] = bursts(args, bench).await?,
            Self::Scale | Self::Steady => self.measure_running(args, bench, document).await?,
            Self::Hang => {
                let measured = bench.with_lab(async |lab| plugins::hang::measure(lab, pick(50, 10), 3).await).await?;
                document["hang"] = plugins::report::hang(&measured);
            }
            Self::Latency => {
                let mut rows = Vec::new();
                for count in [1, 5] {
                    let clusters = pick(50, 10);
                    let measured =
                        bench.with_lab(async |lab| plugins::latency::measure(lab, clusters, count).await).await?;
                    rows.push(plugins::report::latency(&measured));
                }
                document["latency"] = json!(rows);
            }
            Self::Throughput => {
                let mut rows = Vec::new();
                for (plugins, hung) in [(1, false), (5, false), (1, true)] {
                    let setup = Setup { subjects: pick(1000, 50), plugins, hung, rounds: pick(3, 1) };
                    let measured = bench.with_lab(async |lab| plugins::throughput::measure(lab, setup).await).await?;
                    rows.push(plugins::report::throughput(&measured));
                }
                document["throughput"] = json!(rows);
            }
        }
        Ok(())
    }
}

impl Part {
    /// What needs pods that run.
    async fn measure_running(self, args: &Args, bench: &Bench, document: &mut Value) -> Result<(), Error> {
        let Some(kwok) = &args.kwok else {
            println!("\n{self:?} is left out: there is no kwok");
            return Ok(());
        };
        let kwok = Kwok::start(kwok, (&bench.kubeconfig, &bench.client), bench.dir.path()).await?;
        if self == Self::Scale {
            let course = if args.quick { &scale::SHORT } else { &scale::LONG };
            let scaled = bench.with_lab(async |lab| scale::measure(lab, course).await).await?;
            document["scale"] = scale::report(course, &scaled);
        } else {
            let (clusters, seconds) = if args.quick { (20, 10) } else { (1000, 120) };
            let (clusters, time) = (args.clusters.unwrap_or(clusters), Duration::from_secs(seconds));
            let steady = bench.with_lab(async |lab| steady::measure(lab, clusters, time).await).await?;
            document["steady"] = steady::report(&steady);
        }
        kwok.end().await
    }
}

/// All sizes: for each the floor, ours and dask-kubernetes', one after the other.
async fn bursts(args: &Args, bench: &Bench) -> Result<Value, Error> {
    let usual: &[Size] =
        if args.quick { &[Size::of(10, 2)] } else { &[Size::of(20, 5), Size::of(100, 5), Size::of(500, 2)] };
    let sizes = if args.sizes.is_empty() { usual } else { &args.sizes };
    let upstream = match (&args.upstream, &args.upstream_kubeconfig) {
        (Some(environment), Some(kubeconfig)) => Some(upstream(kubeconfig, environment).await?),
        _ => None,
    };
    let mut rows = Vec::new();
    burst::report::head();
    let rounds = args.rounds.unwrap_or(if args.quick { 1 } else { ROUNDS }).max(1);
    for size in sizes.iter().copied() {
        let template = burst::template(bench, size.workers).await?;
        let mut ratios = Vec::new();
        for round in 1..=rounds {
            let floor = burst::floor(bench, size, &template).await?;
            rows.push(burst::report::floor(size, &floor));
            let ours = burst::operated(bench, size).await?;
            ratios.push(ours.burst.ratio_to(&floor));
            rows.push(burst::report::operated(size, "ours", &ours, &floor));
            if let Some(upstream) = upstream.as_ref().filter(|_| round == rounds) {
                let operated = burst::operated(upstream, size).await?;
                rows.push(burst::report::operated(size, "upstream", &operated, &floor));
            }
        }
        rows.push(burst::report::ratios(size, ratios));
    }
    Ok(json!(rows))
}

async fn upstream(kubeconfig: &Path, environment: &Path) -> Result<Bench, Error> {
    Bench::new(kubeconfig, Program::Upstream(environment.to_owned())).await
}
