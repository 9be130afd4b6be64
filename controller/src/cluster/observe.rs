use std::sync::Arc;

use k8s_openapi::api::core::v1::Service;
use kube::ResourceExt as _;

use crate::{
    context::Caches,
    crd::{DaskCluster, DaskWorkerGroup},
    meta,
    view::{DeploymentView, PodView},
};

/// What stands under the names of a cluster's components, whoever owns it.
#[derive(Debug, Default)]
pub(super) struct Observed {
    pub(super) scheduler: Option<Arc<DeploymentView>>,
    pub(super) service: Option<Arc<Service>>,
    pub(super) group: Option<Arc<DaskWorkerGroup>>,
    pub(super) scheduler_pods: Vec<Arc<PodView>>,
}

pub(super) fn observe(cluster: &DaskCluster, caches: &Caches) -> Observed {
    let (namespace, name) = (cluster.namespace().unwrap_or_default(), cluster.name_any());
    let scheduler = meta::scheduler_name(&name);
    Observed {
        scheduler: caches.schedulers.get(&namespace, &scheduler),
        service: caches.services.get(&namespace, &scheduler),
        scheduler_pods: caches.scheduler_pods(&namespace, &name),
        group: caches.groups.get(&namespace, &meta::default_group_name(&name)),
    }
}
