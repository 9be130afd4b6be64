//! Many clusters that have nothing to do: what it costs to watch them, and how soon a new controller knows them.

use std::time::{Duration, Instant};

use futures::{StreamExt as _, TryStreamExt as _, stream};
use kube::api::ListParams;
use serde_json::{Value, json};

use crate::{
    Error,
    account::{Requests, since},
    components::Usage,
    fleet::Fleet,
    lab::{Kind, Lab, PARALLEL, until, until_every},
    operator::Operator,
};

/// Workers of each cluster.
const WORKERS: u64 = 2;
/// For ours to write what is left, and for Kubernetes' controllers to come to rest.
const SETTLE: Duration = Duration::from_secs(30);
const POLL: Duration = Duration::from_millis(20);
/// How often a scheduler is asked whose pod is ready, and what: since when it is idle, for the time-out; which workers it
/// has and how many it wants, for the autoscaler.
const ASKED_EACH: Duration = Duration::from_secs(5);
const QUESTIONS: usize = 3;

/// What came of it.
pub(crate) struct Steady {
    pub(crate) clusters: usize,
    pub(crate) time: Duration,
    pub(crate) cpu: Duration,
    pub(crate) requests: Requests,
    /// What Kubernetes' own processes did in the time.
    pub(crate) usage: Usage,
    /// Questions to schedulers in the time.
    pub(crate) questions: usize,
    /// Without a cluster, with all, after a new start with all, and the most then.
    pub(crate) rss_kib: [u64; 4],
    pub(crate) cold: Cold,
}

/// Since a controller was started among clusters that stand.
pub(crate) struct Cold {
    /// All watches have delivered.
    pub(crate) synced: Duration,
    /// The first scheduler is asked, which is part of the first reconciliation of its cluster.
    pub(crate) first: Duration,
    /// All schedulers have been asked.
    pub(crate) all: Duration,
    pub(crate) cpu: Duration,
    pub(crate) requests: Requests,
}

/// Measures so many clusters for so long.
pub(crate) async fn measure(lab: &Lab<'_>, clusters: usize, time: Duration) -> Result<Steady, Error> {
    let names: Vec<String> = (0..clusters).map(|number| format!("c{number}")).collect();
    let fleet = Fleet::start(lab, &names).await;
    fleet.desire(WORKERS);
    let operator = lab.start().await?;
    tokio::time::sleep(Duration::from_secs(3)).await;
    let empty = operator.rss()?;
    populate(lab, &fleet, &names).await?;
    tokio::time::sleep(SETTLE).await;
    let account = &lab.bench.account;
    let (requests, cpu, asked) = (account.requests().await?, operator.cpu()?, total(&fleet));
    let usage = lab.bench.components.usage()?;
    tokio::time::sleep(time).await;
    let usage = lab.bench.components.usage()?.since(&usage);
    let cpu = operator.cpu()?.saturating_sub(cpu);
    let requests = since(&requests, &account.requests().await?);
    let (questions, full) = (total(&fleet) - asked, operator.rss()?);
    awake(questions, clusters, time)?;
    operator.kill().await?;
    let (cold, operator) = cold_start(lab, &fleet).await?;
    tokio::time::sleep(SETTLE).await;
    let rss_kib = [empty, full, operator.rss()?, operator.peak_rss()?];
    Ok(Steady { clusters, time, cpu, requests, usage, questions, rss_kib, cold })
}

/// Clusters that nobody asks cost nothing, and are not what is to be measured.
fn awake(asked: usize, clusters: usize, time: Duration) -> Result<(), Error> {
    let passes = usize::try_from(time.as_secs() / ASKED_EACH.as_secs()).unwrap_or_default();
    let due = QUESTIONS * clusters * passes;
    if asked * 2 < due { Err(Error::Asleep { asked, due }) } else { Ok(()) }
}

fn total(fleet: &Fleet) -> usize {
    fleet.questions().iter().sum()
}

