//! Prints the tables of the measurements with plugins.

use serde_json::{Value, json};

use super::{
    hang::HangResult,
    latency::Latency,
    throughput::{Setup, Throughput},
};
use crate::report::{median, milliseconds, seconds};

/// Prints how long it took to create many children.
pub(crate) fn throughput(measured: &Throughput) -> Value {
    let Setup { subjects, plugins, hung, .. } = measured.setup;
    let hanging = if hung { ", and a plugin that hangs" } else { "" };
    println!("\n{subjects} subjects, {plugins} plugins with a child for each{hanging}; plugins respond after 1 ms");
    println!(
        "{:>8} {:>10} {:>9} {:>7} {:>12} {:>17}",
        "round", "baseline/s", "ours/s", "ratio", "children/s", "controller CPU/s"
    );
    let baseline = median(measured.rounds.iter().map(|round| round.baseline).collect());
    let ours = median(measured.rounds.iter().map(|round| round.ours.time).collect());
    let cpu = median(measured.rounds.iter().map(|round| round.ours.cpu).collect());
    let rows = measured.rounds.iter().enumerate();
    let rows =
        rows.map(|(number, round)| ((number + 1).to_string(), [round.baseline, round.ours.time, round.ours.cpu]));
    for (name, times) in rows.chain([("median".to_owned(), [baseline, ours, cpu])]) {
        let [baseline, ours, cpu] = times.map(|time| time.as_secs_f64());
        let throughput = rate(subjects * plugins, ours);
        println!("{name:>8} {baseline:>10.2} {ours:>9.2} {:>7.2} {throughput:>12.0} {cpu:>17.2}", ours / baseline);
    }
    let resync = &measured.resync;
    let (resync_time, resync_cpu) = (resync.time.as_secs_f64(), resync.cpu.as_secs_f64());
    println!(
        "resync of all subjects, without changes: {resync_time:.2} s, {resync_cpu:.2} CPU seconds, {:?}",
        resync.requests
    );
    println!("peak RSS of the controller: {} MiB; requests of the last round:", measured.peak_rss_mib);
    let requests = measured.rounds.last().map(|round| round.ours.requests.clone()).unwrap_or_default();
    for (call, count) in &requests {
        println!("{count:>8} {call}");
    }
    json!({
        "subjects": subjects,
        "plugins": plugins,
        "hung": hung,
        "baselineSeconds": seconds(measured.rounds.iter().map(|round| round.baseline)),
        "oursSeconds": seconds(measured.rounds.iter().map(|round| round.ours.time)),
        "controllerCpuSeconds": seconds(measured.rounds.iter().map(|round| round.ours.cpu)),
        "ratio": ours.as_secs_f64() / baseline.as_secs_f64(),
        "childrenPerSecond": rate(subjects * plugins, ours.as_secs_f64()),
        "peakRssMib": measured.peak_rss_mib,
        "requests": requests,
        "resync": {"seconds": resync_time, "cpuSeconds": resync_cpu, "requests": resync.requests},
    })
}

#[expect(clippy::cast_precision_loss, reason = "small numbers")]
fn rate(count: usize, seconds: f64) -> f64 {
    count as f64 / seconds
}

/// Prints how long it took to create clusters without a plugin, and with a plugin that hangs.
pub(crate) fn hang(measured: &HangResult) -> Value {
    println!("\n{} clusters with all their components, without a plugin and with one that hangs", measured.clusters);
    println!("{:>8} {:>10} {:>10} {:>7}", "round", "without/s", "hanging/s", "ratio");
    for (number, round) in measured.rounds.iter().enumerate() {
        let (without, with) = (round.without_plugin.as_secs_f64(), round.hanging_plugin.as_secs_f64());
        println!("{:>8} {without:>10.2} {with:>10.2} {:>7.2}", number + 1, with / without);
    }
    let without = median(measured.rounds.iter().map(|round| round.without_plugin).collect()).as_secs_f64();
    let with = median(measured.rounds.iter().map(|round| round.hanging_plugin).collect()).as_secs_f64();
    println!("{:>8} {without:>10.2} {with:>10.2} {:>7.2}", "median", with / without);
    json!({
        "clusters": measured.clusters,
        "withoutSeconds": seconds(measured.rounds.iter().map(|round| round.without_plugin)),
        "hangingSeconds": seconds(measured.rounds.iter().map(|round| round.hanging_plugin)),
        "ratio": with / without,
    })
}

/// Prints how soon the subject and the child of a new cluster existed.
pub(crate) fn latency(measured: &Latency) -> Value {
    let (clusters, plugins) = (measured.subject.len(), measured.plugins);
    println!(
        "\none cluster after the other, {clusters} each, {plugins} plugins: milliseconds after the request to create it"
    );
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
