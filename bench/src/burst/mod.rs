//! Measures how long an operator takes to create the objects of many DaskClusters at once, compared with a client that
//! only writes the same objects (the baseline).

mod baseline;
mod observer;
pub(crate) mod report;
mod template;

use std::{str::FromStr, time::Duration};

use futures::{StreamExt as _, TryStreamExt as _, stream};
use kube::api::ListParams;
use serde_json::{Value, json};

use crate::{
    Error,
    cluster::{BenchCluster, BenchNamespace, CONCURRENCY, Kind, cluster_manifest},
    components::Usage,
    operator::Operator,
    requests::{RequestCounts, since},
    wait::wait_until,
};
use observer::BurstObserver;
pub(crate) use template::Template;

/// Objects count as missing when none has appeared for this long.
const STALL: Duration = Duration::from_secs(30);
/// Idle time of the API server before each round.
const SETTLE: Duration = Duration::from_secs(5);

/// Number of clusters, and of workers in each.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Size {
    pub(crate) clusters: usize,
    pub(crate) workers: usize,
}

/// The result of one burst.
pub(crate) struct Burst {
    /// From the first request to the last object.
    pub(crate) total: Duration,
    /// For each complete cluster, from the request to create it to its last object.
    pub(crate) each: Vec<Duration>,
    /// Objects that did not appear.
    pub(crate) missing: usize,
    /// Usage of Kubernetes' own processes during the burst.
    pub(crate) usage: Usage,
}

impl Burst {
    /// Returns the duration as a multiple of the duration of `baseline`.
    pub(crate) fn ratio_to(&self, baseline: &Self) -> f64 {
        self.total.as_secs_f64() / baseline.total.as_secs_f64()
    }
}

/// The result of one burst with an operator.
pub(crate) struct OperatorBurst {
    pub(crate) burst: Burst,
    /// Clusters that never became `Running`.
    pub(crate) stuck: usize,
    pub(crate) cpu: Duration,
    pub(crate) peak_rss_kib: u64,
    pub(crate) requests: RequestCounts,
}

impl FromStr for Size {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let numbers = text
            .split_once('x')
            .and_then(|(clusters, workers)| Some(Self::new(clusters.parse().ok()?, workers.parse().ok()?)));
        numbers
            .filter(|size| size.clusters > 0)
            .ok_or_else(|| "it must be clusters x workers, such as 1000x2".to_owned())
    }
}

impl Size {
    pub(crate) const fn new(clusters: usize, workers: usize) -> Self {
        Self { clusters, workers }
    }

    /// Returns the number of objects: scheduler, Service, worker group and workers of each cluster.
    fn objects(self) -> usize {
        self.clusters * (3 + self.workers)
    }

    fn names(self) -> Vec<String> {
        // No hyphens: the part of an object's name before the first hyphen is the name of its cluster.
        (0..self.clusters).map(|number| format!("c{number}")).collect()
    }
}

/// Returns a DaskCluster whose pods no scheduler considers. Without nodes, Kubernetes' scheduler would report each pod as
/// unschedulable, and these writes would distort the measurement.
fn manifest(name: &str, workers: usize) -> Value {
    let mut manifest = cluster_manifest(name, workers);
    for part in ["scheduler", "worker"] {
        manifest["spec"][part]["spec"]["schedulerName"] = json!("nobody");
    }
    manifest
}

/// Reads the objects of one cluster as the operator creates them.
pub(crate) async fn template(cluster: &BenchCluster, workers: usize) -> Result<Template, Error> {
    cluster
        .with_namespace(async |namespace| {
            let _operator = namespace.start().await?;
            namespace.create(Kind::DaskCluster, &manifest(template::NAME, workers)).await?;
            Template::read(namespace, workers).await
        })
        .await
}

/// Measures the baseline: a client that writes the objects of `template`.
pub(crate) async fn baseline(cluster: &BenchCluster, size: Size, template: &Template) -> Result<Burst, Error> {
    cluster
        .with_namespace(async |namespace| {
            let observer = BurstObserver::start(namespace, size);
            tokio::time::sleep(SETTLE).await;
            let (namespace, started) = (namespace, &observer.started());
            let names = size.names();
            let writes = names.iter().map(|name| baseline::write(namespace, template, name, started));
            observer.complete(STALL, stream::iter(writes).buffer_unordered(CONCURRENCY).try_collect()).await
        })
        .await
}

/// Measures the operator of `cluster` while a client creates DaskClusters.
pub(crate) async fn operator(cluster: &BenchCluster, size: Size) -> Result<OperatorBurst, Error> {
    cluster
        .with_namespace(async |namespace| {
            let operator = namespace.start().await?;
            let observer = BurstObserver::start(namespace, size);
            tokio::time::sleep(SETTLE).await;
            let before = OperatorUsage::read(namespace, &operator).await?;
            let started = observer.started();
            let names = size.names();
            let creations = names.iter().map(async |name| {
                started.record(name);
                namespace.create(Kind::DaskCluster, &manifest(name, size.workers)).await
            });
            let creating = stream::iter(creations).buffer_unordered(CONCURRENCY).try_collect();
            let burst = observer.complete(STALL, creating).await?;
            let stuck = stuck(namespace).await?;
            let after = OperatorUsage::read(namespace, &operator).await?;
            Ok(OperatorBurst {
                burst,
                stuck,
                cpu: after.cpu.saturating_sub(before.cpu),
                peak_rss_kib: operator.peak_rss()?,
                requests: since(&before.requests, &after.requests),
            })
        })
        .await
}

/// Requests and CPU time of an operator at one moment.
struct OperatorUsage {
    requests: RequestCounts,
    cpu: Duration,
}

impl OperatorUsage {
    async fn read(namespace: &BenchNamespace<'_>, operator: &Operator) -> Result<Self, Error> {
        Ok(Self { requests: namespace.cluster.account.requests().await?, cpu: operator.cpu()? })
    }
}

/// Waits until all clusters are `Running`, or until their number has not changed for [`STALL`]. Returns how many are not.
async fn stuck(namespace: &BenchNamespace<'_>) -> Result<usize, Error> {
    let (mut fewest, mut since) = (usize::MAX, tokio::time::Instant::now());
    wait_until("clusters to be Running", async || {
        let clusters = namespace.api(Kind::DaskCluster).list(&ListParams::default()).await?.items;
        let waiting = clusters.iter().filter(|cluster| cluster.data["status"]["phase"] != "Running").count();
        if waiting < fewest {
            (fewest, since) = (waiting, tokio::time::Instant::now());
        }
        Ok(fewest == 0 || since.elapsed() > STALL)
    })
    .await?;
    Ok(fewest)
}
