//! Wiring of the Dask side: which watch fills which cache and wakes which reconciler.

use std::sync::Arc;

use kube::{Resource, ResourceExt as _, runtime::reflector};
use tokio_util::sync::CancellationToken;

use crate::{
    cluster,
    context::{Context, cluster_key},
    crd::{DaskCluster, DaskWorkerGroup},
    meta::{self, component},
    reconciler::Reconciler,
    run::{Scope, watch_config},
    watch::{Change, Feed, Queue, queue},
    wired::Wired,
    worker_group,
};

/// Connects caches, queues and reconcilers.
pub(crate) fn wire(context: &Arc<Context>, scope: &Scope, shutdown: &CancellationToken) -> Wired {
    let (clusters, cluster_requests) = queue::<DaskCluster>();
    let (groups, group_requests) = queue::<DaskWorkerGroup>();
    let (cluster_store, cluster_writer) = reflector::store();
    let (group_store, group_writer) = reflector::store();
    let (caches, client) = (&context.caches, &context.client);

    let cluster_feed = Feed::new(scope.api(client), (), watch_config(None), caches.clusters.clone())
        .store(cluster_writer)
        .listen(wake_cluster_and_groups(context, clusters.clone(), groups.clone()));
    let group_feed = Feed::new(scope.api(client), (), watch_config(None), caches.groups.clone())
        .store(group_writer)
        .listen(wake_group_and_cluster(groups.clone(), clusters.clone()));
    let of_scheduler = labels(component::SCHEDULER);
    let scheduler_feed = Feed::new(scope.api(client), (), watch_config(Some(&of_scheduler)), caches.schedulers.clone())
        .listen(wake_owning_cluster(clusters.clone()));
    let service_feed = Feed::new(scope.api(client), (), watch_config(Some(&of_scheduler)), caches.services.clone())
        .listen(wake_owning_cluster(clusters));
    let of_worker = labels(component::WORKER);
    let worker_feed = Feed::new(scope.api(client), (), watch_config(Some(&of_worker)), caches.workers.clone())
        .listen(wake_owning_group(groups));

    let mut wired = Wired::new(shutdown.clone());
    wired.watch(cluster_feed);
    wired.watch(group_feed);
    wired.watch(scheduler_feed);
    wired.watch(service_feed);
    wired.watch(worker_feed);

    let cluster_reconciler = Reconciler {
        name: "DaskCluster",
        store: cluster_store,
        reconcile: cluster::reconcile,
        category: cluster::Error::category,
    };
    let group_reconciler = Reconciler {
        name: "DaskWorkerGroup",
        store: group_store,
        reconcile: worker_group::reconcile,
        category: worker_group::Error::category,
    };
    let clusters = cluster_reconciler.run(cluster_requests, Arc::clone(context), shutdown.clone());
    let groups = group_reconciler.run(group_requests, Arc::clone(context), shutdown.clone());
    wired.after_sync("the DaskCluster reconciler", clusters);
    wired.after_sync("the DaskWorkerGroup reconciler", groups);
    wired
}

fn labels(component: &str) -> String {
    format!("{}={component}", meta::COMPONENT)
}

fn wake_cluster_and_groups(
    context: &Context,
    clusters: Queue<DaskCluster>,
    groups: Queue<DaskWorkerGroup>,
) -> impl Fn(&Change<DaskCluster>) + Send + 'static {
    let group_cache = context.caches.groups.clone();
    move |change| {
        let (namespace, name) = (change.object().namespace().unwrap_or_default(), change.object().name_any());
        clusters.push(&namespace, &name);
        for group in group_cache.indexed(&cluster_key(&namespace, &name)) {
            groups.push(&namespace, &group.name_any());
        }
    }
}

fn wake_group_and_cluster(
    groups: Queue<DaskWorkerGroup>,
    clusters: Queue<DaskCluster>,
) -> impl Fn(&Change<DaskWorkerGroup>) + Send + 'static {
    move |change| {
        let namespace = change.object().namespace().unwrap_or_default();
        groups.push(&namespace, &change.object().name_any());
        clusters.push(&namespace, &change.object().spec.cluster);
    }
}

/// By label where there is no owner: such an object may stand in a cluster's way.
fn wake_owning_cluster<K: Resource>(clusters: Queue<DaskCluster>) -> impl Fn(&Change<K>) + Send + 'static {
    move |change| {
        let object = change.object();
        let owner = meta::dask_controller(object.as_ref(), "DaskCluster").map(|owner| &owner.name);
        if let Some(name) = owner.or_else(|| object.labels().get(meta::CLUSTER_NAME)) {
            clusters.push(&object.namespace().unwrap_or_default(), name);
        }
    }
}

fn wake_owning_group<K: Resource>(groups: Queue<DaskWorkerGroup>) -> impl Fn(&Change<K>) + Send + 'static {
    move |change| {
        let object = change.object();
        if let Some(owner) = meta::dask_controller(object.as_ref(), "DaskWorkerGroup") {
            groups.push(&object.namespace().unwrap_or_default(), &owner.name);
        }
    }
}
