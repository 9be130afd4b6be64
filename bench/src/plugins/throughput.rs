//! Measures how long it takes to create the children of many subjects, compared with a client that only writes the same
//! children (the baseline).

use std::time::{Duration, Instant};

use futures::{StreamExt as _, TryStreamExt as _, stream};
use kube::api::{ListParams, Patch, PatchParams};
use serde_json::{Value, json};

use crate::{
    Error,
    cluster::{BenchNamespace, CONCURRENCY, Kind},
    operator::Operator,
    plugins::plugin::{Behaviour, CHILD_SELECTOR, InstalledPlugin, names},
    requests::{self, RequestCounts},
    wait::wait_until,
    watch_latency::WatchLatency,
};

/// Idle time of the API server before each round.
const SETTLE: Duration = Duration::from_secs(5);

/// The parameters of the measurement.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Setup {
    pub(crate) subjects: usize,
    pub(crate) plugins: usize,
    /// Whether there is one more plugin for the same subjects, which never responds.
    pub(crate) hung: bool,
    pub(crate) rounds: usize,
}

/// The result of all rounds.
pub(crate) struct Throughput {
    pub(crate) setup: Setup,
    pub(crate) rounds: Vec<Round>,
    pub(crate) peak_rss_mib: u64,
    /// The plugins are asked about all subjects again, and give the same answers.
    pub(crate) resync: Pass,
}

/// The result of one round.
pub(crate) struct Round {
    /// The time that the baseline client takes.
    pub(crate) baseline: Duration,
    pub(crate) ours: Pass,
}

/// The cost of handling every subject once.
pub(crate) struct Pass {
    /// From resuming the plugins to the last child, or from the change of settings to the last Sync request.
    pub(crate) time: Duration,
    /// CPU time of the controller.
    pub(crate) cpu: Duration,
    pub(crate) requests: RequestCounts,
}

/// Time and usage at the start of a pass.
struct PassStart {
    at: Instant,
    cpu: Duration,
    requests: RequestCounts,
}

/// Creates the clusters and then measures `setup.rounds` rounds.
pub(crate) async fn measure(namespace: &BenchNamespace<'_>, setup: Setup) -> Result<Throughput, Error> {
    let operator = namespace.start().await?;
    let clusters: Vec<String> = (0..setup.subjects).map(|number| format!("c{number}")).collect();
    namespace.create_clusters(&clusters, 0).await?;
    wait_until("stable clusters", async || is_stable(namespace, setup.subjects).await).await?;
    let plugins = install(namespace, setup).await?;
    let children = WatchLatency::start(namespace.metadata(Kind::ConfigMap), CHILD_SELECTOR);
    let mut rounds = Vec::with_capacity(setup.rounds);
    let mut resynced = None;
    for _ in 0..setup.rounds {
        tokio::time::sleep(SETTLE).await;
        let start = PassStart::now(namespace, &operator).await?;
        for_each(&plugins, InstalledPlugin::resume).await?;
        let last_child = children.wait_for_count(setup.subjects * setup.plugins).await?;
        let ours = start.finish(last_child, namespace, &operator).await?;
        if resynced.is_none() {
            resynced = Some(resync(namespace, &operator, &plugins[..setup.plugins], setup.subjects).await?);
        }
        for_each(&plugins, InstalledPlugin::suspend).await?;
        let manifests = manifests(namespace).await?;
        remove_children(namespace, &children).await?;
        tokio::time::sleep(SETTLE).await;
        let baseline = baseline(namespace, &manifests).await?;
        remove_children(namespace, &children).await?;
        rounds.push(Round { baseline, ours });
    }
    let resync = resynced.ok_or_else(|| Error::Plugin("no round was measured".to_owned()))?;
    Ok(Throughput { setup, rounds, peak_rss_mib: operator.peak_rss()? / 1024, resync })
}

