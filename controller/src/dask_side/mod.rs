//! Wiring of the Dask side: which watch fills which cache and wakes which reconciler.

mod wake;

use std::sync::Arc;

use futures::channel::mpsc::UnboundedReceiver;
use kube::runtime::{controller::ReconcileRequest, reflector};
use tokio_util::sync::CancellationToken;

use crate::{
    autoscaler, cluster,
    context::Context,
    crd::{DaskAutoscaler, DaskCluster, DaskJob, DaskWorkerGroup},
    idle, job, k8s,
    meta::{self, component},
    reconciler::Reconciler,
    run::{Scope, watch_config},
    watch::{Feed, Queue, queue},
    wired::Wired,
    worker_group,
};

/// The sending ends of the reconcilers' queues.
#[derive(Clone)]
struct Queues {
    clusters: Queue<DaskCluster>,
    /// Clusters again, for the idle time-out: it talks to schedulers, and one that hangs must not hold up
    /// the making of clusters.
    idle: Queue<DaskCluster>,
    groups: Queue<DaskWorkerGroup>,
    jobs: Queue<DaskJob>,
    autoscalers: Queue<DaskAutoscaler>,
}

/// The receiving ends.
struct Requests {
    clusters: UnboundedReceiver<ReconcileRequest<DaskCluster>>,
    idle: UnboundedReceiver<ReconcileRequest<DaskCluster>>,
    groups: UnboundedReceiver<ReconcileRequest<DaskWorkerGroup>>,
    jobs: UnboundedReceiver<ReconcileRequest<DaskJob>>,
    autoscalers: UnboundedReceiver<ReconcileRequest<DaskAutoscaler>>,
}

/// Where the reconcilers find their own objects.
struct Stores {
    clusters: reflector::Store<DaskCluster>,
    groups: reflector::Store<DaskWorkerGroup>,
    jobs: reflector::Store<DaskJob>,
    autoscalers: reflector::Store<DaskAutoscaler>,
}

/// Connects caches, queues and reconcilers.
pub(crate) fn wire(context: &Arc<Context>, scope: &Scope, shutdown: &CancellationToken) -> Wired {
    let (queues, requests) = queues();
    let mut wired = Wired::new(shutdown.clone());
    let stores = watch_dask_kinds(&mut wired, context, scope, &queues);
    watch_children(&mut wired, context, scope, &queues);
    context.board.wake_by(queues.clusters.clone(), wired.watches.clone());
    run_reconcilers(&mut wired, context, (requests, stores), shutdown);
    wired
}

fn queues() -> (Queues, Requests) {
    let (clusters, cluster_requests) = queue();
    let (idle, idle_requests) = queue();
    let (groups, group_requests) = queue();
    let (jobs, job_requests) = queue();
    let (autoscalers, autoscaler_requests) = queue();
    let queues = Queues { clusters, idle, groups, jobs, autoscalers };
    let requests = Requests {
        clusters: cluster_requests,
        idle: idle_requests,
        groups: group_requests,
        jobs: job_requests,
        autoscalers: autoscaler_requests,
    };
    (queues, requests)
}

fn watch_dask_kinds(wired: &mut Wired, context: &Arc<Context>, scope: &Scope, queues: &Queues) -> Stores {
    let (caches, client) = (&context.caches, &context.client);
    let (clusters, cluster_writer) = reflector::store();
    let (groups, group_writer) = reflector::store();
    let (jobs, job_writer) = reflector::store();
    let (autoscalers, autoscaler_writer) = reflector::store();
    wired.watch(
        Feed::new(scope.api(client), (), watch_config(None), caches.clusters.clone())
            .store(cluster_writer)
            .resync(k8s::forget_old_definitions)
            .listen(wake::on_cluster(caches, queues)),
    );
    wired.watch(
        Feed::new(scope.api(client), (), watch_config(None), caches.groups.clone())
            .store(group_writer)
            .resync(k8s::forget_old_definitions)
            .listen(wake::on_group(queues)),
    );
    wired.watch(
        Feed::new(scope.api(client), (), watch_config(None), caches.jobs.clone())
            .store(job_writer)
            .resync(k8s::forget_old_definitions)
            .listen(wake::on_job(queues)),
    );
    wired.watch(
        Feed::new(scope.api(client), (), watch_config(None), caches.autoscalers.clone())
            .store(autoscaler_writer)
            .resync(k8s::forget_old_definitions)
            .listen(wake::on_autoscaler(caches, queues)),
    );
    Stores { clusters, groups, jobs, autoscalers }
}

