//! What must be true whatever happened: the part that is checked all the time, and the part that must become true
//! when the faults are over.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex},
    time::Duration,
};

use serde_json::Value;
use tokio::task::AbortHandle;

use crate::{
    created_workers::{self, CreatedWorkers},
    foreign::Foreign,
    hostile::{self, Hostile},
    support::{TestContext, condition, name, scheduler::FakeScheduler, uid},
};

/// The time between two checks.
const PERIOD: Duration = Duration::from_millis(500);
const CLUSTER: &str = "dask.org/cluster-name";
const GROUP: &str = "dask.org/workergroup-name";

/// What the user asks for.
#[derive(Clone, Debug, Default)]
pub(crate) struct Wanted {
    /// Workers by group.
    pub(crate) groups: BTreeMap<String, usize>,
    /// The highest number of workers that each group was asked to have.
    pub(crate) most: BTreeMap<String, usize>,
    /// How many workers had to be created for each group: its initial ones, and all that were added or lost since.
    pub(crate) needed: BTreeMap<String, usize>,
    pub(crate) clusters: BTreeSet<String>,
    /// Workers that compute: name and uid of the Deployment, and address.
    pub(crate) busy: Vec<(String, String, String)>,
}

/// Shared between the steps, which change it, and the checks.
pub(crate) type SharedWanted = Arc<Mutex<Wanted>>;

impl Wanted {
    /// Sets the number of workers of a group.
    pub(crate) fn group(&mut self, group: &str, workers: usize) {
        let before = self.groups.insert(group.to_owned(), workers).unwrap_or_default();
        *self.needed.entry(group.to_owned()).or_default() += workers.saturating_sub(before);
        let most = self.most.entry(group.to_owned()).or_default();
        *most = workers.max(*most);
    }

    /// Records that a worker was deleted by somebody else.
    pub(crate) fn lose(&mut self, group: &str) {
        *self.needed.entry(group.to_owned()).or_default() += 1;
    }
}

/// Everything that the invariants are about.
#[derive(Clone)]
pub(crate) struct Observed {
    pub(crate) context: TestContext,
    pub(crate) scheduler: Arc<FakeScheduler>,
    pub(crate) foreign: Arc<Foreign>,
    pub(crate) hostile: Arc<Hostile>,
    pub(crate) created: Arc<CreatedWorkers>,
    pub(crate) wanted: SharedWanted,
    /// The number of workers that the node has room for.
    pub(crate) room: usize,
}

/// Checks the invariants until it is dropped.
pub(crate) struct InvariantChecker {
    violation: Arc<Mutex<Option<String>>>,
    checking: AbortHandle,
}

impl InvariantChecker {
    pub(crate) fn begin(observed: Observed) -> Self {
        let violation: Arc<Mutex<Option<String>>> = Arc::default();
        let found = Arc::clone(&violation);
        let checking = tokio::spawn(async move {
            loop {
                if let Err(why) = observed.always().await {
                    found.lock().unwrap().get_or_insert(why);
                    return;
                }
                tokio::time::sleep(PERIOD).await;
            }
        });
        Self { violation, checking: checking.abort_handle() }
    }

    /// Returns the first violation as an error.
    pub(crate) fn violation(&self) -> Result<(), String> {
        self.violation.lock().unwrap().clone().map_or(Ok(()), Err)
    }
}

impl Drop for InvariantChecker {
    fn drop(&mut self) {
        self.checking.abort();
    }
}

impl Observed {
    fn wanted(&self) -> Wanted {
        self.wanted.lock().unwrap().clone()
    }

    /// Lists the Deployments or Services of Dask clusters, without foreign ones and those of hostile users.
    async fn ours(&self, kind: &str) -> Vec<Value> {
        let mut objects = hostile::without(self.context.list(kind, CLUSTER).await);
        objects.retain(|object| !self.foreign.is_of(kind, name(object)));
        objects
    }

