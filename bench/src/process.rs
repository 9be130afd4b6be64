//! CPU time and memory of a process, read from `/proc`.

use std::time::Duration;

use crate::Error;

/// The kernel's clock tick on every Linux platform that Rust supports.
const TICK: Duration = Duration::from_millis(10);

/// Returns the CPU time that the process has used.
pub(crate) fn cpu(pid: u32) -> Result<Duration, Error> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat"))?;
    // The second field is the program's name in parentheses, which may itself contain spaces and parentheses.
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
    let ticks = |index: usize| fields.get(index).and_then(|field| field.parse::<u32>().ok()).unwrap_or_default();
    Ok(TICK * (ticks(11) + ticks(12)))
}

/// Returns the resident memory in KiB.
pub(crate) fn rss(pid: u32) -> Result<u64, Error> {
    memory(pid, "VmRSS:")
}

/// Returns the peak of the resident memory in KiB.
pub(crate) fn peak_rss(pid: u32) -> Result<u64, Error> {
    memory(pid, "VmHWM:")
}

fn memory(pid: u32, field: &str) -> Result<u64, Error> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix(field)).unwrap_or_default();
    Ok(line.split_whitespace().next().and_then(|kib| kib.parse().ok()).unwrap_or_default())
}
