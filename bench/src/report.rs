//! Numbers for people and for programs.

use std::time::Duration;

use serde_json::{Value, json};

use crate::Error;

/// What the numbers were measured on.
pub(crate) fn machine() -> Result<Value, Error> {
    let field = |file: &str, name: &str| -> Result<String, Error> {
        let text = std::fs::read_to_string(file)?;
        let line = text.lines().find(|line| line.starts_with(name)).and_then(|line| line.split_once(':'));
        Ok(line.map(|(_, value)| value.trim().to_owned()).unwrap_or_default())
    };
    let machine = json!({
        "cores": std::thread::available_parallelism()?.get(),
        "processor": field("/proc/cpuinfo", "model name")?,
        "memory": field("/proc/meminfo", "MemTotal")?,
        "kernel": std::fs::read_to_string("/proc/sys/kernel/osrelease")?.trim(),
    });
    println!(
        "{} cores, {}, {}, Linux {}",
        machine["cores"], machine["processor"], machine["memory"], machine["kernel"]
    );
    Ok(machine)
}

/// The one in the middle.
pub(crate) fn median(values: Vec<Duration>) -> Duration {
    percentile(values, 50)
}

/// The smallest value that `share` percent of `values` do not exceed.
pub(crate) fn percentile(mut values: Vec<Duration>, share: usize) -> Duration {
    values.sort();
    let index = (values.len() * share).div_ceil(100).saturating_sub(1);
    values.get(index).copied().unwrap_or_default()
}

/// As numbers of seconds.
pub(crate) fn seconds(values: impl Iterator<Item = Duration>) -> Vec<f64> {
    values.map(|value| value.as_secs_f64()).collect()
}

/// Milliseconds at p50 and p99.
pub(crate) fn milliseconds(values: &[Duration]) -> [f64; 2] {
    [50, 99].map(|share| percentile(values.to_vec(), share).as_secs_f64() * 1000.0)
}
