//! Tables of what plugins cost.

use serde_json::{Value, json};

use super::{
    hang::Hang,
    latency::Latency,
    throughput::{Setup, Throughput},
};
use crate::report::{median, milliseconds, seconds};

/// Prints how long many children took.
pub(crate) fn throughput(measured: &Throughput) -> Value {
    let Setup { subjects, plugins, hung, .. } = measured.setup;
    let beside = if hung { ", and one that hangs beside them" } else { "" };
    println!("\n{subjects} subjects, {plugins} plugins with a child for each{beside}; a call takes 1 ms");
    println!(
        "{:>8} {:>9} {:>9} {:>7} {:>12} {:>11}",
        "round", "floor/s", "ours/s", "ratio", "children/s", "controller/s"
    );
    let floor = median(measured.rounds.iter().map(|round| round.floor).collect());
    let ours = median(measured.rounds.iter().map(|round| round.ours.time).collect());
    let cpu = median(measured.rounds.iter().map(|round| round.ours.cpu).collect());
    let rows = measured.rounds.iter().enumerate();
    let rows = rows.map(|(number, round)| ((number + 1).to_string(), [round.floor, round.ours.time, round.ours.cpu]));
    for (name, times) in rows.chain([("median".to_owned(), [floor, ours, cpu])]) {
        let [floor, ours, cpu] = times.map(|time| time.as_secs_f64());
        let pace = rate(subjects * plugins, ours);
        println!("{name:>8} {floor:>9.2} {ours:>9.2} {:>7.2} {pace:>12.0} {cpu:>11.2}", ours / floor);
    }
    let again = &measured.again;
    let (again_time, again_cpu) = (again.time.as_secs_f64(), again.cpu.as_secs_f64());
    println!(
        "all asked about again, nothing to change: {again_time:.2} s, {again_cpu:.2} CPU seconds, {:?}",
        again.requests
    );
    println!("peak memory of the controller: {} MiB; requests of the last round:", measured.peak_rss_mib);
    let requests = measured.rounds.last().map(|round| round.ours.requests.clone()).unwrap_or_default();
    for (call, count) in &requests {
        println!("{count:>8} {call}");
    }
    json!({
        "subjects": subjects,
        "plugins": plugins,
        "hung": hung,
        "floorSeconds": seconds(measured.rounds.iter().map(|round| round.floor)),
        "oursSeconds": seconds(measured.rounds.iter().map(|round| round.ours.time)),
        "controllerCpuSeconds": seconds(measured.rounds.iter().map(|round| round.ours.cpu)),
        "ratio": ours.as_secs_f64() / floor.as_secs_f64(),
        "childrenPerSecond": rate(subjects * plugins, ours.as_secs_f64()),
        "peakRssMib": measured.peak_rss_mib,
        "requests": requests,
        "again": {"seconds": again_time, "cpuSeconds": again_cpu, "requests": again.requests},
    })
}

#[expect(clippy::cast_precision_loss, reason = "small numbers")]
fn rate(count: usize, seconds: f64) -> f64 {
    count as f64 / seconds
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
    let (clusters, plugins) = (measured.subject.len(), measured.plugins);
    println!("\none cluster after the other, {clusters} each, {plugins} plugins: milliseconds after its creation");
    println!("{:>24} {:>8} {:>8}", "", "p50", "p99");
    let rows = [
        ("Service, no plugin", "subjectAlone", &measured.subject_alone),
        ("Service, plugin", "subject", &measured.subject),
        ("child", "child", &measured.child),
        ("child after its Service", "added", &measured.added),
    ];
    let mut document = json!({"clusters": clusters, "plugins": plugins});
    for (title, key, values) in rows {
        let [p50, p99] = milliseconds(values);
        println!("{title:>24} {p50:>8.1} {p99:>8.1}");
        document[key] = json!({"p50Ms": p50, "p99Ms": p99});
    }
    document
}