    /// Checks that no foreign object changed, no busy worker was lost, and no worker exists or was created twice.
    async fn always(&self) -> Result<(), String> {
        self.foreign.check(&self.context).await?;
        self.hostile.check_gained_nothing().await?;
        let deployments = self.ours("Deployment").await;
        let created = self.created.so_far();
        let groups = hostile::without(self.context.list("DaskWorkerGroup", "").await);
        // Read after the objects, so that it includes all that was wanted when they were listed.
        let wanted = self.wanted();
        // Workers of a deleted group exist until they are garbage collected, beside those of a new group of the same name.
        let mut counts: BTreeMap<(&str, String), usize> = BTreeMap::new();
        for worker in deployments.iter().filter(|object| !is_deleting(object)) {
            if let Some(group) = worker["metadata"]["labels"][GROUP].as_str() {
                let owner = worker["metadata"]["ownerReferences"][0]["uid"].to_string();
                *counts.entry((group, owner)).or_default() += 1;
            }
        }
        for ((group, _), count) in counts {
            let most = wanted.most.get(group).copied().unwrap_or_default();
            if count > most {
                return Err(format!("{group} has {count} workers, but was never asked to have more than {most}"));
            }
        }
        created_workers::check(&created, &groups, &wanted)?;
        self.busy_workers(&wanted, &deployments)
    }

    fn busy_workers(&self, wanted: &Wanted, deployments: &[Value]) -> Result<(), String> {
        let retired = retired(&self.scheduler);
        for (worker, id, address) in &wanted.busy {
            let exists = |object: &&Value| name(object) == worker && uid(object) == id && !is_deleting(object);
            if !deployments.iter().any(|object| exists(&object)) {
                return Err(format!("the busy worker {worker} was deleted"));
            }
            if retired.contains(address) {
                return Err(format!("the busy worker {worker} was retired"));
            }
        }
        Ok(())
    }

    /// Checks that exactly the wanted objects exist, have the right owners, and that the statuses say so.
    pub(crate) async fn settled(&self) -> Result<(), String> {
        let wanted = self.wanted();
        let clusters = hostile::without(self.context.list("DaskCluster", "").await);
        let groups = hostile::without(self.context.list("DaskWorkerGroup", "").await);
        same("clusters", &names(&clusters), &wanted.clusters)?;
        same("groups", &names(&groups), &wanted.groups.keys().cloned().collect())?;
        let schedulers: BTreeSet<String> = wanted.clusters.iter().map(|name| format!("{name}-scheduler")).collect();
        let services = self.ours("Service").await;
        same("Services", &names(&services), &schedulers)?;
        let (workers, others): (Vec<Value>, Vec<Value>) = self
            .ours("Deployment")
            .await
            .into_iter()
            .partition(|object| object["metadata"]["labels"]["dask.org/component"] == "worker");
        same("schedulers", &names(&others), &schedulers)?;
        let counts: BTreeMap<&String, Counts> =
            wanted.groups.keys().map(|group| (group, self.counts(group, &workers))).collect();
        for (group, count) in &wanted.groups {
            let found = counts[group].workers;
            if found != *count {
                return Err(format!("{group} has {found} workers instead of {count}"));
            }
        }
        self.room_is_used().await?;
        if workers.len() != wanted.groups.values().sum::<usize>() {
            return Err(format!("there are workers of no group: {:?}", names(&workers)));
        }
        let all: Vec<&Value> = clusters.iter().chain(&groups).chain(&services).chain(&others).chain(&workers).collect();
        owners(&all)?;
        clusters.iter().try_for_each(check_cluster_status)?;
        groups.iter().try_for_each(|group| check_group_status(group, counts[&name(group).to_owned()]))
    }

    fn counts(&self, group: &str, workers: &[Value]) -> Counts {
        let workers = workers.iter().filter(|worker| worker["metadata"]["labels"][GROUP] == group);
        let connected = self.scheduler.workers();
        Counts {
            workers: workers.clone().count(),
            ready: workers.clone().filter(|worker| worker["status"]["readyReplicas"] == 1).count(),
            connected: workers.filter(|worker| connected.iter().any(|known| known == name(worker))).count(),
        }
    }

