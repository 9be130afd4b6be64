//! Reads a cluster's components from the caches.

use std::{collections::BTreeSet, sync::Arc};

use dask_operator_api::{
    DaskCluster, DaskWorkerGroup,
    meta::{self, component},
};
use k8s_openapi::api::core::v1::Service;
use kube::ResourceExt as _;
use operator_runtime::watch::{ChildrenOf, Expectations};

use super::component::ComponentKind;
use crate::{
    caches::{Caches, cluster_key},
    pod_labels::Home,
    view::{DeploymentView, PodView},
};

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
    /// Components that were created but are not in the caches yet.
    pub(super) unseen: BTreeSet<ComponentKind>,
    /// Whether the first phase was written but is not in the cache yet.
    pub(super) is_phase_unseen: bool,
}

impl Observed {
    /// Returns whether the caches lag behind what this process has written.
    pub(super) fn lags(&self) -> bool {
        !self.unseen.is_empty() || self.is_phase_unseen
    }
}

pub(super) fn observe(cluster: &DaskCluster, caches: &Caches, expectations: &Expectations) -> Observed {
    let (namespace, name) = (cluster.namespace().unwrap_or_default(), cluster.name_any());
    let (scheduler, group) = (meta::scheduler_name(&name), meta::default_group_name(&name));
    let mut observed = Observed {
        scheduler: caches.schedulers.get(&namespace, &scheduler),
        service: caches.services.get(&namespace, &scheduler),
        scheduler_pods: caches.scheduler_pods(&namespace, &name),
        astray_pods: caches.astray_pods(&namespace, Home { component: component::SCHEDULER, name: &name }),
        group: caches.groups.get(&namespace, &group),
        groups: caches.groups.indexed(&cluster_key(&namespace, &name)),
        ..Observed::default()
    };
    let uid = cluster.uid().unwrap_or_default();
    let is_unseen = |kind: &'static str, stands: bool| {
        !expectations.unseen(ChildrenOf { kind, owner: &uid }, |_| stands).is_empty()
    };
    let stands = |kind: &ComponentKind| match kind {
        ComponentKind::Scheduler => observed.scheduler.is_some(),
        ComponentKind::Service => observed.service.is_some(),
        ComponentKind::Group => observed.group.is_some(),
    };
    let unseen = ComponentKind::ALL.into_iter().filter(|kind| is_unseen(kind.name(), stands(kind)));
    observed.unseen = unseen.collect();
    let has_phase = cluster.status.as_ref().is_some_and(|status| status.phase.is_some());
    observed.is_phase_unseen = is_unseen(PHASE, has_phase);
    observed
}
