//! Connects the engine's watches, queue and reconciler.

use std::{net::IpAddr, path::PathBuf, sync::Arc, time::Duration};

use futures::future::join_all;
use k8s_openapi::api::discovery::v1::EndpointSlice;
use kube::{
    Api, ResourceExt as _,
    api::{DynamicObject, ListParams, PartialObjectMeta},
    runtime::{events::Reporter, reflector},
};
use tokio_util::sync::CancellationToken;

use super::{
    authority::Authority,
    kinds::ChildKind,
    publish::Publisher,
    registry::Registry,
    resource::{self, PluginContext, Probes, key_of},
    screen::{PLUGIN_LABEL, SUBJECT_LABEL},
    sync::Env,
    watches::Watches,
};
use crate::{
    backoff,
    context::Context,
    crd::{DaskOperatorPlugin, DeletionPolicy},
    k8s, meta,
    reconciler::Reconciler,
    run::watch_config,
    watch::{Cache, Change, Feed, Progress, Queue, queue},
    wired::Wired,
};

/// How often the counts in a plugin's status may change.
const SUMMARY_PERIOD: Duration = Duration::from_secs(1);
/// Tries to delete the children of a deleted plugin, with growing pauses.
const RETIRE_ROUNDS: usize = 8;
const SERVICE_LABEL: &str = "kubernetes.io/service-name";

/// What flags say about plugins.
pub(crate) struct Settings {
    pub(crate) namespace: String,
    pub(crate) watched: Option<String>,
    pub(crate) socket_dir: PathBuf,
    pub(crate) service_ip: Option<IpAddr>,
    /// Whether teams may have plugins in their own namespaces.
    pub(crate) tenants: bool,
    pub(crate) allow_urls: bool,
    pub(crate) identity: Identity,
    pub(crate) lives: Lives,
}

/// Whose tokens the controller shows to plugins.
#[derive(Clone, Debug)]
pub(crate) struct Identity {
    pub(crate) service_account: String,
    /// Name and uid.
    pub(crate) pod: Option<(String, String)>,
}

/// How long certificates live.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Lives {
    pub(crate) authority: Duration,
    pub(crate) certificate: Duration,
}

/// The engine, ready to be driven.
pub(crate) fn wire(context: &Context, settings: Settings, shutdown: &CancellationToken) -> Wired {
    let (client, namespace) = (&context.client, settings.namespace.clone());
    let registry = Arc::new(Registry::default());
    let watches = Watches::new(client.clone(), settings.watched.clone(), Arc::clone(&registry), shutdown.child_token());
    let cache = context.board.plugins.clone();
    let plugin_context = Arc::new(PluginContext {
        plugins: cache.clone(),
        authority: Authority::new(client.clone(), &namespace, &context.defaults.cluster_domain),
        client: client.clone(),
        settings,
        recorder: context.recorder.clone(),
        env: Arc::new(Env {
            client: client.clone(),
            watches,
            board: Arc::clone(&context.board),
            metrics: Arc::clone(&context.metrics),
        }),
        registry,
        probes: Probes::default(),
    });
    let (plugins, requests) = queue::<DaskOperatorPlugin>();
    let (store, writer) = reflector::store();
    let plugin_feed = Feed::new(Api::namespaced(client.clone(), &namespace), (), watch_config(None), cache.clone())
        .store(writer)
        .optional()
        .listen(on_plugin_change(Arc::clone(&plugin_context), plugins.clone()));
    let slices: Cache<PartialObjectMeta<EndpointSlice>> = Cache::new(|_| None);
    let slice_feed =
        Feed::new(Api::namespaced(client.clone(), &namespace), (), watch_config(Some(SERVICE_LABEL)), slices)
            .listen(on_endpoints_change(Arc::clone(&plugin_context), cache.clone(), plugins.clone()));
    let mut wired = Wired::new(shutdown.clone());
    wired.watch(plugin_feed);
    wired.until_shutdown("what is told of plugins", tell(context, wired.watches.clone()));
    wired.watch(slice_feed);
    let reconciler = Reconciler {
        name: "DaskOperatorPlugin",
        store,
        reconcile: resource::reconcile,
        category: resource::Error::category,
    };
    let reconcile = reconciler.run(requests, Arc::clone(&plugin_context), shutdown.clone());
    wired.after_sync("the DaskOperatorPlugin reconciler", reconcile);
    wired.until_shutdown("the plugin summaries", publish_summaries(plugin_context, cache, plugins));
    wired
}

