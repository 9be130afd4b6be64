//! Connects the engine's watches, queue and reconciler.

use std::{net::IpAddr, path::PathBuf, sync::Arc, time::Duration};

use kube::{Api, runtime::reflector};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::{
    authority::Authority,
    endpoints::{self, SliceView},
    keeper,
    registry::Registry,
    resource::{self, PluginContext, Probes, key_of},
    retire::retire,
    sockets::{self, Sockets},
    sync::Env,
    waker::Waker,
    watches::Watches,
};
use crate::{
    context::Context,
    crd::DaskOperatorPlugin,
    reconciler::Reconciler,
    run::watch_config,
    watch::{Cache, Change, Feed, Queue, queue},
    wired::Wired,
};

/// How often the counts in a plugin's status may change.
const SUMMARY_PERIOD: Duration = Duration::from_secs(1);

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
    let cache = Cache::new(|_: &DaskOperatorPlugin| None);
    let plugin_context = Arc::new(PluginContext {
        plugins: cache.clone(),
        authority: Authority::new(client.clone(), &namespace, &context.defaults.cluster_domain, settings.lives),
        client: client.clone(),
        sockets: Sockets::new(&settings.socket_dir),
        settings,
        recorder: context.recorder.clone(),
        env: Arc::new(Env::new(client.clone(), watches)),
        registry,
        probes: Probes::default(),
    });
    let (plugins, requests) = queue::<DaskOperatorPlugin>();
    let (store, writer) = reflector::store();
    let plugin_feed = Feed::new(Api::namespaced(client.clone(), &namespace), (), watch_config(None), cache.clone())
        .store(writer)
        .optional()
        .listen(on_plugin_change(Arc::clone(&plugin_context), plugins.clone()));
    let mut wired = Wired::new(shutdown.clone());
    wired.watch(plugin_feed);
    let waker = Waker { context: Arc::clone(&plugin_context), queue: plugins.clone() };
    for namespace in endpoints::namespaces(&plugin_context.settings) {
        watch_endpoints(&mut wired, &waker, namespace);
    }
    wired.until_shutdown("the plugins' sockets", sockets::follow(waker));
    let reconciler = Reconciler {
        name: "DaskOperatorPlugin",
        store,
        reconcile: resource::reconcile,
        category: resource::Error::category,
    };
    let reconcile = reconciler.run(requests, Arc::clone(&plugin_context), shutdown.clone());
    wired.after_sync("the DaskOperatorPlugin reconciler", reconcile);
    let (keep, stop) = (keeper::keep(Arc::clone(&plugin_context), context.caches.clone()), shutdown.clone());
    wired.after_sync("the keeper of plugins' finalizers", async move {
        tokio::select! { () = keep => {}, () = stop.cancelled() => {} }
    });
    wired.until_shutdown("the plugin summaries", publish_summaries(plugin_context, cache, plugins));
    wired
}

fn on_plugin_change(
    context: Arc<PluginContext>,
    plugins: Queue<DaskOperatorPlugin>,
) -> impl Fn(&Change<DaskOperatorPlugin>) + Send + 'static {
    move |change| match change {
        Change::Applied(plugin) => {
            let key = key_of(plugin);
            plugins.push(&key.namespace, &key.name);
        }
        Change::Deleted(plugin) => {
            tokio::spawn(retire(Arc::clone(&context), Arc::clone(plugin)));
        }
    }
}

/// Has plugins asked again when something behind their Services changes.
fn watch_endpoints(wired: &mut Wired, waker: &Waker, namespace: Option<String>) {
    let client = waker.context.client.clone();
    let api =
        namespace.map_or_else(|| Api::all(client.clone()), |namespace| Api::namespaced(client.clone(), &namespace));
    let slices = endpoints::cache();
    let (sender, changes) = mpsc::unbounded_channel();
    let feed = Feed::new(api, (), watch_config(Some(endpoints::SERVICE_LABEL)), slices.clone());
    let feed = feed.listen(move |change: &Change<SliceView>| {
        // An error means that the process is ending.
        let _ = sender.send(change.object().service());
    });
    let synced = wired.watch(feed);
    let waker = waker.clone();
    wired.until_shutdown("the plugins' endpoints", async move {
        synced.synced().await;
        endpoints::follow(waker, slices, changes).await;
    });
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
