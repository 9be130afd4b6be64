use std::{
    collections::{BTreeMap, HashSet},
    sync::Arc,
    time::Instant,
};

use dask_operator_api::{
    DaskCluster, DaskWorkerGroup,
    meta::{self, component},
};
use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::{
    Api, ResourceExt as _,
    api::{ListParams, ObjectMeta, PartialObjectMeta},
};
use operator_runtime::k8s;

use super::{
    deletion_order::Candidate,
    scale::{Workers, is_of_group, prefix_of},
};
use crate::{
    context::Context,
    view::{DeploymentView, PodView},
};

/// The kind of workers, for what was made of it.
pub(super) const WORKER: &str = "Deployment";
/// Workers of which the API server tells at a time.
const PAGE: u32 = 500;

/// What stands around a group, as the caches know it.
#[derive(Debug, Default)]
pub(super) struct Observed {
    pub(super) cluster: Option<Arc<DaskCluster>>,
    pub(super) workers: Workers,
    /// Whether workers were made that the caches do not know yet. They count all the same.
    pub(super) lags: bool,
    pub(super) deployments: Vec<Arc<DeploymentView>>,
    /// Workers that are not watched, since they lost a label.
    pub(super) strays: Vec<ObjectMeta>,
    /// Pods by Deployment.
    pub(super) pods: BTreeMap<String, Vec<Arc<PodView>>>,
    pub(super) scheduler_pods: Vec<Arc<PodView>>,
}

/// A group and its workers as the API server has them right now.
#[derive(Debug)]
pub(super) struct Live {
    pub(super) group: DaskWorkerGroup,
    pub(super) workers: Vec<ObjectMeta>,
}

pub(super) async fn observe(group: &DaskWorkerGroup, context: &Context) -> Result<Observed, k8s::Error> {
    let (namespace, uid) = (group.namespace().unwrap_or_default(), group.uid().unwrap_or_default());
    let caches = &context.caches;
    let created = group.status.as_ref().and_then(|status| status.workers_created).unwrap_or(0);
    let deployments = caches.workers.indexed(&uid);
    let seen: HashSet<&str> = deployments.iter().filter_map(|worker| worker.metadata.name.as_deref()).collect();
    let unseen = context.expectations.unseen((WORKER, &uid), |name| seen.contains(name));
    let lags = !unseen.is_empty();
    let standing = deployments.iter().filter(|worker| !is_going(&worker.metadata)).map(|worker| worker.name_any());
    let mut workers = Workers {
        prefix: prefix_of(&uid),
        names: standing.chain(unseen).collect(),
        created: u32::try_from(created).unwrap_or(0),
    }
    .advanced();
    let mut strays = Vec::new();
    let lost = workers.lost();
    let vanished = context.losses.grew(&uid, lost, Instant::now());
    let count = i64::try_from(workers.names.len()).unwrap_or(i64::MAX);
    let wanted = group.spec.worker.replicas.max(0);
    // By the caches alone, workers that lost a label would be replaced, and run on beside their successors.
    if lost > 0 && (count < wanted || (vanished && count == wanted)) {
        let live = live_workers(group, context).await?;
        // The list is by another label than the watch: each knows the workers that lost the other's.
        let unlisted = deployments.iter().filter(|worker| !is_going(&worker.metadata) && !is_listed(worker, group));
        let live_names = live.iter().filter_map(|worker| worker.name.clone());
        workers.names = live_names.chain(unlisted.map(|worker| worker.name_any())).collect();
        workers = workers.advanced();
        context.losses.grew(&uid, workers.lost(), Instant::now());
        strays = live.into_iter().filter(|worker| is_stray(worker, &group.name_any(), &workers.prefix)).collect();
    }
    let mut pods: BTreeMap<String, Vec<Arc<PodView>>> = BTreeMap::new();
    for pod in caches.worker_pods(&namespace, &group.name_any()) {
        if let Some(deployment) = pod.deployment() {
            pods.entry(deployment.to_owned()).or_default().push(Arc::clone(&pod));
        }
    }
    Ok(Observed {
        cluster: caches.clusters.get(&namespace, &group.spec.cluster),
        scheduler_pods: caches.scheduler_pods(&namespace, &group.spec.cluster),
        workers,
        lags,
        deployments,
        strays,
        pods,
    })
}

