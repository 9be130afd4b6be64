//! Reads a cluster's components from the caches.

use std::{collections::BTreeSet, sync::Arc};

use dask_operator_api::{
    DaskCluster, DaskWorkerGroup,
    meta::{self, component},
};
use k8s_openapi::api::core::v1::Service;
use kube::ResourceExt as _;

use crate::{
    context::{Context, cluster_key},
    pod_labels::Home,
    view::{DeploymentView, PodView},
};

/// Kinds of the components. A cluster has one of each.
const SCHEDULER: &str = "Deployment";
const SERVICE: &str = "Service";
const GROUP: &str = "DaskWorkerGroup";
/// The cluster's phase, tracked in the expectations like a kind of its own.
pub(super) const PHASE: &str = "phase";

/// The objects that have the names of a cluster's components, regardless of their owner.
#[derive(Debug, Default)]
pub(super) struct Observed {
    pub(super) scheduler: Option<Arc<DeploymentView>>,
    pub(super) service: Option<Arc<Service>>,
    pub(super) group: Option<Arc<DaskWorkerGroup>>,
    /// All groups that name the cluster, including the default one.
    pub(super) groups: Vec<Arc<DaskWorkerGroup>>,
    pub(super) scheduler_pods: Vec<Arc<PodView>>,
    /// Pods that were created for the scheduler and whose labels say something else.
    pub(super) astray_pods: Vec<Arc<PodView>>,
    /// Kinds of components that were created but are not in the caches yet, and [`PHASE`] if the first phase was
    /// written but is not in the cache yet.
    pub(super) unseen: BTreeSet<&'static str>,
}

pub(super) fn observe(cluster: &DaskCluster, context: &Context) -> Observed {
    let (namespace, name) = (cluster.namespace().unwrap_or_default(), cluster.name_any());
    let (caches, scheduler, group) = (&context.caches, meta::scheduler_name(&name), meta::default_group_name(&name));
    let mut observed = Observed {
        scheduler: caches.schedulers.get(&namespace, &scheduler),
        service: caches.services.get(&namespace, &scheduler),
        scheduler_pods: caches.scheduler_pods(&namespace, &name),
        astray_pods: caches.astray_pods(&namespace, Home { component: component::SCHEDULER, name: &name }),
        group: caches.groups.get(&namespace, &group),
        groups: caches.groups.indexed(&cluster_key(&namespace, &name)),
        unseen: BTreeSet::new(),
    };
    let stands = [
        (SCHEDULER, observed.scheduler.is_some()),
        (SERVICE, observed.service.is_some()),
        (GROUP, observed.group.is_some()),
        (PHASE, cluster.status.as_ref().is_some_and(|status| status.phase.is_some())),
    ];
    let uid = cluster.uid().unwrap_or_default();
    let is_unseen =
        |(kind, stands): &(&'static str, bool)| !context.expectations.unseen((kind, &uid), |_| *stands).is_empty();
    observed.unseen = stands.into_iter().filter(is_unseen).map(|(kind, _)| kind).collect();
    observed
}
