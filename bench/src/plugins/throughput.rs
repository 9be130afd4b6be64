//! How soon many subjects have their children, beside how soon a client that only writes them could.

use std::time::{Duration, Instant};

use futures::{StreamExt as _, TryStreamExt as _, stream};
use kube::api::{ListParams, Patch, PatchParams};
use serde_json::{Value, json};

use crate::{
    Error,
    lab::{Kind, Lab, PARALLEL, until},
    operator::Operator,
    plugins::plugin::{CHILDREN, Installed, Temper, names},
    requests::{self, Requests},
    sightings::Sightings,
};

/// How long the API server must have nothing to do before a round.
const SETTLE: Duration = Duration::from_secs(5);

/// What is measured.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Setup {
    pub(crate) subjects: usize,
    pub(crate) plugins: usize,
    /// One more plugin, which never answers about the same subjects.
    pub(crate) hung: bool,
    pub(crate) rounds: usize,
}

/// What came of all rounds.
pub(crate) struct Throughput {
    pub(crate) setup: Setup,
    pub(crate) rounds: Vec<Round>,
    pub(crate) peak_rss_mib: u64,
    /// All subjects asked about again, with the same answers.
    pub(crate) again: Pass,
}

/// One round.
pub(crate) struct Round {
    /// A client that makes the same writes and nothing else.
    pub(crate) floor: Duration,
    pub(crate) ours: Pass,
}

/// Once through all subjects.
pub(crate) struct Pass {
    /// From the plugins' being switched on to the last child, or to the last question.
    pub(crate) time: Duration,
    /// Processor time of the controller.
    pub(crate) cpu: Duration,
    pub(crate) requests: Requests,
}

/// Where a pass began.
struct Begun {
    at: Instant,
    cpu: Duration,
    requests: Requests,
}

/// Measures clusters that stand already.
pub(crate) async fn measure(lab: &Lab<'_>, setup: Setup) -> Result<Throughput, Error> {
    let operator = lab.start().await?;
    let clusters: Vec<String> = (0..setup.subjects).map(|number| format!("c{number}")).collect();
    lab.create_clusters(&clusters, 0).await?;
    until("stable clusters", async || is_stable(lab, setup.subjects).await).await?;
    let plugins = install(lab, setup).await?;
    let children = Sightings::of(lab.metadata(Kind::ConfigMap), CHILDREN);
    let mut rounds = Vec::with_capacity(setup.rounds);
    let mut again = None;
    for _ in 0..setup.rounds {
        tokio::time::sleep(SETTLE).await;
        let begun = Begun::now(lab, &operator).await?;
        each(&plugins, Installed::resume).await?;
        let ours = begun.until(children.until(setup.subjects * setup.plugins).await?, (lab, &operator)).await?;
        if again.is_none() {
            again = Some(ask_again(lab, &operator, (&plugins[..setup.plugins], setup.subjects)).await?);
        }
        each(&plugins, Installed::suspend).await?;
        let manifests = manifests(lab).await?;
        remove_children(lab, &children).await?;
        tokio::time::sleep(SETTLE).await;
        let floor = floor(lab, &manifests).await?;
        remove_children(lab, &children).await?;
        rounds.push(Round { floor, ours });
    }
    let again = again.ok_or_else(|| Error::Plugin("no round was measured".to_owned()))?;
    Ok(Throughput { setup, rounds, peak_rss_mib: operator.peak_rss()? / 1024, again })
}

async fn install<'a>(lab: &'a Lab<'a>, setup: Setup) -> Result<Vec<Installed<'a>>, Error> {
    let subjects = json!([{"kind": "Service", "component": "scheduler"}]);
    let mut plugins = Vec::new();
    for name in names(setup.plugins) {
        plugins.push(Installed::new(lab, &name, Temper::Quick, &subjects).await?);
    }
    if setup.hung {
        plugins.push(Installed::new(lab, "hung", Temper::Hanging, &subjects).await?);
    }
    Ok(plugins)
}

async fn each<'a>(
    plugins: &'a [Installed<'a>],
    act: impl AsyncFn(&'a Installed<'a>) -> Result<(), Error>,
) -> Result<(), Error> {
    for plugin in plugins {
        act(plugin).await?;
    }
    Ok(())
}

/// Has the plugins asked about all subjects once more, when the first time is over.
async fn ask_again(
    lab: &Lab<'_>,
    operator: &Operator,
    (plugins, subjects): (&[Installed<'_>], usize),
) -> Result<Pass, Error> {
    tokio::time::sleep(SETTLE).await;
    let before: Vec<usize> = plugins.iter().map(Installed::calls).collect();
    let begun = Begun::now(lab, operator).await?;
    for plugin in plugins {
        plugin.ask_again().await?;
    }
    until("questions", async || {
        Ok(plugins.iter().zip(&before).all(|(plugin, before)| plugin.calls() >= before + subjects))
    })
    .await?;
    let end = Instant::now();
    // What follows from the last answers is a part of it.
    tokio::time::sleep(SETTLE).await;
    begun.until(end, (lab, operator)).await
}

impl Begun {
    async fn now(lab: &Lab<'_>, operator: &Operator) -> Result<Self, Error> {
        let requests = requests::count(&lab.client).await?;
        Ok(Self { requests, cpu: operator.cpu()?, at: Instant::now() })
    }

    async fn until(self, end: Instant, (lab, operator): (&Lab<'_>, &Operator)) -> Result<Pass, Error> {
        let cpu = operator.cpu()?.saturating_sub(self.cpu);
        let requests = requests::since(&self.requests, &requests::count(&lab.client).await?);
        Ok(Pass { time: end.duration_since(self.at), cpu, requests })
    }
}

async fn is_stable(lab: &Lab<'_>, count: usize) -> Result<bool, Error> {
    let clusters = lab.api(Kind::DaskCluster).list(&ListParams::default()).await?.items;
    let running = clusters.iter().filter(|cluster| cluster.data["status"]["phase"] == "Running").count();
    let deployments = lab.api(Kind::Deployment).list(&ListParams::default()).await?.items;
    let settled = deployments.iter().filter(|deployment| deployment.data["status"]["updatedReplicas"] == 1).count();
    Ok(running == count && settled == count)
}

async fn remove_children(lab: &Lab<'_>, children: &Sightings) -> Result<(), Error> {
    lab.clear(Kind::ConfigMap, CHILDREN).await?;
    children.until(0).await?;
    Ok(())
}

/// The children as the controller writes them.
async fn manifests(lab: &Lab<'_>) -> Result<Vec<Value>, Error> {
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
async fn floor(lab: &Lab<'_>, manifests: &[Value]) -> Result<Duration, Error> {
    let api = lab.api(Kind::ConfigMap);
    let params = PatchParams::apply("dask-operator/p0").validation_strict();
    let writes = manifests.iter().map(async |manifest| {
        let name = manifest["metadata"]["name"].as_str().unwrap_or_default();
        api.patch(name, &params, &Patch::Apply(manifest)).await.map(drop)
    });
    let begin = Instant::now();
    stream::iter(writes).buffer_unordered(PARALLEL).try_collect::<()>().await?;
    Ok(begin.elapsed())
}
