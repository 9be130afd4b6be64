//! Reads a group and its surroundings from the caches, and its workers from the API server where a cache is not
//! enough.

use std::{
    collections::{BTreeMap, HashSet},
    sync::Arc,
    time::Instant,
};

use dask_operator_api::{
    DaskCluster, DaskWorkerGroup,
    meta::{self, component},
};
use futures::{StreamExt as _, stream};
use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::{
    Api, ResourceExt as _,
    api::{ListParams, ObjectMeta, PartialObjectMeta},
};
use operator_runtime::k8s;

use super::{
    deletion_order::Candidate,
    scale::{SLICE, Workers, is_of_group, prefix_of},
};
use crate::{
    context::Context,
    pod_labels::Home,
    template_version::TemplateVersion,
    view::{DeploymentView, PodView},
};

/// The kind of workers, as the expectations record it.
pub(super) const WORKER: &str = "Deployment";
/// Number of Deployments that are read concurrently.
const PARALLEL: usize = 8;
/// Number of workers that the API server returns per page.
const PAGE: u32 = 500;

/// A group's cluster, workers and pods, as the caches contain them.
#[derive(Debug, Default)]
pub(super) struct Observed {
    pub(super) cluster: Option<Arc<DaskCluster>>,
    pub(super) workers: Workers,
    /// Whether workers were created that the caches do not contain yet. They are counted nevertheless.
    pub(super) lags: bool,
    pub(super) deployments: Vec<Arc<DeploymentView>>,
    /// Workers that are not watched, because they lost a label.
    pub(super) strays: Vec<ObjectMeta>,
    /// The pods of the group, also those that lost labels. The Deployments of some are not known.
    pub(super) all_pods: Vec<Arc<PodView>>,
    /// Pods by Deployment.
    pub(super) pods: BTreeMap<String, Vec<Arc<PodView>>>,
    pub(super) scheduler_pods: Vec<Arc<PodView>>,
}

/// A group and its workers, read from the API server.
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
    let workers = Workers {
        prefix: prefix_of(&uid),
        names: standing.chain(unseen).collect(),
        created: u32::try_from(created).unwrap_or(0),
    }
    .advanced();
    let mut all_pods = caches.worker_pods(&namespace, &group.name_any());
    let mut pods: BTreeMap<String, Vec<Arc<PodView>>> = BTreeMap::new();
    for pod in &all_pods {
        if let Some(deployment) = pod.deployment() {
            pods.entry(deployment.to_owned()).or_default().push(Arc::clone(pod));
        }
    }
    all_pods.extend(caches.astray_pods(&namespace, Home { component: component::WORKER, name: &group.name_any() }));
    let (workers, strays) = with_strays(group, context, (workers, &deployments, &all_pods)).await?;
    Ok(Observed {
        cluster: caches.clusters.get(&namespace, &group.spec.cluster),
        scheduler_pods: caches.scheduler_pods(&namespace, &group.spec.cluster),
        workers,
        lags,
        deployments,
        strays,
        all_pods,
        pods,
    })
}

/// Adds the workers that are not watched because they lost labels to `workers`, and returns their metadata. By the
/// caches alone, they would be replaced, and keep running beside their replacements.
async fn with_strays(
    group: &DaskWorkerGroup,
    context: &Context,
    (mut workers, deployments, pods): (Workers, &[Arc<DeploymentView>], &[Arc<PodView>]),
) -> Result<(Workers, Vec<ObjectMeta>), k8s::Error> {
    let uid = group.uid().unwrap_or_default();
    let mut strays = Vec::new();
    let lost = workers.lost();
    let vanished = context.losses.grew(&uid, lost, Instant::now());
    let count = i64::try_from(workers.names.len()).unwrap_or(i64::MAX);
    let wanted = group.spec.worker.replicas.max(0);
    if lost > 0 && (count < wanted || (vanished && count == wanted)) {
        let live = live_workers(group, context).await?;
        // The list selects by another label than the watch: each contains the workers that lost the other's label.
        let unlisted = deployments.iter().filter(|worker| !is_going(&worker.metadata) && !is_listed(worker, group));
        let live_names = live.iter().filter_map(|worker| worker.name.clone());
        workers.names = live_names.chain(unlisted.map(|worker| worker.name_any())).collect();
        strays = live.into_iter().filter(|worker| is_stray(worker, &group.name_any(), &workers.prefix)).collect();
    }
    strays.extend(unwatched(group, context, (&workers, pods)).await?);
    workers.names.extend(strays.iter().filter_map(|worker| worker.name.clone()));
    workers = workers.advanced();
    context.losses.grew(&uid, workers.lost(), Instant::now());
    Ok((workers, strays))
}

