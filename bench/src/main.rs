//! Measures this project's operator on a real API server (`make bench`), compared with the speed of the API server itself
//! and with the operator that dask-kubernetes ships. Prints tables and writes the numbers to `target/bench/bench.json`.
//! There are no assertions on the numbers.
#![expect(clippy::print_stdout, reason = "the output is the purpose of this program")]

mod account;
mod burst;
mod cluster;
mod components;
#[path = "../../controller/tests/support/scheduler.rs"]
#[allow(dead_code, reason = "the tests use more of it")]
#[expect(clippy::unwrap_used, reason = "it is written for tests, which should panic")]
mod fake_scheduler;
mod kwok;
mod machine;
mod operator;
mod plugins;
mod process;
mod report;
mod requests;
mod scale;
mod schedulers;
mod steady;
mod wait;
mod watch_latency;

use std::{
    path::{Path, PathBuf},
    process::ExitCode,
    time::Duration,
};

use clap::Parser;
use serde_json::{Value, json};

use burst::Size;
use cluster::BenchCluster;
use kwok::Kwok;
use machine::Machine;
use operator::Program;
use plugins::throughput::Setup;

/// Measures operators on the cluster of the kubeconfig.
#[derive(Debug, Parser)]
struct Args {
    /// Kubeconfig of the cluster on which our operator is measured.
    #[arg(long, env = "KUBECONFIG")]
    kubeconfig: PathBuf,
    /// Use small numbers, to try the program.
    #[arg(long)]
    quick: bool,
    /// Our controller. The default is the one in the directory of this program.
    #[arg(long)]
    controller: Option<PathBuf>,
    /// A Python environment with dask-kubernetes. Without it, only our operator is measured.
    #[arg(long, env = "UPSTREAM", requires = "upstream_kubeconfig")]
    upstream: Option<PathBuf>,
    /// Kubeconfig of another cluster, on which dask-kubernetes is measured: its CustomResourceDefinitions differ.
    #[arg(long, env = "UPSTREAM_KUBECONFIG")]
    upstream_kubeconfig: Option<PathBuf>,
    /// The kwok program. Without it, measurements that need running pods are skipped.
    #[arg(long, env = "KWOK")]
    kwok: Option<PathBuf>,
    /// Run only these measurements.
    #[arg(long, value_delimiter = ',')]
    only: Vec<Measurement>,
    /// Sizes of the bursts: clusters x workers per cluster, such as 1000x2.
    #[arg(long, value_delimiter = ',')]
    sizes: Vec<Size>,
    /// How often the baseline and our operator are measured in turn, since the speed of machines varies. dask-kubernetes
    /// is measured once.
    #[arg(long)]
    rounds: Option<usize>,
    /// Number of clusters of the steady state.
    #[arg(long)]
    clusters: Option<usize>,
}

/// The default of `--rounds`.
const DEFAULT_ROUNDS: usize = 3;

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Measurement {
    Burst,
    Scale,
    Steady,
    Hang,
    Latency,
    Throughput,
}

impl Measurement {
    const ALL: [Self; 6] = [Self::Burst, Self::Scale, Self::Steady, Self::Hang, Self::Latency, Self::Throughput];
}

