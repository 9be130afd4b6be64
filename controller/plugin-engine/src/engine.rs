//! Connects the engine's watches, queue, reconciler and background tasks.

mod tasks;

use std::sync::Arc;

use dask_operator_api::DaskOperatorPlugin;
use kube::{Client, Config, runtime::reflector};
use operator_runtime::{
    fair_share::FairShare,
    leader::Leadership,
    liveness::Liveness,
    metrics::{CountRequests, Passes},
    reconciler::Reconciler,
    releases::Releases,
    report::StatusReporter,
    task_set::TaskSet,
    watch::{KindWatcher, MemoryBudget, SyncStatus, WatchTiming, WorkQueueReceiver},
};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::{
    children::context::SyncContext,
    config::Settings,
    index::{
        registry::Registry,
        watches::{WatchConfig, WatchManager},
    },
    metrics::PluginMetrics,
    model::{key::PluginKey, owner_caches::OwnerCaches, writer::Writers},
    pki::authority::Authority,
    resource::{
        self, Inquiries, Probes, context::PluginContext, deleted_plugins::DeletedPlugins, finalizer_controller,
        socket_watch, sockets::Sockets, sweep, trigger::ProbeTrigger,
    },
    status::store::StatusStore,
};

/// How many deleted plugins may have their children deleted at the same time. Namespaces share this number fairly.
const RETIREMENTS: usize = 16;

/// The parts of the surrounding process that the engine needs.
pub struct Dependencies {
    /// Client of the API server.
    pub client: Client,
    /// Configuration of that client. The clients of writers are derived from it.
    pub config: Config,
    /// Caches of Dask resources.
    pub caches: OwnerCaches,
    /// The watches that fill these caches. Statuses are published only after they have synced.
    pub watches: Vec<SyncStatus>,
    /// Time limits of watches.
    pub watch_timing: WatchTiming,
    /// Writes statuses and publishes Events.
    pub reporter: StatusReporter,
    /// The reports of plugins about Dask resources.
    pub status_store: Arc<StatusStore>,
    /// Metrics of plugins.
    pub metrics: PluginMetrics,
    /// Counts the requests of writers' clients.
    pub count_requests: CountRequests,
    /// Counts the reconcile passes over plugin resources.
    pub passes: Arc<Passes>,
    /// The other releases on the cluster.
    pub releases: Releases,
    /// Whether this process is the leader.
    pub leadership: Leadership,
    /// Liveness of watches and reconcile passes.
    pub liveness: Liveness,
    /// The memory that the objects of one namespace may take in the caches.
    pub memory_budget: MemoryBudget,
    /// The DNS domain of the Kubernetes cluster.
    pub cluster_domain: String,
}

/// Returns the tasks of the engine, ready to be run.
pub fn wire(
    dependencies: &Dependencies,
    settings: Settings,
    requests: WorkQueueReceiver<DaskOperatorPlugin>,
    shutdown: &CancellationToken,
) -> TaskSet {
    let own = settings.namespace.clone();
    let (doubts, doubted) = mpsc::unbounded_channel();
    let plugin_context = plugin_context(dependencies, settings, doubts, shutdown);
    let known = plugin_context.plugins.clone();
    dependencies.metrics.watch(Box::new(move || known.readiness(&own)));
    let workers = Arc::clone(&plugin_context.registry);
    dependencies.metrics.watch_subjects(Box::new(move || workers.subjects()));
    let mut task_set = task_set(dependencies, shutdown);
    let passes = Arc::clone(&dependencies.passes);
    let plugins = wire_plugins(&mut task_set, &plugin_context, requests, passes, shutdown);
    let status_writer = tasks::status_writer(dependencies);
    task_set.until_shutdown("the plugin status writer", |leading| tasks::write_statuses(status_writer, leading));
    let trigger = ProbeTrigger(Arc::clone(&plugin_context));
    if plugin_context.settings.endpoints {
        tasks::watch_endpoints(&mut task_set, &trigger);
    }
    tasks::watch_strays(&mut task_set, &plugin_context);
    task_set.until_shutdown("the plugin socket watcher", |leading| socket_watch::follow(trigger, leading));
    let (kept, caches) = (Arc::clone(&plugin_context), dependencies.caches.clone());
    task_set.until_shutdown("the finalizer controller", |leading| {
        finalizer_controller::run(kept, caches, plugins, leading)
    });
    let reviewed = Arc::clone(&plugin_context);
    task_set.until_shutdown("the RBAC review of plugins", |_| tasks::review_rights(reviewed, doubted));
    let registry = Arc::clone(&plugin_context.registry);
    task_set.at_shutdown("the plugin workers", async move { registry.finish().await });
    let swept = Arc::clone(&plugin_context);
    task_set.until_shutdown("the cleanup of unused watches and clients", |_| sweep::sweep(swept));
    task_set.until_shutdown("the plugin summary publisher", |_| tasks::publish_summaries(plugin_context));
    task_set
}

