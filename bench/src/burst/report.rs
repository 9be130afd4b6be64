//! Prints the tables of bursts.

use serde_json::{Value, json};

use super::{Burst, OperatorBurst, Size};
use crate::report::milliseconds;

/// Prints the header of the table.
pub(crate) fn header() {
    println!("\nbursts of clusters with workers: time until all objects exist, in total and per cluster");
    println!(
        "{:>9} {:>9} {:>8} {:>7} {:>8} {:>8} {:>7} {:>5} {:>9} {:>7} {:>8}",
        "size", "writer", "total/s", "ratio", "p50/ms", "p99/ms", "missing", "stuck", "requests", "cpu/s", "RSS/MiB"
    );
}

/// Prints the row of the baseline.
pub(crate) fn baseline(size: Size, burst: &Burst) -> Value {
    let row = print_times(&Row { size, writer: "baseline", burst, baseline: burst });
    println!("\n{:>19} {}", "", burst.usage);
    row
}

/// Prints the row of an operator. Times are compared with `baseline`.
pub(crate) fn operator(size: Size, name: &str, measured: &OperatorBurst, baseline: &Burst) -> Value {
    let mut row = print_times(&Row { size, writer: name, burst: &measured.burst, baseline });
    #[expect(clippy::cast_precision_loss, reason = "small numbers")]
    let (each, mib) = {
        let clusters = size.clusters as f64;
        let per_cluster = |count: &u64| *count as f64 / clusters;
        (measured.requests.values().map(per_cluster).sum::<f64>(), measured.peak_rss_kib as f64 / 1024.0)
    };
    let (stuck, cpu) = (measured.stuck, measured.cpu.as_secs_f64());
    println!(" {stuck:>5} {each:>9.1} {cpu:>7.2} {mib:>8.1}");
    println!("{:>19} {}", "", measured.burst.usage);
    println!("{:>19} requests: {}", "", verbs(measured));
    row["stuck"] = json!(stuck);
    row["cpuSeconds"] = json!(cpu);
    row["peakRssMib"] = json!(mib);
    row["requests"] = json!(measured.requests);
    row["requestsPerCluster"] = json!(each);
    row
}

/// Prints our time as a multiple of the baseline's of the same round: median, lowest and highest.
pub(crate) fn ratios(size: Size, mut ratios: Vec<f64>) -> Value {
    ratios.sort_by(f64::total_cmp);
    let [lowest, median, highest] = [0, ratios.len() / 2, ratios.len().saturating_sub(1)].map(|place| ratios[place]);
    let Size { clusters, workers } = size;
    println!("{:>19} ours in {} rounds: {median:.2} x the baseline ({lowest:.2} to {highest:.2})", "", ratios.len());
    json!({"clusters": clusters, "workers": workers, "writer": "ours", "medianRatio": median, "ratios": ratios})
}

fn verbs(measured: &OperatorBurst) -> String {
    let verbs: Vec<String> = measured.requests.iter().map(|(verb, count)| format!("{count} {verb}")).collect();
    verbs.join(", ")
}

/// The part of a row that the baseline and operators have in common.
struct Row<'a> {
    size: Size,
    writer: &'a str,
    burst: &'a Burst,
    baseline: &'a Burst,
}

fn print_times(row: &Row<'_>) -> Value {
    let Row { size, writer, burst, baseline } = row;
    let [p50, p99] = milliseconds(&burst.each);
    let (total, ratio) = (burst.total.as_secs_f64(), burst.ratio_to(baseline));
    let name = format!("{}x{}", size.clusters, size.workers);
    print!("{name:>9} {writer:>9} {total:>8.2} {ratio:>7.2} {p50:>8.0} {p99:>8.0} {:>7}", burst.missing);
    json!({
        "clusters": size.clusters,
        "workers": size.workers,
        "writer": writer,
        "seconds": total,
        "ratioToBaseline": ratio,
        "p50Ms": p50,
        "p99Ms": p99,
        "missing": burst.missing,
        "components": burst.usage.json(),
    })
}