    /// Checks that as many workers are ready, regardless of their owner, as there is room for.
    async fn room_is_used(&self) -> Result<(), String> {
        let workers = self.context.list("Deployment", "dask.org/component=worker").await;
        let number =
            |field: fn(&Value) -> &Value| workers.iter().filter_map(|worker| field(worker).as_u64()).sum::<u64>();
        let (asked, ready) =
            (number(|worker| &worker["spec"]["replicas"]), number(|worker| &worker["status"]["readyReplicas"]));
        let expected = asked.min(u64::try_from(self.room).unwrap());
        if ready == expected {
            Ok(())
        } else {
            Err(format!("{ready} of {asked} workers are ready instead of {expected}"))
        }
    }

    /// Checks that nothing of the clusters is left, and that all foreign objects are.
    pub(crate) async fn gone(&self) -> Result<(), String> {
        self.foreign.check(&self.context).await?;
        self.hostile.check_gone().await?;
        for kind in ["DaskCluster", "DaskWorkerGroup", "Deployment", "Service", "ConfigMap", "Pod"] {
            let mut objects = self.context.list(kind, "").await;
            objects.retain(|object| !self.foreign.is_of(kind, name(object)) && name(object) != "kube-root-ca.crt");
            if !objects.is_empty() {
                return Err(format!("these are left: {kind} {:?}", names(&objects)));
            }
        }
        Ok(())
    }
}

fn is_deleting(object: &Value) -> bool {
    object["metadata"]["deletionTimestamp"].is_string()
}

fn names(objects: &[Value]) -> BTreeSet<String> {
    objects.iter().map(|object| name(object).to_owned()).collect()
}

fn same(what: &str, found: &BTreeSet<String>, wanted: &BTreeSet<String>) -> Result<(), String> {
    if found == wanted { Ok(()) } else { Err(format!("the {what} are {found:?} instead of {wanted:?}")) }
}

/// Checks that no object is being deleted, and that all owners exist.
fn owners(objects: &[&Value]) -> Result<(), String> {
    let uids: BTreeSet<&str> = objects.iter().map(|object| uid(object)).collect();
    for object in objects {
        let what = format!("{} {}", object["kind"], name(object));
        if is_deleting(object) {
            return Err(format!("{what} is being deleted"));
        }
        let owners = object["metadata"]["ownerReferences"].as_array().cloned().unwrap_or_default();
        let owned = !owners.is_empty() || object["kind"] == "DaskCluster";
        let exists = |owner: &Value| owner["uid"].as_str().is_some_and(|owner| uids.contains(owner));
        if !owned || !owners.iter().all(exists) {
            return Err(format!("{what} is an orphan: {owners:?}"));
        }
    }
    Ok(())
}

fn check_cluster_status(cluster: &Value) -> Result<(), String> {
    let status = &cluster["status"];
    let current = status["observedGeneration"] == cluster["metadata"]["generation"];
    let says = |type_: &str| condition(cluster, type_).0 == "True";
    let is_true = current
        && status["phase"] == "Running"
        && ["Accepted", "ComponentsCreated", "SchedulerReady"].iter().all(|type_| says(type_));
    if is_true { Ok(()) } else { Err(format!("the cluster {} says {status}", name(cluster))) }
}

/// The workers of a group as they are, regardless of its status.
#[derive(Clone, Copy, Debug)]
struct Counts {
    workers: usize,
    ready: usize,
    connected: usize,
}

fn check_group_status(group: &Value, counts: Counts) -> Result<(), String> {
    let status = &group["status"];
    let current = status["observedGeneration"] == group["metadata"]["generation"];
    let Counts { workers, ready, connected } = counts;
    let said = [("replicas", workers), ("readyReplicas", ready), ("connectedReplicas", connected)];
    let is_true =
        current && said.iter().all(|(field, count)| status[field] == *count) && condition(group, "Scaled").0 == "True";
    if is_true { Ok(()) } else { Err(format!("the group {} with {counts:?} says {status}", name(group))) }
}

/// Returns the addresses of all workers that the scheduler was asked to retire.
fn retired(scheduler: &FakeScheduler) -> BTreeSet<String> {
    let calls = scheduler.calls_of("retire_workers");
    let addresses = calls.iter().filter_map(|call| call["workers"].as_array()).flatten();
    addresses.filter_map(|address| address.as_str().map(str::to_owned)).collect()
}
