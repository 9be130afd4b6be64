//! How soon many subjects have their children, beside how soon a client that only writes them could.

use std::time::{Duration, Instant};

use futures::{StreamExt as _, TryStreamExt as _, stream};
use kube::api::{ListParams, Patch, PatchParams};
use serde_json::{Value, json};

use crate::{
    Error,
    lab::{Kind, Lab, PARALLEL, until},
    plugin::{CHILDREN, Installed, Temper},
    requests::{self, Requests},
    sightings::Sightings,
};

/// How long the API server must have nothing to do before a round.
const SETTLE: Duration = Duration::from_secs(5);

/// What came of all rounds.
pub(crate) struct Throughput {
    pub(crate) subjects: usize,
    pub(crate) rounds: Vec<Round>,
    pub(crate) peak_rss_mib: u64,
}

/// One round.
pub(crate) struct Round {
    /// A client that makes the same writes and nothing else.
    pub(crate) floor: Duration,
    /// From the plugin's being switched on to its last child.
    pub(crate) ours: Duration,
    /// Processor time of the controller.
    pub(crate) cpu: Duration,
    pub(crate) requests: Requests,
}

/// Measures `rounds` rounds with `subjects` clusters that stand already.
pub(crate) async fn measure(lab: &Lab, subjects: usize, rounds: usize) -> Result<Throughput, Error> {
    let names: Vec<String> = (0..subjects).map(|number| format!("c{number}")).collect();
    lab.create_clusters(&names, 0).await?;
    until("stable clusters", async || is_stable(lab, subjects).await).await?;
    let subjects_of_plugin = json!([{"kind": "Service", "component": "scheduler"}]);
    let plugin = Installed::new(lab, Temper::Quick, subjects_of_plugin).await?;
    let children = Sightings::of(lab.metadata(Kind::ConfigMap), CHILDREN);
    let mut measured = Vec::with_capacity(rounds);
    for _ in 0..rounds {
        tokio::time::sleep(SETTLE).await;
        let (requests, cpu, begin) = (requests::count(&lab.client).await?, lab.controller.cpu()?, Instant::now());
        plugin.resume().await?;
        let ours = children.until(subjects).await? - begin;
        let cpu = lab.controller.cpu()?.saturating_sub(cpu);
        let requests = requests::since(&requests, &requests::count(&lab.client).await?);
        plugin.suspend().await?;
        let manifests = manifests(lab).await?;
        remove_children(lab, &children).await?;
        tokio::time::sleep(SETTLE).await;
        let floor = floor(lab, &manifests).await?;
        remove_children(lab, &children).await?;
        measured.push(Round { floor, ours, cpu, requests });
    }
    Ok(Throughput { subjects, rounds: measured, peak_rss_mib: lab.controller.peak_rss()? })
}

async fn is_stable(lab: &Lab, count: usize) -> Result<bool, Error> {
    let clusters = lab.api(Kind::DaskCluster).list(&ListParams::default()).await?.items;
    let running = clusters.iter().filter(|cluster| cluster.data["status"]["phase"] == "Running").count();
    let deployments = lab.api(Kind::Deployment).list(&ListParams::default()).await?.items;
    let settled = deployments.iter().filter(|deployment| deployment.data["status"]["updatedReplicas"] == 1).count();
    Ok(running == count && settled == count)
}

async fn remove_children(lab: &Lab, children: &Sightings) -> Result<(), Error> {
    lab.clear(Kind::ConfigMap, CHILDREN).await?;
    children.until(0).await?;
    Ok(())
}

/// The children as the controller writes them.
async fn manifests(lab: &Lab) -> Result<Vec<Value>, Error> {
    let children = lab.api(Kind::ConfigMap).list(&ListParams::default().labels(CHILDREN)).await?;
    let written = |child: &kube::api::DynamicObject| {
        let metadata = &child.metadata;
        json!({
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": {
                "name": metadata.name,
                "namespace": metadata.namespace,
                "labels": metadata.labels,
                "ownerReferences": metadata.owner_references,
            },
            "data": child.data["data"],
        })
    };
    Ok(children.items.iter().map(written).collect())
}

/// Writes `manifests` as the controller does.
async fn floor(lab: &Lab, manifests: &[Value]) -> Result<Duration, Error> {
    let api = lab.api(Kind::ConfigMap);
    let params = PatchParams::apply("dask-operator/bench").validation_strict();
    let writes = manifests.iter().map(async |manifest| {
        let name = manifest["metadata"]["name"].as_str().unwrap_or_default();
        api.patch(name, &params, &Patch::Apply(manifest)).await.map(drop)
    });
    let begin = Instant::now();
    stream::iter(writes).buffer_unordered(PARALLEL).try_collect::<()>().await?;
    Ok(begin.elapsed())
}