fn watch_children(wired: &mut Wired, context: &Arc<Context>, scope: &Scope, queues: &Queues) {
    let (caches, client) = (&context.caches, &context.client);
    let of_scheduler = format!("{}={}", meta::COMPONENT, component::SCHEDULER);
    let of_worker = format!("{}={}", meta::COMPONENT, component::WORKER);
    let of_any =
        format!("{} in ({},{},{})", meta::COMPONENT, component::SCHEDULER, component::WORKER, component::JOB_RUNNER);
    wired.watch(
        Feed::new(scope.api(client), (), watch_config(Some(&of_scheduler)), caches.schedulers.clone())
            .listen(wake::owning_cluster(queues)),
    );
    wired.watch(
        Feed::new(scope.api(client), (), watch_config(Some(&of_scheduler)), caches.services.clone())
            .listen(wake::owning_cluster(queues)),
    );
    wired.watch(
        Feed::new(scope.api(client), (), watch_config(Some(&of_worker)), caches.workers.clone())
            .listen(wake::owning_group(queues)),
    );
    wired.watch(
        Feed::new(scope.api(client), (), watch_config(Some(&of_any)), caches.pods.clone()).listen(wake::on_pod(queues)),
    );
}

fn run_reconcilers(
    wired: &mut Wired,
    context: &Arc<Context>,
    (requests, stores): (Requests, Stores),
    shutdown: &CancellationToken,
) {
    let metrics = || Arc::clone(&context.metrics);
    let clusters = Reconciler {
        name: "DaskCluster",
        store: stores.clusters.clone(),
        reconcile: cluster::reconcile,
        category: cluster::Error::category,
        metrics: metrics(),
    };
    let idle = Reconciler {
        name: "DaskClusterIdle",
        store: stores.clusters,
        reconcile: idle::reconcile,
        category: idle::Error::category,
        metrics: metrics(),
    };
    let groups = Reconciler {
        name: "DaskWorkerGroup",
        store: stores.groups,
        reconcile: worker_group::reconcile,
        category: worker_group::Error::category,
        metrics: metrics(),
    };
    let jobs = Reconciler {
        name: "DaskJob",
        store: stores.jobs,
        reconcile: job::reconcile,
        category: job::Error::category,
        metrics: metrics(),
    };
    let autoscalers = Reconciler {
        name: "DaskAutoscaler",
        store: stores.autoscalers,
        reconcile: autoscaler::reconcile,
        category: autoscaler::Error::category,
        metrics: metrics(),
    };
    wired.after_sync(
        "the DaskCluster reconciler",
        clusters.run(requests.clusters, Arc::clone(context), shutdown.clone()),
    );
    wired.after_sync("the idle time-out", idle.run(requests.idle, Arc::clone(context), shutdown.clone()));
    wired.after_sync(
        "the DaskWorkerGroup reconciler",
        groups.run(requests.groups, Arc::clone(context), shutdown.clone()),
    );
    wired.after_sync("the DaskJob reconciler", jobs.run(requests.jobs, Arc::clone(context), shutdown.clone()));
    wired.after_sync(
        "the DaskAutoscaler reconciler",
        autoscalers.run(requests.autoscalers, Arc::clone(context), shutdown.clone()),
    );
}