/// Creates the context that all parts of the engine share. Plugins whose RBAC has to be checked again are sent to
/// `doubts`.
fn plugin_context(
    dependencies: &Dependencies,
    settings: Settings,
    doubts: mpsc::UnboundedSender<PluginKey>,
    shutdown: &CancellationToken,
) -> Arc<PluginContext> {
    let (client, namespace) = (&dependencies.client, settings.namespace.clone());
    let registry = Arc::new(Registry::default());
    let watch_config = WatchConfig {
        scope: settings.watched.clone(),
        timing: dependencies.watch_timing,
        liveness: dependencies.liveness.clone(),
        memory_budget: dependencies.memory_budget.clone(),
    };
    let watches = WatchManager::new(client.clone(), watch_config, Arc::clone(&registry), shutdown.child_token());
    let (status_store, metrics) = (Arc::clone(&dependencies.status_store), dependencies.metrics.clone());
    let releases = dependencies.releases.clone();
    let env = SyncContext { releases, ..SyncContext::new(client.clone(), watches, doubts, status_store, metrics) };
    Arc::new(PluginContext {
        plugins: dependencies.status_store.plugins.clone(),
        authority: Authority::new(client.clone(), &namespace, &dependencies.cluster_domain, settings.lives),
        client: client.clone(),
        writers: Writers::new(
            client.clone(),
            dependencies.config.clone(),
            dependencies.count_requests.clone(),
            &namespace,
        ),
        sockets: Sockets::new(&settings.socket_dir),
        leadership: dependencies.leadership.clone(),
        deleted_plugins: DeletedPlugins::default(),
        liveness: dependencies.liveness.clone(),
        watch_timing: dependencies.watch_timing,
        settings,
        reporter: dependencies.reporter.clone(),
        env: Arc::new(env),
        registry,
        probes: Probes::default(),
        inquiries: Inquiries::default(),
        retirements: FairShare::new(RETIREMENTS),
    })
}

/// Returns a task set without tasks, for a controller that may not read plugin resources. No Dask resource waits for a
/// plugin then. Existing children of plugins stay, and so do plugins' finalizers.
pub fn wire_nothing(dependencies: &Dependencies, shutdown: &CancellationToken) -> TaskSet {
    dependencies.status_store.loaded();
    task_set(dependencies, shutdown)
}

fn task_set(dependencies: &Dependencies, shutdown: &CancellationToken) -> TaskSet {
    let (liveness, leadership) = (dependencies.liveness.clone(), dependencies.leadership.clone());
    TaskSet::new(liveness, leadership, dependencies.memory_budget.clone(), shutdown.clone())
}

/// Adds the watch of plugin resources and their reconciler.
fn wire_plugins(
    task_set: &mut TaskSet,
    context: &Arc<PluginContext>,
    requests: WorkQueueReceiver<DaskOperatorPlugin>,
    passes: Arc<Passes>,
    shutdown: &CancellationToken,
) -> SyncStatus {
    let (store, writer) = reflector::store();
    let (scope, config) = (context.settings.plugin_scope(), context.watch_timing.config(None));
    let watcher = KindWatcher::new(&context.client, &scope, (), config, context.plugins.cache.clone())
        .store(writer)
        .optional()
        .listen(tasks::on_plugin_change(Arc::clone(context)));
    let progress = task_set.watch(watcher);
    let reconciler = Reconciler {
        name: "DaskOperatorPlugin",
        store,
        reconcile: resource::reconcile,
        category: resource::Error::category,
        liveness: task_set.liveness.clone(),
        passes,
        // Plugin resources are in the operator's own namespace, or in one whose plugins it accepts.
        releases: Releases::unknown(),
    };
    let (context, shutdown) = (Arc::clone(context), shutdown.clone());
    task_set.after_sync("the DaskOperatorPlugin reconciler", |leading| async move {
        reconciler.run(requests, Arc::clone(&context), leading, shutdown).await;
        // The last reconcile passes may have started workers.
        context.registry.finish().await;
    });
    progress
}

/// Creates the context that all parts of the engine share, without any plugin.
#[cfg(test)]
pub(crate) fn test_engine(
    dependencies: &Dependencies,
    settings: Settings,
    shutdown: &CancellationToken,
) -> Arc<PluginContext> {
    plugin_context(dependencies, settings, mpsc::unbounded_channel().0, shutdown)
}
