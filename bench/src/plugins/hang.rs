//! Measures whether clusters are created as fast while a plugin hangs.

use std::time::{Duration, Instant};

use serde_json::json;

use crate::{
    Error,
    cluster::{BenchNamespace, Kind},
    plugins::plugin::{Behaviour, InstalledPlugin},
    wait::wait_until,
    watch_latency::WatchLatency,
};

/// The result of all rounds.
pub(crate) struct HangResult {
    pub(crate) clusters: usize,
    pub(crate) rounds: Vec<HangRound>,
}

/// The time until all components exist.
pub(crate) struct HangRound {
    pub(crate) without_plugin: Duration,
    pub(crate) hanging_plugin: Duration,
}

/// Runs `rounds` rounds. Each creates `clusters` clusters without a plugin, and as many with a plugin that hangs.
pub(crate) async fn measure(
    namespace: &BenchNamespace<'_>,
    clusters: usize,
    rounds: usize,
) -> Result<HangResult, Error> {
    let subjects = json!([
        {"kind": "DaskCluster"}, {"kind": "DaskWorkerGroup"}, {"kind": "Service"}, {"kind": "Deployment"},
    ]);
    let _operator = namespace.start().await?;
    let plugin = InstalledPlugin::new(namespace, "hanging", Behaviour::Hanging, &subjects).await?;
    let mut measured = Vec::with_capacity(rounds);
    // Warm-up: the first clusters of a process include the set-up of its connections.
    create(namespace, clusters.min(10)).await?;
    for _ in 0..rounds {
        let without_plugin = create(namespace, clusters).await?;
        plugin.resume().await?;
        plugin.wait_until_ready().await?;
        let hanging_plugin = create(namespace, clusters).await?;
        plugin.suspend().await?;
        measured.push(HangRound { without_plugin, hanging_plugin });
    }
    Ok(HangResult { clusters, rounds: measured })
}

/// Creates clusters with one worker each, and deletes them again. Returns the time until all components existed.
async fn create(namespace: &BenchNamespace<'_>, count: usize) -> Result<Duration, Error> {
    let names: Vec<String> = (0..count).map(|number| format!("c{number}")).collect();
    let components = [
        (WatchLatency::start(namespace.metadata(Kind::Service), "dask.org/component"), count),
        (WatchLatency::start(namespace.metadata(Kind::DaskWorkerGroup), ""), count),
        (WatchLatency::start(namespace.metadata(Kind::Deployment), "dask.org/component"), 2 * count),
    ];
    let begin = Instant::now();
    namespace.create_clusters(&names, 1).await?;
    let mut last = begin;
    for (watch, count) in &components {
        last = last.max(watch.wait_for_count(*count).await?);
    }
    wait_until("clusters to be Running", async || {
        let clusters = namespace.api(Kind::DaskCluster).list(&kube::api::ListParams::default()).await?.items;
        Ok(clusters.iter().all(|cluster| cluster.data["status"]["phase"] == "Running"))
    })
    .await?;
    namespace.clear(Kind::DaskCluster, "").await?;
    for (watch, _) in &components {
        watch.wait_for_count(0).await?;
    }
    Ok(last - begin)
}