/// All clusters with their autoscalers, until all their workers are connected.
async fn populate(lab: &Lab<'_>, fleet: &Fleet, names: &[String]) -> Result<(), Error> {
    let creations = names.iter().map(async |name| {
        let mut cluster = fleet.manifest(name, 2);
        cluster["spec"]["idleTimeout"] = json!(86_400);
        lab.create(Kind::DaskCluster, &cluster).await?;
        let autoscaler = json!({
            "apiVersion": "kubernetes.dask.org/v1",
            "kind": "DaskAutoscaler",
            "metadata": {"name": name},
            "spec": {"cluster": name, "minimum": 1, "maximum": 10},
        });
        lab.create(Kind::DaskAutoscaler, &autoscaler).await
    });
    stream::iter(creations).buffer_unordered(PARALLEL).try_collect::<()>().await?;
    until("connected workers", async || {
        let groups = lab.api(Kind::DaskWorkerGroup).list(&ListParams::default()).await?.items;
        let connected = groups.iter().filter(|group| group.data["status"]["connectedReplicas"] == WORKERS).count();
        Ok(connected == names.len())
    })
    .await
}

async fn cold_start(lab: &Lab<'_>, fleet: &Fleet) -> Result<(Cold, Operator), Error> {
    let (before, requests) = (fleet.questions(), lab.bench.account.requests().await?);
    let begin = Instant::now();
    let operator = lab.start().await?;
    let synced = begin.elapsed();
    let mut first = None;
    until_every(POLL, "the first questions", async || {
        let asked = fleet.questions().iter().zip(&before).filter(|(now, before)| now > before).count();
        if asked > 0 {
            first.get_or_insert_with(|| begin.elapsed());
        }
        Ok(asked == before.len())
    })
    .await?;
    let cold = Cold {
        synced,
        first: first.unwrap_or_default(),
        all: begin.elapsed(),
        cpu: operator.cpu()?,
        requests: since(&requests, &lab.bench.account.requests().await?),
    };
    Ok((cold, operator))
}

/// Prints what came of it.
#[expect(clippy::cast_precision_loss, reason = "small numbers")]
pub(crate) fn report(steady: &Steady) -> Value {
    let seconds = steady.time.as_secs_f64();
    let cores = steady.cpu.as_secs_f64() / seconds;
    let writes: u64 = steady.requests.iter().filter(|(verb, _)| is_write(verb)).map(|(_, count)| count).sum();
    let [empty, full, again, peak] = steady.rss_kib.map(|kib| kib as f64);
    let each = |kib: f64| (kib - empty) * 1024.0 / 1000.0 / steady.clusters as f64;
    let Cold { synced, first, all, cpu, requests } = &steady.cold;
    let [synced, first, all, cold_cpu] = [synced, first, all, cpu].map(Duration::as_secs_f64);
    println!("\n{} clusters of {WORKERS} workers at rest for {seconds:.0} s", steady.clusters);
    println!(
        "  cores {cores:.4}; API writes {writes}; requests {:?}; questions to schedulers {}",
        steady.requests, steady.questions
    );
    println!(
        "  RSS {:.1} MiB without clusters, {:.1} MiB with all: {:.1} kB each",
        empty / 1024.0,
        full / 1024.0,
        each(full)
    );
    println!(
        "  after a new start {:.1} MiB: {:.1} kB each; at most {:.1} MiB",
        again / 1024.0,
        each(again),
        peak / 1024.0
    );
    println!(
        "  cold start: synced {synced:.2} s, first scheduler asked {first:.2} s, all asked {all:.2} s, {cold_cpu:.2} CPU seconds, {requests:?}"
    );
    json!({
        "clusters": steady.clusters, "seconds": seconds, "cores": cores, "writes": writes, "requests": steady.requests,
        "components": steady.usage.json(), "questions": steady.questions, "rssKib": steady.rss_kib, "kbPerCluster": each(full), "kbPerClusterColdStart": each(again),
        "cold": {"syncedSeconds": synced, "firstSeconds": first, "allSeconds": all, "cpuSeconds": cold_cpu, "requests": requests},
    })
}

fn is_write(verb: &str) -> bool {
    !["get", "list", "watch"].contains(&verb)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Pods on nodes that Kubernetes has given up cost nothing, and would look like a fast controller.
    #[test]
    fn clusters_that_nobody_asks_are_no_measurement() {
        let (clusters, time) = (200, Duration::from_mins(2));
        awake(14_400, clusters, time).unwrap();
        let error = awake(400, clusters, time).unwrap_err().to_string();
        assert!(error.contains("400 times where 14400 were due"), "{error}");
        awake(0, clusters, Duration::from_secs(4)).unwrap();
    }
}
