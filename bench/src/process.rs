//! What a process costs, as the kernel counts it.

use std::time::Duration;

use crate::Error;

/// Length of the kernel's ticks on every Linux that Rust runs on.
const TICK: Duration = Duration::from_millis(10);

/// Processor time so far.
pub(crate) fn cpu(pid: u32) -> Result<Duration, Error> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat"))?;
    // The second field is the program's name in parentheses, in which anything may stand.
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
    let ticks = |index: usize| fields.get(index).and_then(|field| field.parse::<u32>().ok()).unwrap_or_default();
    Ok(TICK * (ticks(11) + ticks(12)))
}

/// The memory that it holds, in KiB.
pub(crate) fn rss(pid: u32) -> Result<u64, Error> {
    memory(pid, "VmRSS:")
}

/// The most memory that it ever held, in KiB.
pub(crate) fn peak_rss(pid: u32) -> Result<u64, Error> {
    memory(pid, "VmHWM:")
}

fn memory(pid: u32, field: &str) -> Result<u64, Error> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix(field)).unwrap_or_default();
    Ok(line.split_whitespace().next().and_then(|kib| kib.parse().ok()).unwrap_or_default())
}
