//! Metrics of Dask resources by state. They are counted from the watches' caches during each scrape, so that no state
//! of deleted objects is kept.

use std::{collections::BTreeMap, fmt};

use dask_operator_api::{
    ClusterPhase, DaskAutoscaler, DaskCluster, DaskJob, DaskWorkerGroup,
    conditions::{AVAILABLE, SCHEDULER_READY},
    job_status,
};
use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::{Resource, ResourceExt as _};
use operator_runtime::{
    conditions::{self, ACCEPTED},
    metrics::{Described, Family, Word},
};
use prometheus_client::{collector::Collector, encoding::DescriptorEncoder, metrics::gauge::ConstGauge};

use crate::{caches::Caches, cluster};

const CLUSTERS: Family<1> =
    Family::gauge("dask_operator_clusters", ["phase"], "DaskClusters by phase; `New` ones have none yet.");
const GROUPS: Family<1> = Family::gauge(
    "dask_operator_worker_groups",
    ["state"],
    "DaskWorkerGroups by state: `New` before the first look, `Invalid` if the spec cannot be acted on, `Available` \
     if all workers run and are registered with the scheduler, `Unavailable` if not, `Deleting`.",
);
const WORKERS: Family<1> = Family::gauge(
    "dask_operator_workers",
    ["state"],
    "Workers of all groups: `wanted` by the specs, `created` as Deployments, `ready` by their pods, `connected` to \
     their scheduler when it was last asked. One worker counts in several states.",
);
const JOBS: Family<1> =
    Family::gauge("dask_operator_jobs", ["status"], "DaskJobs by `jobStatus`; `New` ones have none yet.");
const AUTOSCALERS: Family<1> = Family::gauge(
    "dask_operator_autoscaler_workers",
    ["state"],
    "Workers of all groups that a DaskAutoscaler scales: `target` by the latest decisions, `actual` as registered \
     with the schedulers then.",
);
const UNAVAILABLE: Family<1> = Family::gauge(
    "dask_operator_longest_unavailable_seconds",
    ["kind"],
    "For how many seconds a DaskCluster has not been `Running` or its scheduler not ready, or a DaskWorkerGroup has \
     lacked workers: of all with a valid spec, the one that waits longest; 0 if none does.",
);

/// The state of an object that has not been reconciled yet.
const NEW: Word = "New";
const PHASES: [Word; 5] = [NEW, "Created", "Pending", "Running", "Error"];
const GROUP_STATES: [Word; 5] = [NEW, "Invalid", "Available", "Unavailable", "Deleting"];
const WORKER_STATES: [Word; 4] = ["wanted", "created", "ready", "connected"];
const AUTOSCALER_STATES: [Word; 2] = ["target", "actual"];

/// The caches that are counted.
pub(super) struct Dask(pub(super) Caches);

impl fmt::Debug for Dask {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Dask").finish_non_exhaustive()
    }
}

/// Numbers by the value of a label. All possible values are present from the start.
struct Tally(BTreeMap<Word, i64>);

impl Tally {
    fn of<const COUNT: usize>(words: [Word; COUNT]) -> Self {
        Self(words.into_iter().map(|word| (word, 0)).collect())
    }

    fn add(&mut self, word: Word, count: i64) {
        *self.0.entry(word).or_default() += count;
    }

    fn raise(&mut self, word: Word, value: i64) {
        let entry = self.0.entry(word).or_default();
        *entry = value.max(*entry);
    }

    fn encode(&self, family: &Family<1>, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        family.encode(encoder, self.0.iter().map(|(word, count)| ([*word], ConstGauge::new(*count))))
    }
}

/// All counts of Dask resources.
struct Tallies {
    clusters: Tally,
    groups: Tally,
    workers: Tally,
    jobs: Tally,
    autoscalers: Tally,
    unavailable: Tally,
    now: Timestamp,
}

impl Tallies {
    fn new(now: Timestamp) -> Self {
        let mut jobs = Tally::of(job_status::ALL);
        jobs.add(NEW, 0);
        Self {
            clusters: Tally::of(PHASES),
            groups: Tally::of(GROUP_STATES),
            workers: Tally::of(WORKER_STATES),
            jobs,
            autoscalers: Tally::of(AUTOSCALER_STATES),
            unavailable: Tally::of(["DaskCluster", "DaskWorkerGroup"]),
            now,
        }
    }