/// Reads the group and its workers from the API server, before a removal. A stale cache would still contain a worker
/// that has just been removed, and one worker too many would be removed. `None` if the group is gone.
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
    // The list does not select by component, because the watch does already.
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

/// Returns the Deployments of workers that have pods but are not among `workers`, because they lost all labels by which
/// they are watched and listed.
async fn unwatched(
    group: &DaskWorkerGroup,
    context: &Context,
    (workers, pods): (&Workers, &[Arc<PodView>]),
) -> Result<Vec<ObjectMeta>, k8s::Error> {
    let (name, uid) = (group.name_any(), group.uid().unwrap_or_default());
    let running = pods.iter().filter(|pod| !is_going(&pod.metadata) && !pod.has_ended());
    let missing = running
        .filter_map(|pod| pod.deployment())
        .filter(|worker| is_of_group(worker, &name, &workers.prefix) && !workers.names.contains(*worker))
        .map(str::to_owned)
        .collect();
    let doubtful = context.losses.doubtful(&uid, missing);
    let api: Api<DeploymentView> = Api::namespaced(context.client.clone(), &group.namespace().unwrap_or_default());
    let get = |worker: String| {
        let api = api.clone();
        async move { (k8s::timed("get", &worker, api.get_metadata_opt(&worker)).await, worker) }
    };
    let mut answers = stream::iter(doubtful.into_iter().take(SLICE).map(get)).buffered(PARALLEL);
    let mut found = Vec::new();
    while let Some((answer, worker)) = answers.next().await {
        match answer?.filter(|worker| k8s::is_controlled_by(worker, &uid) && !is_going(&worker.metadata)) {
            Some(worker) => found.push(ObjectMeta { managed_fields: None, ..worker.metadata }),
            None => context.losses.gone(&uid, &worker),
        }
    }
    Ok(found)
}

/// Returns whether the worker has the label that workers are listed by.
fn is_listed(worker: &DeploymentView, group: &DaskWorkerGroup) -> bool {
    worker.labels().get(meta::WORKER_GROUP) == group.metadata.name.as_ref()
}

/// Returns whether a worker lost the label that workers are watched by, and was created for the group by this program.
/// Owner references alone prove nothing: every user may write them.
fn is_stray(worker: &ObjectMeta, group: &str, prefix: &str) -> bool {
    let component = worker.labels.as_ref().and_then(|labels| labels.get(meta::COMPONENT));
    component.is_none_or(|component| component != component::WORKER)
        && worker.name.as_deref().is_some_and(|name| is_of_group(name, group, prefix))
}

/// Returns whether the worker is being deleted. A worker that waits for its finalizers or its pods no longer counts.
fn is_going(metadata: &ObjectMeta) -> bool {
    metadata.deletion_timestamp.is_some()
}

impl Observed {
    /// Returns the pods of the worker `name`.
    pub(super) fn pods_of(&self, name: &str) -> &[Arc<PodView>] {
        self.pods.get(name).map(Vec::as_slice).unwrap_or_default()
    }

    /// Returns the number of workers with a ready pod.
    pub(super) fn ready(&self) -> usize {
        self.deployments.iter().filter(|worker| worker.status.ready_replicas.unwrap_or(0) > 0).count()
    }

    /// Returns the number of workers that were created from `template`. Workers of an older controller record no
    /// template and are counted, so that taking over a group restarts none of its workers.
    pub(super) fn updated(&self, template: &TemplateVersion) -> usize {
        self.deployments.iter().filter(|worker| !template.is_outdated(&worker.metadata)).count()
    }

    /// Returns the creation times of the workers.
    pub(super) fn expectations(&self) -> impl Iterator<Item = Timestamp> {
        self.deployments.iter().filter_map(|worker| creation(&worker.metadata))
    }
}

impl Live {
    /// Returns the workers as candidates for removal, before their cost is known.
    pub(super) fn candidates(&self, template: &TemplateVersion, rolling: bool) -> Vec<Candidate> {
        let candidate = |worker: &ObjectMeta| {
            Some(Candidate {
                name: worker.name.clone()?,
                uid: worker.uid.clone()?,
                created: creation(worker),
                outdated: rolling && template.is_outdated(worker),
                standing: super::deletion_order::RemovalCost::Unknown,
            })
        };
        self.workers.iter().filter_map(candidate).collect()
    }
}

fn creation(metadata: &ObjectMeta) -> Option<Timestamp> {
    metadata.creation_timestamp.as_ref().map(|Time(time)| *time)
}
