//! Wires the reconcilers of Dask resources: which watch fills which cache and triggers which reconciler.

pub(crate) mod contexts;
mod queues;
mod triggers;

use std::sync::Arc;

use dask_operator_api::{
    DaskAutoscaler, DaskCluster, DaskJob, DaskWorkerGroup, GROUP,
    meta::{self, component},
};
use kube::runtime::reflector;
use operator_runtime::{reconciler::Reconciler, scope::Scope, task_set::TaskSet, unreadable, watch::KindWatcher};
use tokio_util::sync::CancellationToken;

pub(crate) use self::queues::WorkQueues;
use self::queues::{Receivers, Senders};
use crate::{autoscaler, cluster, idle, job, kopf_finalizer, shared::Shared, worker_group};

/// The stores from which the reconcilers read their own objects.
struct Stores {
    clusters: reflector::Store<DaskCluster>,
    groups: reflector::Store<DaskWorkerGroup>,
    jobs: reflector::Store<DaskJob>,
    autoscalers: reflector::Store<DaskAutoscaler>,
}

/// What the reconcilers get their work from.
struct ReconcilerInputs {
    receivers: Receivers,
    stores: Stores,
}

/// Connects caches, queues and reconcilers.
pub(crate) fn wire(shared: &Shared, queues: WorkQueues, scope: &Scope, shutdown: &CancellationToken) -> TaskSet {
    let WorkQueues { senders, receivers } = queues;
    let mut task_set = TaskSet::new(
        shared.liveness.clone(),
        shared.leadership.clone(),
        shared.memory_budget.clone(),
        shutdown.clone(),
    );
    if shared.releases.is_on() {
        task_set.watch(shared.releases.watch(&shared.client, shared.watch_timing));
        let (releases, client) = (shared.releases.clone(), shared.client.clone());
        task_set.until_shutdown("the claims to namespaces", |leading| releases.claim(client, leading));
    }
    let stores = watch_dask_kinds(&mut task_set, shared, scope, &senders);
    watch_children(&mut task_set, shared, scope, &senders);
    senders.wait_for(&task_set.watches);
    run_reconcilers(&mut task_set, shared, ReconcilerInputs { receivers, stores }, shutdown);
    let reporter = unreadable::Reporter {
        client: shared.client.clone(),
        recorder: shared.recorder.clone(),
        liveness: shared.liveness.clone(),
        conditions_of,
        release: {
            let client = shared.client.clone();
            Box::new(move |object| {
                let client = client.clone();
                Box::pin(async move { kopf_finalizer::release_unreadable(&client, &object).await })
            })
        },
    };
    task_set.until_shutdown("the reporter of unreadable objects", |leading| reporter.run(leading));
    task_set
}

/// Returns the conditions that the reconciler of a kind writes. A DaskJob has none.
fn conditions_of(group: &str, kind: &str) -> &'static [&'static str] {
    match kind {
        _ if group != GROUP => &[],
        "DaskCluster" => cluster::CONDITIONS,
        "DaskWorkerGroup" => worker_group::CONDITIONS,
        "DaskAutoscaler" => autoscaler::CONDITIONS,
        "DaskOperatorPlugin" => dask_plugin_engine::CONDITIONS,
        _ => &[],
    }
}

fn watch_dask_kinds(task_set: &mut TaskSet, shared: &Shared, scope: &Scope, queues: &Senders) -> Stores {
    let (caches, client, watch_timing) = (&shared.caches, &shared.client, shared.watch_timing);
    let definitions = shared.old_definitions.clone();
    let forget = move || definitions.forget_sent();
    let (clusters, cluster_writer) = reflector::store();
    let (groups, group_writer) = reflector::store();
    let (jobs, job_writer) = reflector::store();
    let (autoscalers, autoscaler_writer) = reflector::store();
    task_set.watch(
        KindWatcher::new(client, scope, (), watch_timing.config(None), caches.clusters.clone())
            .store(cluster_writer)
            .resync(forget.clone())
            .listen(triggers::on_cluster(caches, queues)),
    );
    task_set.watch(
        KindWatcher::new(client, scope, (), watch_timing.config(None), caches.groups.clone())
            .store(group_writer)
            .resync(forget.clone())
            .listen(triggers::on_group(caches, queues)),
    );
    task_set.watch(
        KindWatcher::new(client, scope, (), watch_timing.config(None), caches.jobs.clone())
            .store(job_writer)
            .resync(forget.clone())
            .listen(triggers::on_job(queues)),
    );
    task_set.watch(
        KindWatcher::new(client, scope, (), watch_timing.config(None), caches.autoscalers.clone())
            .store(autoscaler_writer)
            .resync(forget.clone())
            .listen(triggers::on_autoscaler(caches, queues)),
    );
    Stores { clusters, groups, jobs, autoscalers }
}

