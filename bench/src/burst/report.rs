//! Tables of bursts.

use serde_json::{Value, json};

use super::{Burst, Operated, Size};
use crate::report::milliseconds;

/// Prints the head of the table.
pub(crate) fn head() {
    println!("\nbursts of clusters with workers: until all objects stand, and for each cluster");
    println!(
        "{:>9} {:>9} {:>8} {:>7} {:>8} {:>8} {:>7} {:>5} {:>9} {:>7} {:>8}",
        "size", "who", "total/s", "ratio", "p50/ms", "p99/ms", "missing", "stuck", "requests", "cpu/s", "RSS/MiB"
    );
}

/// Prints the floor.
pub(crate) fn floor(size: Size, burst: &Burst) -> Value {
    let row = times(size, "floor", burst, burst);
    println!("\n{:>19} {}", "", burst.usage);
    row
}

/// Prints what an operator made of a burst, beside `floor`.
pub(crate) fn operated(size: Size, who: &str, operated: &Operated, floor: &Burst) -> Value {
    let mut row = times(size, who, &operated.burst, floor);
    #[expect(clippy::cast_precision_loss, reason = "small numbers")]
    let (each, mib) = {
        let clusters = size.clusters as f64;
        let per_cluster = |count: &u64| *count as f64 / clusters;
        (operated.requests.values().map(per_cluster).sum::<f64>(), operated.peak_rss_kib as f64 / 1024.0)
    };
    let (stuck, cpu) = (operated.stuck, operated.cpu.as_secs_f64());
    println!(" {stuck:>5} {each:>9.1} {cpu:>7.2} {mib:>8.1}");
    println!("{:>19} {}", "", operated.burst.usage);
    println!("{:>19} requests: {}", "", verbs(operated));
    row["stuck"] = json!(stuck);
    row["cpuSeconds"] = json!(cpu);
    row["peakRssMib"] = json!(mib);
    row["requests"] = json!(operated.requests);
    row["requestsPerCluster"] = json!(each);
    row
}

/// Prints the median of what ours took in each round, as a multiple of that round's floor.
pub(crate) fn ratios(size: Size, mut ratios: Vec<f64>) -> Value {
    ratios.sort_by(f64::total_cmp);
    let [least, median, most] = [0, ratios.len() / 2, ratios.len().saturating_sub(1)].map(|place| ratios[place]);
    let Size { clusters, workers } = size;
    println!("{:>19} ours in {} rounds: {median:.2} x the floor ({least:.2} to {most:.2})", "", ratios.len());
    json!({"clusters": clusters, "workers": workers, "who": "ours", "medianRatio": median, "ratios": ratios})
}

fn verbs(operated: &Operated) -> String {
    let verbs: Vec<String> = operated.requests.iter().map(|(verb, count)| format!("{count} {verb}")).collect();
    verbs.join(", ")
}

fn times(size: Size, who: &str, burst: &Burst, floor: &Burst) -> Value {
    let [p50, p99] = milliseconds(&burst.each);
    let (total, ratio) = (burst.total.as_secs_f64(), burst.ratio_to(floor));
    let name = format!("{}x{}", size.clusters, size.workers);
    print!("{name:>9} {who:>9} {total:>8.2} {ratio:>7.2} {p50:>8.0} {p99:>8.0} {:>7}", burst.missing);
    json!({
        "clusters": size.clusters,
        "workers": size.workers,
        "who": who,
        "seconds": total,
        "ratioToFloor": ratio,
        "p50Ms": p50,
        "p99Ms": p99,
        "missing": burst.missing,
        "components": burst.usage.json(),
    })
}