/// Asks the API server itself, before anything is removed: by a cache that lags, a worker that has just been
/// removed would be there, and another one would go in addition. `None` if the group is gone.
pub(super) async fn observe_live(group: &DaskWorkerGroup, context: &Context) -> Result<Option<Live>, k8s::Error> {
    let api: Api<DaskWorkerGroup> = Api::namespaced(context.client.clone(), &group.namespace().unwrap_or_default());
    let found = k8s::timed("get", "the worker group", api.get_opt(&group.name_any())).await?;
    let Some(found) = found.filter(|found| found.uid() == group.uid() && !is_going(&found.metadata)) else {
        return Ok(None);
    };
    let workers = live_workers(group, context).await?;
    Ok(Some(Live { group: found, workers }))
}

async fn live_workers(group: &DaskWorkerGroup, context: &Context) -> Result<Vec<ObjectMeta>, k8s::Error> {
    let (namespace, uid) = (group.namespace().unwrap_or_default(), group.uid().unwrap_or_default());
    let api: Api<DeploymentView> = Api::namespaced(context.client.clone(), &namespace);
    // Not by component, which the watch selects by already.
    let selector = format!("{}={}", meta::WORKER_GROUP, group.name_any());
    let mut params = ListParams::default().labels(&selector).limit(PAGE);
    let mut workers = Vec::new();
    loop {
        let list = k8s::timed("list", "worker Deployments", api.list_metadata(&params)).await?;
        let ours = |worker: &PartialObjectMeta<DeploymentView>| {
            operator_runtime::k8s::is_controlled_by(worker, &uid)
                && meta::is_worker_name(&group.name_any(), &worker.name_any())
                && !is_going(&worker.metadata)
        };
        let page = list.items.into_iter().filter(ours);
        workers.extend(page.map(|worker| ObjectMeta { managed_fields: None, ..worker.metadata }));
        let Some(token) = list.metadata.continue_.filter(|token| !token.is_empty()) else { return Ok(workers) };
        params = params.continue_token(&token);
    }
}

/// Whether the label is there by which workers are listed.
fn is_listed(worker: &DeploymentView, group: &DaskWorkerGroup) -> bool {
    worker.labels().get(meta::WORKER_GROUP) == group.metadata.name.as_ref()
}

/// Whether the label is lost by which workers are watched, of one that this program has made for the group: owner
/// references alone are anybody's to write.
fn is_stray(worker: &ObjectMeta, group: &str, prefix: &str) -> bool {
    let component = worker.labels.as_ref().and_then(|labels| labels.get(meta::COMPONENT));
    component.is_none_or(|component| component != component::WORKER)
        && worker.name.as_deref().is_some_and(|name| is_of_group(name, group, prefix))
}

/// A worker that waits for its finalizers or its pods is no worker any more.
fn is_going(metadata: &ObjectMeta) -> bool {
    metadata.deletion_timestamp.is_some()
}

impl Observed {
    /// Pods of the worker `name`.
    pub(super) fn pods_of(&self, name: &str) -> &[Arc<PodView>] {
        self.pods.get(name).map(Vec::as_slice).unwrap_or_default()
    }

    /// Workers with a ready pod.
    pub(super) fn ready(&self) -> usize {
        self.deployments.iter().filter(|worker| worker.status.ready_replicas.unwrap_or(0) > 0).count()
    }

    /// Workers that were made from `template`. Those that an older controller made say nothing, and count:
    /// taking over a group restarts none of its workers.
    pub(super) fn updated(&self, template: &str) -> usize {
        self.deployments.iter().filter(|worker| !is_outdated(&worker.metadata, template)).count()
    }

    /// When the workers were made.
    pub(super) fn expectations(&self) -> impl Iterator<Item = Timestamp> {
        self.deployments.iter().filter_map(|worker| creation(&worker.metadata))
    }
}

impl Live {
    /// The workers, before anybody has looked at how they stand.
    pub(super) fn candidates(&self, template: &str, rolling: bool) -> Vec<Candidate> {
        let candidate = |worker: &ObjectMeta| {
            Some(Candidate {
                name: worker.name.clone()?,
                uid: worker.uid.clone()?,
                created: creation(worker),
                outdated: rolling && is_outdated(worker, template),
                standing: super::deletion_order::RemovalCost::Unknown,
            })
        };
        self.workers.iter().filter_map(candidate).collect()
    }
}

fn creation(metadata: &ObjectMeta) -> Option<Timestamp> {
    metadata.creation_timestamp.as_ref().map(|Time(time)| *time)
}

pub(super) fn is_outdated(worker: &ObjectMeta, template: &str) -> bool {
    let recorded = worker.annotations.as_ref().and_then(|annotations| annotations.get(meta::TEMPLATE));
    recorded.is_some_and(|recorded| recorded != template)
}
