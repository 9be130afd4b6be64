//! Measures many DaskClusters in a steady state: CPU time, requests and memory of the controller, and its cold start.

use std::time::{Duration, Instant};

use futures::{StreamExt as _, TryStreamExt as _, stream};
use kube::api::ListParams;
use serde_json::{Value, json};

use crate::{
    Error,
    cluster::{BenchNamespace, CONCURRENCY, Kind},
    components::Usage,
    operator::Operator,
    requests::{RequestCounts, since},
    schedulers::Schedulers,
    wait::{wait_until, wait_until_every},
};

/// Workers of each cluster.
const WORKERS: u64 = 2;
/// For the last writes of the operator and of Kubernetes' controllers.
const SETTLE: Duration = Duration::from_secs(30);
const POLL: Duration = Duration::from_millis(20);
/// How often the controller polls a scheduler whose pod is ready.
const POLL_PERIOD: Duration = Duration::from_secs(5);
/// Requests of one poll: the idle time for the idle timeout, and the workers and desired workers for the autoscaler.
const REQUESTS_PER_POLL: usize = 3;

/// The result.
pub(crate) struct SteadyState {
    pub(crate) clusters: usize,
    pub(crate) time: Duration,
    pub(crate) cpu: Duration,
    pub(crate) requests: RequestCounts,
    /// Usage of Kubernetes' own processes in that time.
    pub(crate) usage: Usage,
    /// Requests to schedulers in that time.
    pub(crate) scheduler_requests: usize,
    pub(crate) memory: Memory,
    pub(crate) cold_start: ColdStart,
}

/// Resident memory of the controller in KiB.
pub(crate) struct Memory {
    /// Before the first cluster.
    empty: u64,
    /// With all clusters, in the process that created their objects.
    full: u64,
    /// With all clusters, in a new process.
    restarted: u64,
    /// The peak of the new process.
    peak: u64,
}

/// Times since a controller was started while all clusters existed.
pub(crate) struct ColdStart {
    /// Until all watches have synced.
    pub(crate) synced: Duration,
    /// Until the first request to a scheduler, which is part of the first reconcile of its cluster.
    pub(crate) first: Duration,
    /// Until every scheduler has had a request.
    pub(crate) all: Duration,
    pub(crate) cpu: Duration,
    pub(crate) requests: RequestCounts,
}

/// Measures `clusters` clusters for the duration of `time`.
pub(crate) async fn measure(
    namespace: &BenchNamespace<'_>,
    clusters: usize,
    time: Duration,
) -> Result<SteadyState, Error> {
    let names: Vec<String> = (0..clusters).map(|number| format!("c{number}")).collect();
    let schedulers = Schedulers::start(namespace, &names).await;
    schedulers.set_desired_workers(WORKERS);
    let operator = namespace.start().await?;
    tokio::time::sleep(Duration::from_secs(3)).await;
    let empty = operator.rss()?;
    populate(namespace, &schedulers, &names).await?;
    tokio::time::sleep(SETTLE).await;
    let account = &namespace.cluster.account;
    let (requests, cpu, before) = (account.requests().await?, operator.cpu()?, total(&schedulers));
    let usage = namespace.cluster.components.usage()?;
    tokio::time::sleep(time).await;
    let usage = namespace.cluster.components.usage()?.since(&usage);
    let cpu = operator.cpu()?.saturating_sub(cpu);
    let requests = since(&requests, &account.requests().await?);
    let (scheduler_requests, full) = (total(&schedulers) - before, operator.rss()?);
    check_polled(scheduler_requests, clusters, time)?;
    operator.kill().await?;
    let (cold_start, operator) = cold_start(namespace, &schedulers).await?;
    tokio::time::sleep(SETTLE).await;
    let memory = Memory { empty, full, restarted: operator.rss()?, peak: operator.peak_rss()? };
    Ok(SteadyState { clusters, time, cpu, requests, usage, scheduler_requests, memory, cold_start })
}

/// Fails if the controller did not poll the schedulers: the result would look better than it is.
fn check_polled(requests: usize, clusters: usize, time: Duration) -> Result<(), Error> {
    let polls = usize::try_from(time.as_secs() / POLL_PERIOD.as_secs()).unwrap_or_default();
    let expected = REQUESTS_PER_POLL * clusters * polls;
    if requests * 2 < expected { Err(Error::NotPolled { requests, expected }) } else { Ok(()) }
}

/// Returns the number of requests to all schedulers.
fn total(schedulers: &Schedulers) -> usize {
    schedulers.request_counts().iter().sum()
}

