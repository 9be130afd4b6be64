use std::{collections::BTreeSet, sync::Arc};

use kube::{Api, ResourceExt, api::ListParams};

use super::scale::{Workers, prefix_of};
use crate::{
    context::Context,
    crd::{DaskCluster, DaskWorkerGroup},
    k8s, meta,
    view::DeploymentView,
};

/// What stands around a group.
#[derive(Debug)]
pub(super) struct Observed {
    pub(super) cluster: Option<Arc<DaskCluster>>,
    pub(super) workers: Workers,
    pub(super) ready: i64,
}

pub(super) async fn observe(group: &DaskWorkerGroup, context: &Context) -> Result<Observed, k8s::Error> {
    let (namespace, uid) = (group.namespace().unwrap_or_default(), group.uid().unwrap_or_default());
    let created = group.status.as_ref().and_then(|status| status.workers_created).unwrap_or(0);
    let deployments = context.caches.workers.indexed(&uid);
    let mut workers = Workers {
        prefix: prefix_of(&uid),
        names: deployments.iter().map(|worker| worker.name_any()).collect(),
        created: u32::try_from(created).unwrap_or(0),
    }
    .advanced();
    let short = i64::try_from(workers.names.len()).unwrap_or(i64::MAX) < group.spec.worker.replicas;
    if short && workers.misses_known() {
        workers.names = live_names(group, context, &namespace, &uid).await?;
        workers = workers.advanced();
    }
    let is_ready = |worker: &&Arc<DeploymentView>| worker.status.ready_replicas.unwrap_or(0) > 0;
    Ok(Observed {
        cluster: context.caches.clusters.get(&namespace, &group.spec.cluster),
        ready: i64::try_from(deployments.iter().filter(is_ready).count()).unwrap_or(i64::MAX),
        workers,
    })
}

/// Asks the API server itself: needed only where a cache that lags could be taken for lost workers.
async fn live_names(
    group: &DaskWorkerGroup,
    context: &Context,
    namespace: &str,
    uid: &str,
) -> Result<BTreeSet<String>, k8s::Error> {
    let api: Api<DeploymentView> = Api::namespaced(context.client.clone(), namespace);
    let selector = meta::worker_selector(&group.name_any());
    let params = ListParams::default().labels(&selector);
    let list = k8s::timed("list", "worker Deployments", api.list_metadata(&params)).await?;
    Ok(list.items.iter().filter(|worker| meta::is_controlled_by(*worker, uid)).map(ResourceExt::name_any).collect())
}
