//! Runs the controller many times while faults are injected; a seed decides each run: `make chaos`.
//!
//! `SEEDS=300` is the number of runs, `FIRST=1` the first seed, `SEED=7` repeats one run, and `PARALLEL=6` runs at the same
//! time. `HOSTILE=flood,deep-job` selects the attacks of hostile users, `HOSTILE=none` leaves them out. A seed decides what
//! users do, which faults occur and when. It does not decide the order of concurrent events, so that a failed run may have to
//! be repeated a few times.
#![expect(clippy::unwrap_used, reason = "in tests, what fails must fail loudly")]
#![expect(clippy::print_stdout, reason = "its output is its purpose")]

mod api_server;
mod clock;
mod controller_process;
mod created_workers;
mod fault_profile;
mod faulty_plugins;
mod foreign;
mod hostile;
mod hostile_objects;
mod invariants;
mod kubelet_restart;
#[path = "../../../bench/src/machine.rs"]
mod machine;
mod proxy;
mod report;
mod run;
mod scenario;
#[path = "../support/mod.rs"]
mod support;

use std::{ops::Range, path::PathBuf, process::ExitCode, time::Instant};

use futures::{StreamExt as _, stream};
use kube::Client;

use report::Report;
use run::Environment;

#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn main() -> ExitCode {
    // A run that panics has failed, and reports the reason itself.
    std::panic::set_hook(Box::new(|_| {}));
    let seeds = seeds();
    let client = api_server::patient_client().await;
    support::install_crds(&client).await;
    let environment = Environment {
        client,
        plain: Client::try_default().await.unwrap(),
        testbed: std::env::var_os("TESTBED_DIR").map(PathBuf::from),
    };
    report::print_head(&seeds, environment.testbed.is_some());
    let begin = Instant::now();
    let runs = stream::iter(seeds).map(|seed| run::run(&environment, seed)).buffer_unordered(number("PARALLEL", 6));
    let mut runs = Box::pin(runs);
    let mut report = Report::default();
    while let Some(result) = runs.next().await {
        report.add(&result);
    }
    report.finish(begin.elapsed())
}

fn seeds() -> Range<u64> {
    let number = |name| u64::try_from(number(name, 0)).unwrap();
    match number("SEED") {
        0 => {
            let first = number("FIRST").max(1);
            first..first + if number("SEEDS") == 0 { 300 } else { number("SEEDS") }
        }
        seed => seed..seed + 1,
    }
}

fn number(name: &str, default: usize) -> usize {
    let value = std::env::var(name).ok().filter(|value| !value.is_empty());
    value.map_or(default, |value| value.parse().expect("it is a number"))
}
