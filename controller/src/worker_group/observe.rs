//! Reads a group and its surroundings from the caches.

use std::{
    collections::{BTreeMap, HashSet},
    sync::Arc,
};

use dask_operator_api::{DaskCluster, DaskWorkerGroup, meta::component};
use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::{ResourceExt as _, api::ObjectMeta};
use operator_runtime::watch::{ChildrenOf, Expectations};

use super::scale::{Workers, prefix_of};
use crate::{
    caches::Caches,
    pod_labels::Home,
    template_version::TemplateVersion,
    view::{DeploymentView, PodView},
};

/// The kind of workers, as the expectations record it.
pub(super) const WORKER: &str = "Deployment";

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

pub(super) fn observe(group: &DaskWorkerGroup, caches: &Caches, expectations: &Expectations) -> Observed {
    let (namespace, uid) = (group.namespace().unwrap_or_default(), group.uid().unwrap_or_default());
    let created = group.status.as_ref().and_then(|status| status.workers_created).unwrap_or(0);
    let deployments = caches.workers.indexed(&uid);
    let seen: HashSet<&str> = deployments.iter().filter_map(|worker| worker.metadata.name.as_deref()).collect();
    let unseen = expectations.unseen(ChildrenOf { kind: WORKER, owner: &uid }, |name| seen.contains(name));
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
    Observed {
        cluster: caches.clusters.get(&namespace, &group.spec.cluster),
        scheduler_pods: caches.scheduler_pods(&namespace, &group.spec.cluster),
        workers,
        lags,
        deployments,
        strays: Vec::new(),
        all_pods,
        pods,
    }
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
    pub(super) fn creation_times(&self) -> impl Iterator<Item = Timestamp> {
        self.deployments.iter().filter_map(|worker| creation(&worker.metadata))
    }
}

/// Returns whether the worker is being deleted. A worker that waits for its finalizers or its pods no longer counts.
pub(super) fn is_going(metadata: &ObjectMeta) -> bool {
    metadata.deletion_timestamp.is_some()
}

/// Returns when the object was created.
pub(super) fn creation(metadata: &ObjectMeta) -> Option<Timestamp> {
    metadata.creation_timestamp.as_ref().map(|Time(time)| *time)
}
