//! Tables for people, and the same for programs.

use std::time::Duration;

use serde_json::{Value, json};

use crate::{Error, hang::Hang, latency::Latency, throughput::Throughput};

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
    });
    println!("{} cores, {}, {}", machine["cores"], machine["processor"], machine["memory"]);
    Ok(machine)
}

/// Prints how long many children took.
pub(crate) fn throughput(measured: &Throughput) -> Value {
    println!("\n{} subjects, one child each; a call takes 1 ms", measured.subjects);
    println!("{:>8} {:>9} {:>9} {:>7} {:>12}", "round", "floor/s", "ours/s", "ratio", "controller/s");
    for (number, round) in measured.rounds.iter().enumerate() {
        let (floor, ours, cpu) = (round.floor.as_secs_f64(), round.ours.as_secs_f64(), round.cpu.as_secs_f64());
        println!("{:>8} {floor:>9.2} {ours:>9.2} {:>7.2} {cpu:>12.2}", number + 1, ours / floor);
    }
    let floor = median(measured.rounds.iter().map(|round| round.floor).collect());
    let ours = median(measured.rounds.iter().map(|round| round.ours).collect());
    let cpu = median(measured.rounds.iter().map(|round| round.cpu).collect());
    let ratio = ours.as_secs_f64() / floor.as_secs_f64();
    println!(
        "{:>8} {:>9.2} {:>9.2} {ratio:>7.2} {:>12.2}",
        "median",
        floor.as_secs_f64(),
        ours.as_secs_f64(),
        cpu.as_secs_f64()
    );
    println!("peak memory of the controller: {} MiB; requests of the last round:", measured.peak_rss_mib);
    let requests = measured.rounds.last().map(|round| round.requests.clone()).unwrap_or_default();
    for (call, count) in &requests {
        println!("{count:>8} {call}");
    }
    json!({
        "subjects": measured.subjects,
        "floorSeconds": seconds(measured.rounds.iter().map(|round| round.floor)),
        "oursSeconds": seconds(measured.rounds.iter().map(|round| round.ours)),
        "controllerCpuSeconds": seconds(measured.rounds.iter().map(|round| round.cpu)),
        "ratio": ratio,
        "peakRssMib": measured.peak_rss_mib,
        "requests": requests,
    })
}

/// Prints what a plugin that hangs does to clusters.
pub(crate) fn hang(measured: &Hang) -> Value {
    println!("\n{} clusters with all their components, without a plugin and with one that hangs", measured.clusters);
    println!("{:>8} {:>10} {:>10} {:>7}", "round", "without/s", "hanging/s", "ratio");
    for (number, (without, with)) in measured.rounds.iter().enumerate() {
        let (without, with) = (without.as_secs_f64(), with.as_secs_f64());
        println!("{:>8} {without:>10.2} {with:>10.2} {:>7.2}", number + 1, with / without);
    }
    let without = median(measured.rounds.iter().map(|round| round.0).collect()).as_secs_f64();
    let with = median(measured.rounds.iter().map(|round| round.1).collect()).as_secs_f64();
    println!("{:>8} {without:>10.2} {with:>10.2} {:>7.2}", "median", with / without);
    json!({
        "clusters": measured.clusters,
        "withoutSeconds": seconds(measured.rounds.iter().map(|round| round.0)),
        "hangingSeconds": seconds(measured.rounds.iter().map(|round| round.1)),
        "ratio": with / without,
    })
}

/// Prints how soon a child stands.
pub(crate) fn latency(measured: &Latency) -> Value {
    println!("\none cluster after the other, {} each: milliseconds after its creation", measured.child.len());
    println!("{:>24} {:>8} {:>8}", "", "p50", "p99");
    let rows = [
        ("Service, no plugin", "subjectAlone", &measured.subject_alone),
        ("Service, plugin", "subject", &measured.subject),
        ("child", "child", &measured.child),
        ("child after its Service", "added", &measured.added),
    ];
    let mut document = json!({"clusters": measured.child.len()});
    for (title, key, values) in rows {
        let milliseconds = |share| percentile(values.clone(), share).as_secs_f64() * 1000.0;
        let (p50, p99) = (milliseconds(50), milliseconds(99));
        println!("{title:>24} {p50:>8.1} {p99:>8.1}");
        document[key] = json!({"p50Ms": p50, "p99Ms": p99});
    }
    document
}

fn median(values: Vec<Duration>) -> Duration {
    percentile(values, 50)
}

/// The smallest value that `share` percent of `values` do not exceed.
fn percentile(mut values: Vec<Duration>, share: usize) -> Duration {
    values.sort();
    let index = (values.len() * share).div_ceil(100).saturating_sub(1);
    values.get(index).copied().unwrap_or_default()
}

fn seconds(values: impl Iterator<Item = Duration>) -> Vec<f64> {
    values.map(|value| value.as_secs_f64()).collect()
}