/// Tells Dask resources about plugins as soon as `watches`, those of plugin resources, have delivered.
fn tell(context: &Context, watches: Vec<Progress>) -> impl Future<Output = ()> + Send + 'static {
    let publisher = Publisher {
        client: context.client.clone(),
        caches: context.caches.clone(),
        recorder: context.recorder.clone(),
        reporter: Reporter { controller: k8s::FIELD_MANAGER.to_owned(), instance: std::env::var("POD_NAME").ok() },
        board: Arc::clone(&context.board),
    };
    async move {
        join_all(watches.iter().map(Progress::synced)).await;
        publisher.board.loaded();
        publisher.board.dask_resources().await;
        publisher.run().await;
    }
}

fn on_plugin_change(
    context: Arc<PluginContext>,
    plugins: Queue<DaskOperatorPlugin>,
) -> impl Fn(&Change<DaskOperatorPlugin>) + Send + 'static {
    move |change| match change {
        Change::Applied(plugin) => {
            context.env.board.plugin_changed(plugin);
            let key = key_of(plugin);
            plugins.push(&key.namespace, &key.name);
        }
        Change::Deleted(plugin) => {
            tokio::spawn(retire(Arc::clone(&context), Arc::clone(plugin)));
        }
    }
}

/// Stops a plugin whose resource is gone, and does with its children what the resource asked for.
async fn retire(context: Arc<PluginContext>, plugin: Arc<DaskOperatorPlugin>) {
    let key = key_of(&plugin);
    context.probes.forget(&key);
    let registered = context.registry.remove(&key);
    let identity = key.identity(&context.settings.namespace);
    context.env.board.forget(&identity);
    context.env.metrics.forget(&identity);
    if plugin.spec.deletion_policy == DeletionPolicy::Orphan {
        return;
    }
    // A plugin that is suspended, or has not answered since the controller started, has children too.
    let kinds = match registered {
        Some(registered) => registered.kinds.clone(),
        None => resource::kinds_of(&context, &plugin).await,
    };
    for round in 1..=RETIRE_ROUNDS {
        let results = join_all(kinds.iter().map(|kind| delete_children(&context, &key.name, kind))).await;
        let Some(error) = results.into_iter().find_map(Result::err) else { return };
        tracing::warn!(plugin = key.name, %error, "failed to delete the children of a deleted plugin");
        tokio::time::sleep(backoff::delay(round)).await;
    }
}

/// Asks the API server itself for what carries the plugin's labels, and deletes what a Dask resource controls.
async fn delete_children(context: &PluginContext, plugin: &str, kind: &ChildKind) -> Result<(), k8s::Error> {
    let all: Api<DynamicObject> = match &context.settings.watched {
        Some(namespace) => Api::namespaced_with(context.client.clone(), namespace, &kind.resource),
        None => Api::all_with(context.client.clone(), &kind.resource),
    };
    let params = ListParams::default().labels(&format!("{PLUGIN_LABEL}={plugin},{SUBJECT_LABEL}"));
    let children = k8s::timed("list", &kind.resource.plural, all.list_metadata(&params)).await?;
    for child in children.items.iter().filter(|child| meta::is_controlled_by_dask(*child)) {
        let namespace = child.namespace().unwrap_or_default();
        let api: Api<DynamicObject> = Api::namespaced_with(context.client.clone(), &namespace, &kind.resource);
        k8s::delete(&api, &child.name_any(), &child.uid().unwrap_or_default()).await?;
    }
    Ok(())
}

fn on_endpoints_change(
    context: Arc<PluginContext>,
    cache: Cache<DaskOperatorPlugin>,
    plugins: Queue<DaskOperatorPlugin>,
) -> impl Fn(&Change<PartialObjectMeta<EndpointSlice>>) + Send + 'static {
    move |change| {
        let Some(service) = change.object().labels().get(SERVICE_LABEL) else { return };
        let listens = |plugin: &DaskOperatorPlugin| {
            plugin.spec.endpoint.service.as_ref().is_some_and(|endpoint| endpoint.name == *service)
        };
        for plugin in cache.all().iter().filter(|plugin| listens(plugin)) {
            let key = key_of(plugin);
            context.probes.wake(key.clone());
            plugins.push(&key.namespace, &key.name);
        }
    }
}

/// Has the status of plugins written whose counts changed.
async fn publish_summaries(
    context: Arc<PluginContext>,
    cache: Cache<DaskOperatorPlugin>,
    plugins: Queue<DaskOperatorPlugin>,
) {
    let mut ticks = tokio::time::interval(SUMMARY_PERIOD);
    loop {
        ticks.tick().await;
        for plugin in cache.all() {
            let key = key_of(&plugin);
            let Some(worker) = context.registry.get(&key) else { continue };
            let Some(summary) = worker.summary.borrow().clone() else { continue };
            let status = plugin.status.as_ref();
            let shown = status.and_then(|status| Some((status.subjects?, status.failures.as_slice())));
            if shown != Some((summary.counts, summary.failures.as_slice())) {
                plugins.push(&key.namespace, &key.name);
            }
        }
    }
}
