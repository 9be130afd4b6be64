//! Metrics of the process. They have the names that Prometheus' own client libraries use, because common dashboards
//! refer to these.

use std::fmt;

use procfs::{WithCurrentSystemInfo as _, process::Process};
use prometheus_client::{
    collector::Collector,
    encoding::DescriptorEncoder,
    metrics::{counter::ConstCounter, gauge::ConstGauge},
};

use super::family::{Described, Family};

const CPU: Family<0> = Family::counter("process_cpu_seconds", [], "CPU time that the process has used, in seconds.");
const RESIDENT: Family<0> = Family::gauge("process_resident_memory_bytes", [], "Memory that the process has.");
const VIRTUAL: Family<0> = Family::gauge("process_virtual_memory_bytes", [], "Addresses that the process has.");
const OPEN_FDS: Family<0> = Family::gauge("process_open_fds", [], "Open files and connections.");
const MAX_FDS: Family<0> = Family::gauge("process_max_fds", [], "How many of them there may be.");
const THREADS: Family<0> = Family::gauge("process_threads", [], "Threads.");
const START: Family<0> =
    Family::gauge("process_start_time_seconds", [], "When the process started, in seconds since 1970.");

/// The metrics of this process from `/proc`. Values that `/proc` does not contain are left out.
#[derive(Debug)]
pub(super) struct ThisProcess;

impl Collector for ThisProcess {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let process = Process::myself().ok();
        let stat = process.as_ref().and_then(|process| process.stat().ok());
        let fds = process.as_ref().and_then(|process| process.fd_count().ok());
        let max_fds = process.as_ref().and_then(|process| process.limits().ok()).and_then(|limits| {
            match limits.max_open_files.soft_limit {
                procfs::process::LimitValue::Value(limit) => Some(limit),
                procfs::process::LimitValue::Unlimited => None,
            }
        });
        let stat = stat.as_ref();
        let to = &mut encoder;
        let ticks = procfs::ticks_per_second();
        let cpu = stat.map(|stat| seconds(stat.utime + stat.stime, ticks));
        CPU.encode(to, cpu.map(|seconds| ([], ConstCounter::new(seconds))))?;
        RESIDENT.encode(to, stat.map(|stat| ([], ConstGauge::new(stat.rss_bytes().get()))))?;
        VIRTUAL.encode(to, stat.map(|stat| ([], ConstGauge::new(stat.vsize))))?;
        OPEN_FDS.encode(to, fds.map(|count| ([], ConstGauge::new(count))))?;
        MAX_FDS.encode(to, max_fds.map(|limit| ([], ConstGauge::new(limit))))?;
        THREADS.encode(to, stat.map(|stat| ([], ConstGauge::new(stat.num_threads))))?;
        let started = stat.zip(procfs::boot_time_secs().ok());
        START.encode(
            to,
            started.map(|(stat, boot)| ([], ConstGauge::new(seconds(stat.starttime + boot * ticks, ticks)))),
        )
    }
}

/// Converts ticks to seconds. Ticks are hundredths of a second, so that the precision that f64 loses does not matter.
#[expect(clippy::cast_precision_loss, reason = "2^53 ticks are three million years")]
fn seconds(ticks: u64, per_second: u64) -> f64 {
    ticks as f64 / per_second as f64
}

pub(super) fn described() -> Vec<Described> {
    [&CPU, &RESIDENT, &VIRTUAL, &OPEN_FDS, &MAX_FDS, &THREADS, &START].map(Family::described).to_vec()
}

#[cfg(test)]
mod tests {
    use std::time::{SystemTime, UNIX_EPOCH};

    use crate::metrics::{RuntimeMetrics, tests::samples};

    fn value(name: &str) -> f64 {
        samples(&RuntimeMetrics::default(), &[name])[0].rsplit_once(' ').unwrap().1.parse().unwrap()
    }

    #[test]
    fn the_metrics_of_the_process_are_in_seconds_and_bytes() {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs_f64();
        let age = now - value("process_start_time_seconds");
        assert!((-2.0..3600.0).contains(&age), "{age}");
        assert!(value("process_resident_memory_bytes") > 1_000_000.0);
        assert!(value("process_open_fds") >= 3.0);
        assert!(value("process_threads") >= 1.0);
        let spin = std::time::Instant::now();
        while spin.elapsed().as_millis() < 50 {}
        assert!((0.01..3600.0).contains(&value("process_cpu_seconds_total")));
    }
}