    fn cluster(&mut self, cluster: &DaskCluster) {
        let status = cluster.status.as_ref();
        let phase = status.and_then(|status| status.phase);
        self.clusters.add(phase_word(phase), 1);
        let conditions = status.map(|status| status.conditions.as_slice()).unwrap_or_default();
        let waiting_since = match phase {
            Some(ClusterPhase::Error) if cluster::is_invalid(cluster) => None,
            // A cluster that is Running stays in this phase.
            Some(ClusterPhase::Running) => failing_since(conditions, SCHEDULER_READY),
            _ => cluster.creation_timestamp().map(|time| time.0),
        };
        self.waits("DaskCluster", cluster, waiting_since);
    }

    fn group(&mut self, group: &DaskWorkerGroup) {
        let status = group.status.as_ref();
        let conditions = status.map(|status| status.conditions.as_slice()).unwrap_or_default();
        let state = group_state(group, conditions);
        self.groups.add(state, 1);
        if state == "Deleting" {
            return;
        }
        self.workers.add("wanted", group.spec.worker.replicas.max(0));
        self.workers.add("connected", status.and_then(|status| status.connected_replicas).unwrap_or(0));
        let waiting_since = match state {
            "Unavailable" => failing_since(conditions, AVAILABLE),
            NEW => group.creation_timestamp().map(|time| time.0),
            _ => None,
        };
        self.waits("DaskWorkerGroup", group, waiting_since);
    }

    fn job(&mut self, job: &DaskJob) {
        let said = job.status.as_ref().and_then(|status| status.job_status.as_deref());
        let known = said.and_then(|said| job_status::ALL.into_iter().find(|status| *status == said));
        self.jobs.add(known.unwrap_or(NEW), 1);
    }

    fn autoscaler(&mut self, autoscaler: &DaskAutoscaler) {
        let Some(status) = &autoscaler.status else { return };
        self.autoscalers.add("target", status.desired_replicas.unwrap_or(0));
        self.autoscalers.add("actual", status.connected_replicas.unwrap_or(0));
    }

    fn waits(&mut self, kind: Word, object: &impl Resource, since: Option<Timestamp>) {
        if let Some(since) = since.filter(|_| object.meta().deletion_timestamp.is_none()) {
            self.unavailable.raise(kind, self.now.duration_since(since).as_secs());
        }
    }
}

fn phase_word(phase: Option<ClusterPhase>) -> Word {
    match phase {
        None => NEW,
        Some(ClusterPhase::Created) => "Created",
        Some(ClusterPhase::Pending) => "Pending",
        Some(ClusterPhase::Running) => "Running",
        Some(ClusterPhase::Error) => "Error",
    }
}

fn group_state(group: &DaskWorkerGroup, conditions: &[Condition]) -> Word {
    if group.meta().deletion_timestamp.is_some() {
        return "Deleting";
    }
    let status = |type_: &str| conditions::find(conditions, type_).map(|condition| condition.status.as_str());
    match (status(ACCEPTED), status(AVAILABLE)) {
        // Of a group whose workers the API server refused, it is known that they are not available.
        (Some("False"), None | Some("Unknown")) => "Invalid",
        (_, Some("True")) => "Available",
        (_, Some(_)) => "Unavailable",
        (_, None) => NEW,
    }
}

fn failing_since(conditions: &[Condition], type_: &str) -> Option<Timestamp> {
    let condition = conditions.iter().find(|condition| condition.type_ == type_)?;
    (condition.status != "True").then_some(condition.last_transition_time.0)
}

impl Collector for Dask {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let Self(caches) = self;
        let mut tallies = Tallies::new(Timestamp::now());
        caches.clusters.for_each(|cluster| tallies.cluster(cluster));
        caches.groups.for_each(|group| tallies.group(group));
        caches.jobs.for_each(|job| tallies.job(job));
        caches.autoscalers.for_each(|autoscaler| tallies.autoscaler(autoscaler));
        caches.workers.for_each(|worker| {
            tallies.workers.add("created", 1);
            tallies.workers.add("ready", i64::from(worker.status.ready_replicas.is_some_and(|ready| ready > 0)));
        });
        let Tallies { clusters, groups, workers, jobs, autoscalers, unavailable, now: _ } = tallies;
        clusters.encode(&CLUSTERS, &mut encoder)?;
        groups.encode(&GROUPS, &mut encoder)?;
        workers.encode(&WORKERS, &mut encoder)?;
        jobs.encode(&JOBS, &mut encoder)?;
        autoscalers.encode(&AUTOSCALERS, &mut encoder)?;
        unavailable.encode(&UNAVAILABLE, &mut encoder)
    }
}

pub(super) fn described() -> Vec<Described> {
    [&CLUSTERS, &GROUPS, &WORKERS, &JOBS, &AUTOSCALERS, &UNAVAILABLE].map(Family::described).to_vec()
}

#[cfg(test)]
mod tests;