async fn install<'a>(namespace: &'a BenchNamespace<'a>, setup: Setup) -> Result<Vec<InstalledPlugin<'a>>, Error> {
    let subjects = json!([{"kind": "Service", "component": "scheduler"}]);
    let mut plugins = Vec::new();
    for name in names(setup.plugins) {
        plugins.push(InstalledPlugin::new(namespace, &name, Behaviour::Responsive, &subjects).await?);
    }
    if setup.hung {
        plugins.push(InstalledPlugin::new(namespace, "hung", Behaviour::Hanging, &subjects).await?);
    }
    Ok(plugins)
}

async fn for_each<'a>(
    plugins: &'a [InstalledPlugin<'a>],
    act: impl AsyncFn(&'a InstalledPlugin<'a>) -> Result<(), Error>,
) -> Result<(), Error> {
    for plugin in plugins {
        act(plugin).await?;
    }
    Ok(())
}

/// Measures a resync of `subjects` subjects by each of `plugins`. Waits first until the pass before it is over.
async fn resync(
    namespace: &BenchNamespace<'_>,
    operator: &Operator,
    plugins: &[InstalledPlugin<'_>],
    subjects: usize,
) -> Result<Pass, Error> {
    tokio::time::sleep(SETTLE).await;
    let before: Vec<usize> = plugins.iter().map(InstalledPlugin::calls).collect();
    let start = PassStart::now(namespace, operator).await?;
    for plugin in plugins {
        plugin.resync().await?;
    }
    wait_until("Sync requests for all subjects", async || {
        Ok(plugins.iter().zip(&before).all(|(plugin, before)| plugin.calls() >= before + subjects))
    })
    .await?;
    let end = Instant::now();
    // Requests and CPU time include the handling of the last responses.
    tokio::time::sleep(SETTLE).await;
    start.finish(end, namespace, operator).await
}

impl PassStart {
    async fn now(namespace: &BenchNamespace<'_>, operator: &Operator) -> Result<Self, Error> {
        let requests = requests::count(&namespace.client).await?;
        Ok(Self { requests, cpu: operator.cpu()?, at: Instant::now() })
    }

    async fn finish(self, end: Instant, namespace: &BenchNamespace<'_>, operator: &Operator) -> Result<Pass, Error> {
        let cpu = operator.cpu()?.saturating_sub(self.cpu);
        let requests = requests::since(&self.requests, &requests::count(&namespace.client).await?);
        Ok(Pass { time: end.duration_since(self.at), cpu, requests })
    }
}

/// Returns whether all clusters are running and their Deployments up to date.
async fn is_stable(namespace: &BenchNamespace<'_>, count: usize) -> Result<bool, Error> {
    let clusters = namespace.api(Kind::DaskCluster).list(&ListParams::default()).await?.items;
    let running = clusters.iter().filter(|cluster| cluster.data["status"]["phase"] == "Running").count();
    let deployments = namespace.api(Kind::Deployment).list(&ListParams::default()).await?.items;
    let settled = deployments.iter().filter(|deployment| deployment.data["status"]["updatedReplicas"] == 1).count();
    Ok(running == count && settled == count)
}

async fn remove_children(namespace: &BenchNamespace<'_>, children: &WatchLatency) -> Result<(), Error> {
    namespace.clear(Kind::ConfigMap, CHILD_SELECTOR).await?;
    children.wait_for_count(0).await?;
    Ok(())
}

/// Returns the children as the controller wrote them.
async fn manifests(namespace: &BenchNamespace<'_>) -> Result<Vec<Value>, Error> {
    let children = namespace.api(Kind::ConfigMap).list(&ListParams::default().labels(CHILD_SELECTOR)).await?;
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

/// Writes `manifests` with the concurrency of the controller. Returns the time it took.
async fn baseline(namespace: &BenchNamespace<'_>, manifests: &[Value]) -> Result<Duration, Error> {
    let api = namespace.api(Kind::ConfigMap);
    let params = PatchParams::apply("dask-operator/p0").validation_strict();
    let writes = manifests.iter().map(async |manifest| {
        let name = manifest["metadata"]["name"].as_str().unwrap_or_default();
        api.patch(name, &params, &Patch::Apply(manifest)).await.map(drop)
    });
    let begin = Instant::now();
    stream::iter(writes).buffer_unordered(CONCURRENCY).try_collect::<()>().await?;
    Ok(begin.elapsed())
}
