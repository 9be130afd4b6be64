//! Whether clusters are made as soon while a plugin hangs.

use std::time::{Duration, Instant};

use serde_json::json;

use crate::{
    Error,
    lab::{Kind, Lab, until},
    plugins::plugin::{Installed, Temper},
    sightings::Sightings,
};

/// What came of all rounds.
pub(crate) struct Hang {
    pub(crate) clusters: usize,
    /// Time until all components stand, without and with a plugin that hangs.
    pub(crate) rounds: Vec<(Duration, Duration)>,
}

/// Measures `rounds` rounds, each with so many clusters without a plugin and with one that hangs, in turn.
pub(crate) async fn measure(lab: &Lab<'_>, clusters: usize, rounds: usize) -> Result<Hang, Error> {
    let subjects = json!([
        {"kind": "DaskCluster"}, {"kind": "DaskWorkerGroup"}, {"kind": "Service"}, {"kind": "Deployment"},
    ]);
    let _operator = lab.start().await?;
    let plugin = Installed::new(lab, "hanging", Temper::Hanging, &subjects).await?;
    let mut measured = Vec::with_capacity(rounds);
    // The first clusters of a process pay for its connections.
    create(lab, clusters.min(10)).await?;
    for _ in 0..rounds {
        let without = create(lab, clusters).await?;
        plugin.resume().await?;
        plugin.ready().await?;
        let with = create(lab, clusters).await?;
        plugin.suspend().await?;
        measured.push((without, with));
    }
    Ok(Hang { clusters, rounds: measured })
}

/// Creates clusters with one worker each, and removes them; the time until all their components stood.
async fn create(lab: &Lab<'_>, count: usize) -> Result<Duration, Error> {
    let names: Vec<String> = (0..count).map(|number| format!("c{number}")).collect();
    let components = [
        (Sightings::of(lab.metadata(Kind::Service), "dask.org/component"), count),
        (Sightings::of(lab.metadata(Kind::DaskWorkerGroup), ""), count),
        (Sightings::of(lab.metadata(Kind::Deployment), "dask.org/component"), 2 * count),
    ];
    let begin = Instant::now();
    lab.create_clusters(&names, 1).await?;
    let mut last = begin;
    for (sightings, count) in &components {
        last = last.max(sightings.until(*count).await?);
    }
    until("complete clusters", async || {
        let clusters = lab.api(Kind::DaskCluster).list(&kube::api::ListParams::default()).await?.items;
        Ok(clusters.iter().all(|cluster| cluster.data["status"]["phase"] == "Running"))
    })
    .await?;
    lab.clear(Kind::DaskCluster, "").await?;
    for (sightings, _) in &components {
        sightings.until(0).await?;
    }
    Ok(last - begin)
}