fn watch_children(task_set: &mut TaskSet, shared: &Shared, scope: &Scope, queues: &Senders) {
    let (caches, client, watch_timing) = (&shared.caches, &shared.client, shared.watch_timing);
    let of_scheduler = format!("{}={}", meta::COMPONENT, component::SCHEDULER);
    let of_worker = format!("{}={}", meta::COMPONENT, component::WORKER);
    let of_any =
        format!("{} in ({},{},{})", meta::COMPONENT, component::SCHEDULER, component::WORKER, component::JOB_RUNNER);
    task_set.watch(
        KindWatcher::new(client, scope, (), watch_timing.config(Some(&of_scheduler)), caches.schedulers.clone())
            .listen(triggers::owning_cluster(queues)),
    );
    task_set.watch(
        KindWatcher::new(client, scope, (), watch_timing.config(Some(&of_scheduler)), caches.services.clone())
            .listen(triggers::owning_cluster(queues)),
    );
    task_set.watch(
        KindWatcher::new(client, scope, (), watch_timing.config(Some(&of_worker)), caches.workers.clone())
            .listen(triggers::owning_group(queues)),
    );
    task_set.watch(
        KindWatcher::new(client, scope, (), watch_timing.config(Some(&of_any)), caches.pods.clone())
            .listen(triggers::on_pod(queues)),
    );
    // A pod that loses the label of its component leaves the watch above. This one finds it, also after a restart.
    let of_none = format!(
        "{},{} notin ({},{},{})",
        meta::CLUSTER_NAME,
        meta::COMPONENT,
        component::SCHEDULER,
        component::WORKER,
        component::JOB_RUNNER
    );
    task_set.watch(
        KindWatcher::new(client, scope, (), watch_timing.config(Some(&of_none)), caches.unlabelled_pods.clone())
            .listen(triggers::on_pod(queues)),
    );
}

/// Returns a reconciler of objects in `store`, with what all reconcilers need of this process.
fn reconciler<K: kube::Resource<DynamicType = ()> + 'static, Reconcile, Error>(
    shared: &Shared,
    name: &'static str,
    store: reflector::Store<K>,
    reconcile: Reconcile,
    category: fn(&Error) -> &'static str,
) -> Reconciler<K, Reconcile, Error> {
    Reconciler {
        name,
        store,
        reconcile,
        category,
        liveness: shared.liveness.clone(),
        passes: shared.metrics.runtime.passes(name),
        releases: shared.releases.clone(),
    }
}

fn run_reconcilers(
    task_set: &mut TaskSet,
    shared: &Shared,
    ReconcilerInputs { receivers, stores }: ReconcilerInputs,
    shutdown: &CancellationToken,
) {
    let clusters =
        reconciler(shared, "DaskCluster", stores.clusters.clone(), cluster::reconcile, cluster::Error::category);
    let idle = reconciler(shared, "DaskClusterIdle", stores.clusters, idle::reconcile, idle::Error::category);
    let groups =
        reconciler(shared, "DaskWorkerGroup", stores.groups, worker_group::reconcile, worker_group::Error::category);
    let jobs = reconciler(shared, "DaskJob", stores.jobs, job::reconcile, job::Error::category);
    let autoscalers =
        reconciler(shared, "DaskAutoscaler", stores.autoscalers, autoscaler::reconcile, autoscaler::Error::category);
    let (context, ends) = (Arc::new(contexts::cluster(shared)), shutdown.clone());
    task_set.after_sync("the DaskCluster reconciler", move |leading| {
        clusters.run(receivers.clusters, context, leading, ends)
    });
    let (context, ends) = (Arc::new(contexts::idle(shared)), shutdown.clone());
    task_set.after_sync("the idle time-out", move |leading| idle.run(receivers.idle, context, leading, ends));
    let (context, ends) = (Arc::new(contexts::worker_group(shared)), shutdown.clone());
    task_set.after_sync("the DaskWorkerGroup reconciler", move |leading| {
        groups.run(receivers.groups, context, leading, ends)
    });
    let (context, ends) = (Arc::new(contexts::job(shared)), shutdown.clone());
    task_set.after_sync("the DaskJob reconciler", move |leading| jobs.run(receivers.jobs, context, leading, ends));
    let (context, ends) = (Arc::new(contexts::autoscaler(shared)), shutdown.clone());
    task_set.after_sync("the DaskAutoscaler reconciler", move |leading| {
        autoscalers.run(receivers.autoscalers, context, leading, ends)
    });
}