/// Why a measurement failed.
#[derive(Debug, thiserror::Error)]
enum Error {
    #[error("{0}")]
    Kube(#[from] kube::Error),
    #[error("cannot use the kubeconfig: {0}")]
    Kubeconfig(#[from] kube::config::KubeconfigError),
    #[error("{0}")]
    Io(#[from] std::io::Error),
    #[error("{0}")]
    Json(#[from] serde_json::Error),
    #[error("cannot read a CustomResourceDefinition: {0}")]
    Definition(String),
    #[error("timed out waiting for {0}")]
    Timeout(String),
    #[error("the operator exited: {0}")]
    OperatorExited(String),
    #[error("{0}")]
    Watch(String),
    #[error("{0}")]
    Plugin(String),
    #[error("schedulers got {requests} requests of {expected} expected: their pods cannot have been ready")]
    NotPolled { requests: usize, expected: usize },
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
    let cluster = BenchCluster::new(&args.kubeconfig, Program::Ours(controller)).await?;
    let (machine, date) = (Machine::this()?, jiff::Timestamp::now().to_string());
    println!("{machine}, {date}");
    let mut document = json!({"machine": machine.json(), "date": date});
    let target = program.ancestors().nth(2).map(PathBuf::from).unwrap_or_default();
    let file = target.join("bench/bench.json");
    std::fs::create_dir_all(target.join("bench"))?;
    for measurement in Measurement::ALL {
        if args.only.is_empty() || args.only.contains(&measurement) {
            measurement.run(args, &cluster, &mut document).await?;
            // Written after each measurement, so that a later failure does not lose the earlier results.
            std::fs::write(&file, serde_json::to_string_pretty(&document)?)?;
        }
    }
    println!("\nThe numbers are in {}.", file.display());
    Ok(())
}

impl Measurement {
    async fn run(self, args: &Args, cluster: &BenchCluster, document: &mut Value) -> Result<(), Error> {
        let pick = |all, quick| if args.quick { quick } else { all };
        match self {
            Self::Burst => document["burst"] = bursts(args, cluster).await?,
            Self::Scale | Self::Steady => self.run_with_pods(args, cluster, document).await?,
            Self::Hang => {
                let measured = cluster
                    .with_namespace(async |namespace| plugins::hang::measure(namespace, pick(50, 10), 3).await)
                    .await?;
                document["hang"] = plugins::report::hang(&measured);
            }
            Self::Latency => {
                let mut rows = Vec::new();
                for count in [1, 5] {
                    let clusters = pick(50, 10);
                    let measured = cluster
                        .with_namespace(async |namespace| plugins::latency::measure(namespace, clusters, count).await)
                        .await?;
                    rows.push(plugins::report::latency(&measured));
                }
                document["latency"] = json!(rows);
            }
            Self::Throughput => {
                let mut rows = Vec::new();
                for (plugins, hung) in [(1, false), (5, false), (1, true)] {
                    let setup = Setup { subjects: pick(1000, 50), plugins, hung, rounds: pick(3, 1) };
                    let measured = cluster
                        .with_namespace(async |namespace| plugins::throughput::measure(namespace, setup).await)
                        .await?;
                    rows.push(plugins::report::throughput(&measured));
                }
                document["throughput"] = json!(rows);
            }
        }
        Ok(())
    }

    /// Runs a measurement that needs running pods.
    async fn run_with_pods(self, args: &Args, cluster: &BenchCluster, document: &mut Value) -> Result<(), Error> {
        let Some(kwok) = &args.kwok else {
            println!("\n{self:?} is skipped: it needs --kwok");
            return Ok(());
        };
        let kwok = Kwok::start(kwok, cluster).await?;
        if self == Self::Scale {
            let profile = if args.quick { &scale::SMALL } else { &scale::LARGE };
            let scaled = cluster.with_namespace(async |namespace| scale::measure(namespace, profile).await).await?;
            document["scale"] = scale::report(profile, &scaled);
        } else {
            let (clusters, seconds) = if args.quick { (20, 10) } else { (1000, 120) };
            let (clusters, time) = (args.clusters.unwrap_or(clusters), Duration::from_secs(seconds));
            let steady =
                cluster.with_namespace(async |namespace| steady::measure(namespace, clusters, time).await).await?;
            document["steady"] = steady::report(&steady);
        }
        kwok.stop().await
    }
}

/// Measures bursts of all sizes: for each the baseline, our operator and dask-kubernetes, one after the other.
async fn bursts(args: &Args, cluster: &BenchCluster) -> Result<Value, Error> {
    let default: &[Size] =
        if args.quick { &[Size::new(10, 2)] } else { &[Size::new(20, 5), Size::new(100, 5), Size::new(500, 2)] };
    let sizes = if args.sizes.is_empty() { default } else { &args.sizes };
    let upstream = match (&args.upstream, &args.upstream_kubeconfig) {
        (Some(environment), Some(kubeconfig)) => Some(upstream(kubeconfig, environment).await?),
        _ => None,
    };
    let mut rows = Vec::new();
    burst::report::header();
    let rounds = args.rounds.unwrap_or(if args.quick { 1 } else { DEFAULT_ROUNDS }).max(1);
    for size in sizes.iter().copied() {
        let template = burst::template(cluster, size.workers).await?;
        let mut ratios = Vec::new();
        for round in 1..=rounds {
            let baseline = burst::baseline(cluster, size, &template).await?;
            rows.push(burst::report::baseline(size, &baseline));
            let ours = burst::operator(cluster, size).await?;
            ratios.push(ours.burst.ratio_to(&baseline));
            rows.push(burst::report::operator(size, "ours", &ours, &baseline));
            if let Some(upstream) = upstream.as_ref().filter(|_| round == rounds) {
                let measured = burst::operator(upstream, size).await?;
                rows.push(burst::report::operator(size, "upstream", &measured, &baseline));
            }
        }
        rows.push(burst::report::ratios(size, ratios));
    }
    Ok(json!(rows))
}

/// Prepares the cluster of dask-kubernetes.
async fn upstream(kubeconfig: &Path, environment: &Path) -> Result<BenchCluster, Error> {
    BenchCluster::new(kubeconfig, Program::Upstream(environment.to_owned())).await
}
