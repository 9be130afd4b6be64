//! The report of all runs: a table for people, and JSON for programs.

use std::{collections::BTreeMap, ops::Range, path::PathBuf, process::ExitCode, time::Duration};

use serde_json::json;

use crate::{clock, machine::Machine, run::RunResult};

/// The results so far.
#[derive(Default)]
pub(crate) struct Report {
    recoveries: Vec<Duration>,
    failed: BTreeMap<u64, String>,
    faults: BTreeMap<&'static str, usize>,
}

/// Prints what is going to run.
pub(crate) fn print_head(seeds: &Range<u64>, restarts: bool) {
    println!("seeds {} to {} on {}", seeds.start, seeds.end - 1, Machine::this().unwrap());
    if !restarts {
        println!("the API server is not restarted, because it does not belong to a testbed");
    }
    if clock::library().is_none() {
        println!("clocks are not changed, because libfaketime is not installed");
    }
}

impl Report {
    pub(crate) fn add(&mut self, result: &RunResult) {
        for (fault, count) in &result.faults {
            *self.faults.entry(fault).or_default() += count;
        }
        self.recoveries.push(result.recovery);
        if let Err(why) = &result.result {
            let file = folder().join(format!("seed-{}.log", result.seed));
            std::fs::write(&file, format!("{why}\n\n{}", result.timeline)).unwrap();
            println!("seed {} failed: {why}\n  its timeline is in {}", result.seed, file.display());
            self.failed.insert(result.seed, why.clone());
        }
        if self.recoveries.len().is_multiple_of(10) {
            println!("{} runs, {} failed", self.recoveries.len(), self.failed.len());
        }
    }

    /// Prints the table, and writes it to `target/chaos/chaos.json`.
    pub(crate) fn finish(mut self, time: Duration) -> ExitCode {
        self.recoveries.sort();
        let runs = self.recoveries.len();
        let at = |share: usize| self.recoveries[(runs * share).div_ceil(100).saturating_sub(1)].as_secs_f64();
        println!("\n{:>10} fault", "times");
        for (fault, count) in &self.faults {
            println!("{count:>10} {fault}");
        }
        println!(
            "\n{runs} runs in {:.0} s, {} failed; recovery after the faults within {:.1} s (p50), \
             {:.1} s (p99)",
            time.as_secs_f64(),
            self.failed.len(),
            at(50),
            at(99)
        );
        let document = json!({
            "date": jiff::Timestamp::now().to_string(),
            "machine": Machine::this().unwrap().json(),
            "runs": runs,
            "seconds": time.as_secs_f64(),
            "faults": self.faults,
            "recoverySeconds": {"p50": at(50), "p99": at(99)},
            "failed": self.failed,
        });
        std::fs::write(folder().join("chaos.json"), document.to_string()).unwrap();
        for seed in self.failed.keys() {
            println!("repeat it: make chaos SEED={seed}");
        }
        if self.failed.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
    }
}

/// Returns `target/chaos`.
fn folder() -> PathBuf {
    let program = std::env::current_exe().unwrap();
    let folder = program.ancestors().nth(3).unwrap().join("chaos");
    std::fs::create_dir_all(&folder).unwrap();
    folder
}
