use std::{collections::BTreeMap, sync::Arc};

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::{
    Api, ResourceExt as _,
    api::{ListParams, ObjectMeta, PartialObjectMeta},
};

use super::{
    scale::{Workers, prefix_of},
    victims::Candidate,
};
use crate::{
    context::Context,
    crd::{DaskCluster, DaskWorkerGroup},
    k8s, meta,
    view::{DeploymentView, PodView},
};

/// The kind of workers, for what was made of it.
pub(super) const WORKER: &str = "Deployment";

/// What stands around a group, as the caches know it.
#[derive(Debug, Default)]
pub(super) struct Observed {
    pub(super) cluster: Option<Arc<DaskCluster>>,
    pub(super) workers: Workers,
    /// Whether workers were made that the caches do not know yet. They count all the same.
    pub(super) lags: bool,
    pub(super) deployments: Vec<Arc<DeploymentView>>,
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
    let is_seen = |name: &str| deployments.iter().any(|worker| worker.metadata.name.as_deref() == Some(name));
    let unseen = context.creations.unseen((WORKER, &uid), is_seen);
    let lags = !unseen.is_empty();
    let standing = deployments.iter().filter(|worker| !is_going(&worker.metadata)).map(|worker| worker.name_any());
    let mut workers = Workers {
        prefix: prefix_of(&uid),
        names: standing.chain(unseen).collect(),
        created: u32::try_from(created).unwrap_or(0),
    }
    .advanced();
    let short = i64::try_from(workers.names.len()).unwrap_or(i64::MAX) < group.spec.worker.replicas;
    if short && workers.misses_known() {
        let live = live_workers(group, context).await?;
        workers.names = live.iter().filter_map(|worker| worker.name.clone()).collect();
        workers = workers.advanced();
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
    let selector = meta::worker_selector(&group.name_any());
    let params = ListParams::default().labels(&selector);
    let list = k8s::timed("list", "worker Deployments", api.list_metadata(&params)).await?;
    let ours = |worker: &PartialObjectMeta<DeploymentView>| {
        meta::is_controlled_by(worker, &uid) && !is_going(&worker.metadata)
    };
    Ok(list.items.into_iter().filter(ours).map(|worker| worker.metadata).collect())
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
    pub(super) fn creations(&self) -> impl Iterator<Item = Timestamp> {
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
                standing: super::victims::Standing::Unknown,
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