/// Creates all clusters with their autoscalers. Waits until all their workers are connected.
async fn populate(namespace: &BenchNamespace<'_>, schedulers: &Schedulers, names: &[String]) -> Result<(), Error> {
    let creations = names.iter().map(async |name| {
        let mut cluster = schedulers.manifest(name, 2);
        cluster["spec"]["idleTimeout"] = json!(86_400);
        namespace.create(Kind::DaskCluster, &cluster).await?;
        let autoscaler = json!({
            "apiVersion": "kubernetes.dask.org/v1",
            "kind": "DaskAutoscaler",
            "metadata": {"name": name},
            "spec": {"cluster": name, "minimum": 1, "maximum": 10},
        });
        namespace.create(Kind::DaskAutoscaler, &autoscaler).await
    });
    stream::iter(creations).buffer_unordered(CONCURRENCY).try_collect::<()>().await?;
    wait_until("connected workers", async || {
        let groups = namespace.api(Kind::DaskWorkerGroup).list(&ListParams::default()).await?.items;
        let connected = groups.iter().filter(|group| group.data["status"]["connectedReplicas"] == WORKERS).count();
        Ok(connected == names.len())
    })
    .await
}

/// Starts a controller and waits until it has polled every scheduler.
async fn cold_start(namespace: &BenchNamespace<'_>, schedulers: &Schedulers) -> Result<(ColdStart, Operator), Error> {
    let (before, requests) = (schedulers.request_counts(), namespace.cluster.account.requests().await?);
    let start = Instant::now();
    let operator = namespace.start().await?;
    let synced = start.elapsed();
    let mut first = None;
    wait_until_every(POLL, "requests to all schedulers", async || {
        let counts = schedulers.request_counts();
        let polled = counts.iter().zip(&before).filter(|(now, before)| now > before).count();
        if polled > 0 {
            first.get_or_insert_with(|| start.elapsed());
        }
        Ok(polled == before.len())
    })
    .await?;
    let cold_start = ColdStart {
        synced,
        first: first.unwrap_or_default(),
        all: start.elapsed(),
        cpu: operator.cpu()?,
        requests: since(&requests, &namespace.cluster.account.requests().await?),
    };
    Ok((cold_start, operator))
}

/// Prints the result.
#[expect(clippy::cast_precision_loss, reason = "small numbers")]
pub(crate) fn report(steady: &SteadyState) -> Value {
    let seconds = steady.time.as_secs_f64();
    let cores = steady.cpu.as_secs_f64() / seconds;
    let writes: u64 = steady.requests.iter().filter(|(verb, _)| is_write(verb)).map(|(_, count)| count).sum();
    let Memory { empty, full, restarted, peak } = steady.memory;
    let per_cluster = |kib: u64| (kib as f64 - empty as f64) * 1024.0 / 1000.0 / steady.clusters as f64;
    let mib = |kib: u64| kib as f64 / 1024.0;
    println!("\n{} clusters of {WORKERS} workers in a steady state for {seconds:.0} s", steady.clusters);
    println!(
        "  cores {cores:.4}; API writes {writes}; requests {:?}; requests to schedulers {}",
        steady.requests, steady.scheduler_requests
    );
    println!(
        "  RSS {:.1} MiB without clusters, {:.1} MiB with all: {:.1} kB per cluster",
        mib(empty),
        mib(full),
        per_cluster(full)
    );
    println!(
        "  RSS after a restart {:.1} MiB: {:.1} kB per cluster; peak {:.1} MiB",
        mib(restarted),
        per_cluster(restarted),
        mib(peak)
    );
    json!({
        "clusters": steady.clusters, "seconds": seconds, "cores": cores, "writes": writes,
        "requests": steady.requests, "components": steady.usage.json(), "schedulerRequests": steady.scheduler_requests,
        "rssKib": {"empty": empty, "full": full, "restarted": restarted, "peak": peak},
        "kbPerCluster": per_cluster(full), "kbPerClusterRestarted": per_cluster(restarted),
        "coldStart": steady.cold_start.report(),
    })
}

impl ColdStart {
    fn report(&self) -> Value {
        let Self { synced, first, all, cpu, requests } = self;
        let [synced, first, all, cpu] = [synced, first, all, cpu].map(Duration::as_secs_f64);
        println!(
            "  cold start: synced {synced:.2} s, first scheduler polled {first:.2} s, all polled {all:.2} s, {cpu:.2} CPU seconds, {requests:?}"
        );
        json!({
            "syncedSeconds": synced, "firstSeconds": first, "allSeconds": all, "cpuSeconds": cpu, "requests": requests,
        })
    }
}

/// Returns whether a verb changes objects.
fn is_write(verb: &str) -> bool {
    !["get", "list", "watch"].contains(&verb)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Kubernetes marks pods as not ready on nodes that send no heartbeat. Their schedulers are not polled, which would
    /// look like a fast controller.
    #[test]
    fn a_measurement_without_polls_of_the_schedulers_fails() {
        let (clusters, time) = (200, Duration::from_mins(2));
        check_polled(14_400, clusters, time).unwrap();
        let error = check_polled(400, clusters, time).unwrap_err().to_string();
        assert!(error.contains("400 requests of 14400 expected"), "{error}");
        check_polled(0, clusters, Duration::from_secs(4)).unwrap();
    }
}
