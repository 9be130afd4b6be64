//! Many clusters at once: how soon all their objects stand, beside how soon a client that only writes these objects
//! could have written them.

mod floor;
mod made;
pub(crate) mod report;
mod template;

use std::{str::FromStr, time::Duration};

use futures::{StreamExt as _, TryStreamExt as _, stream};
use kube::api::ListParams;
use serde_json::{Value, json};

use crate::{
    Error,
    account::{Requests, since},
    components::Usage,
    lab::{Bench, Kind, Lab, PARALLEL, cluster, until},
    operator::Operator,
};
use made::Made;
pub(crate) use template::Template;

/// How long nothing may happen before what is missing counts as missing.
const STALL: Duration = Duration::from_secs(30);
/// How long the API server must have nothing to do before a round.
const SETTLE: Duration = Duration::from_secs(5);

/// So many clusters with so many workers each.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Size {
    pub(crate) clusters: usize,
    pub(crate) workers: usize,
}

/// What came of one burst.
pub(crate) struct Burst {
    /// From the first request to the last object.
    pub(crate) total: Duration,
    /// For each complete cluster, from the request to create it to its last object.
    pub(crate) each: Vec<Duration>,
    /// Objects that never came.
    pub(crate) missing: usize,
    /// What Kubernetes' own processes did in the time.
    pub(crate) usage: Usage,
}

impl Burst {
    /// How many times as long as `floor` it took.
    pub(crate) fn ratio_to(&self, floor: &Self) -> f64 {
        self.total.as_secs_f64() / floor.total.as_secs_f64()
    }
}

/// One burst with an operator.
pub(crate) struct Operated {
    pub(crate) burst: Burst,
    /// Clusters that never became `Running`.
    pub(crate) stuck: usize,
    pub(crate) cpu: Duration,
    pub(crate) peak_rss_kib: u64,
    pub(crate) requests: Requests,
}

impl FromStr for Size {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let numbers = text
            .split_once('x')
            .and_then(|(clusters, workers)| Some(Self::of(clusters.parse().ok()?, workers.parse().ok()?)));
        numbers
            .filter(|size| size.clusters > 0)
            .ok_or_else(|| "it must be clusters x workers, such as 1000x2".to_owned())
    }
}

impl Size {
    pub(crate) const fn of(clusters: usize, workers: usize) -> Self {
        Self { clusters, workers }
    }

    /// Scheduler, Service and group of each cluster, and its workers.
    fn objects(self) -> usize {
        self.clusters * (3 + self.workers)
    }

    fn names(self) -> Vec<String> {
        // A name is the part of its objects' names before the first hyphen.
        (0..self.clusters).map(|number| format!("c{number}")).collect()
    }
}

/// A cluster whose pods wait in silence: without nodes, Kubernetes' scheduler would tell of each that it finds no place,
/// which is work for everybody.
fn manifest(name: &str, workers: usize) -> Value {
    let mut manifest = cluster(name, workers);
    for part in ["scheduler", "worker"] {
        manifest["spec"][part]["spec"]["schedulerName"] = json!("nobody");
    }
    manifest
}

/// The objects of one cluster as the operator makes them.
pub(crate) async fn template(bench: &Bench, workers: usize) -> Result<Template, Error> {
    bench
        .with_lab(async |lab| {
            let _operator = lab.start().await?;
            lab.create(Kind::DaskCluster, &manifest(template::NAME, workers)).await?;
            Template::of(lab, workers).await
        })
        .await
}

/// A client that writes what `template` says, and nothing else.
pub(crate) async fn floor(bench: &Bench, size: Size, template: &Template) -> Result<Burst, Error> {
    bench
        .with_lab(async |lab| {
            let made = Made::watch(lab, size);
            tokio::time::sleep(SETTLE).await;
            let (lab, made_by) = (lab, &made.begun());
            let names = size.names();
            let writes = names.iter().map(|name| floor::write(lab, template, name, made_by));
            made.complete(STALL, stream::iter(writes).buffer_unordered(PARALLEL).try_collect()).await
        })
        .await
}

/// The operator of `bench`, while somebody creates clusters.
pub(crate) async fn operated(bench: &Bench, size: Size) -> Result<Operated, Error> {
    bench
        .with_lab(async |lab| {
            let operator = lab.start().await?;
            let made = Made::watch(lab, size);
            tokio::time::sleep(SETTLE).await;
            let (before, cpu) = (bench.account.requests().await?, operator.cpu()?);
            let begun = made.begun();
            let names = size.names();
            let creations = names.iter().map(async |name| {
                begun.note(name);
                lab.create(Kind::DaskCluster, &manifest(name, size.workers)).await
            });
            let creating = stream::iter(creations).buffer_unordered(PARALLEL).try_collect();
            let burst = made.complete(STALL, creating).await?;
            finish(lab, &operator, burst, (before, cpu)).await
        })
        .await
}

async fn finish(
    lab: &Lab<'_>,
    operator: &Operator,
    burst: Burst,
    (before, cpu): (Requests, Duration),
) -> Result<Operated, Error> {
    let stuck = stuck(lab).await?;
    Ok(Operated {
        burst,
        stuck,
        cpu: operator.cpu()?.saturating_sub(cpu),
        peak_rss_kib: operator.peak_rss()?,
        requests: since(&before, &lab.bench.account.requests().await?),
    })
}

/// Clusters that are not `Running` when nothing has changed for long.
async fn stuck(lab: &Lab<'_>) -> Result<usize, Error> {
    let (mut least, mut since) = (usize::MAX, tokio::time::Instant::now());
    until("clusters to be Running", async || {
        let clusters = lab.api(Kind::DaskCluster).list(&ListParams::default()).await?.items;
        let waiting = clusters.iter().filter(|cluster| cluster.data["status"]["phase"] != "Running").count();
        if waiting < least {
            (least, since) = (waiting, tokio::time::Instant::now());
        }
        Ok(least == 0 || since.elapsed() > STALL)
    })
    .await?;
    Ok(least)
}
