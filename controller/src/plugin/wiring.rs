//! Connects the engine's watches, queue and reconciler.

use std::{
    net::IpAddr,
    path::PathBuf,
    sync::Arc,
    time::{Duration, Instant},
};

use futures::future::join_all;
use kube::{
    Api, Config,
    runtime::{events::Reporter, reflector},
};

use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::{
    authority::Authority,
    endpoints::{self, SliceView},
    keeper,
    plugins::{Part, Parts, Requests},
    publish::Publisher,
    registry::{PluginKey, Registry},
    resource::{self, PluginContext, Probes, key_of},
    retire::retire,
    sockets::{self, Sockets},
    sync::Env,
    waker::Waker,
    watches::Watches,
    writer::Writers,
};
use crate::{
    context::Context,
    crd::DaskOperatorPlugin,
    k8s,
    reconciler::Reconciler,
    run::watch_config,
    watch::{Change, Feed, Progress},
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
    pub(crate) urls: Urls,
    pub(crate) identity: Identity,
    pub(crate) lives: Lives,
}

/// Which URLs plugins may have.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Urls {
    /// Those outside of the cluster.
    pub(crate) allowed: bool,
    /// `http://127.0.0.1`.
    pub(crate) dev: bool,
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

/// The engine, ready to be driven. `config` is that of the controller's own client.
pub(crate) fn wire(
    context: &Context,
    config: Config,
    (settings, parts): (Settings, Parts),
    shutdown: &CancellationToken,
) -> Wired {
    let (client, namespace) = (&context.client, settings.namespace.clone());
    let registry = Arc::new(Registry::default());
    let watches = Watches::new(client.clone(), settings.watched.clone(), Arc::clone(&registry), shutdown.child_token());
    let (doubts, doubted) = mpsc::unbounded_channel();
    let shown = (Arc::clone(&context.board), Arc::clone(&context.metrics));
    let plugin_context = Arc::new(PluginContext {
        plugins: context.board.plugins.clone(),
        authority: Authority::new(client.clone(), &namespace, &context.defaults.cluster_domain, settings.lives),
        client: client.clone(),
        writers: Writers::new(client.clone(), config, context.metrics.requests()),
        sockets: Sockets::new(&settings.socket_dir),
        settings,
        recorder: context.recorder.clone(),
        env: Arc::new(Env::new(client.clone(), watches, doubts, shown)),
        registry,
        probes: Probes::default(),
    });
    let (plugins, own) = (plugin_context.plugins.clone(), namespace);
    context.metrics.watch_plugins(Box::new(move || plugins.readiness(&own)));
    let mut wired = Wired::new(shutdown.clone());
    for (part, requests) in parts {
        wire_part(&mut wired, &plugin_context, part, requests, shutdown);
    }
    wired.until_shutdown("what is told of plugins", tell(context, wired.watches.clone()));
    let waker = Waker(Arc::clone(&plugin_context));
    for namespace in endpoints::namespaces(&plugin_context.settings) {
        watch_endpoints(&mut wired, &waker, namespace);
    }
    wired.until_shutdown("the plugins' sockets", sockets::follow(waker));
    let (keep, stop) = (keeper::keep(Arc::clone(&plugin_context), context.caches.clone()), shutdown.clone());
    wired.after_sync("the keeper of plugins' finalizers", async move {
        tokio::select! { () = keep => {}, () = stop.cancelled() => {} }
    });
    wired.until_shutdown("the review of rights", review_rights(Arc::clone(&plugin_context), doubted));
    wired.until_shutdown("the plugin summaries", publish_summaries(plugin_context));
    wired
}

/// A watch of plugin resources and the reconciler for them.
fn wire_part(
    wired: &mut Wired,
    context: &Arc<PluginContext>,
    part: Part,
    requests: Requests,
    shutdown: &CancellationToken,
) {
    let api = match &part.namespace {
        Some(namespace) => Api::namespaced(context.client.clone(), namespace),
        None => Api::all(context.client.clone()),
    };
    let (store, writer) = reflector::store();
    let feed = Feed::new(api, (), watch_config(None), part.cache)
        .store(writer)
        .optional()
        .listen(on_plugin_change(Arc::clone(context)));
    wired.watch(feed);
    let reconciler = Reconciler {
        name: "DaskOperatorPlugin",
        store,
        reconcile: resource::reconcile,
        category: resource::Error::category,
        metrics: Arc::clone(&context.env.metrics),
    };
    let reconcile = reconciler.run(requests, Arc::clone(context), shutdown.clone());
    wired.after_sync("the DaskOperatorPlugin reconciler", reconcile);
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

fn on_plugin_change(context: Arc<PluginContext>) -> impl Fn(&Change<DaskOperatorPlugin>) + Send + 'static {
    move |change| match change {
        Change::Applied(plugin) => {
            context.env.board.plugin_changed(plugin);
            context.plugins.push(&key_of(plugin));
        }
        Change::Deleted(plugin) => {
            tokio::spawn(retire(Arc::clone(&context), Arc::clone(plugin)));
        }
    }
}

/// Has plugins asked again when something behind their Services changes.
fn watch_endpoints(wired: &mut Wired, waker: &Waker, namespace: Option<String>) {
    let client = waker.0.client.clone();
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

/// Looks at the rights of a plugin again when a write was refused.
async fn review_rights(context: Arc<PluginContext>, mut doubted: mpsc::UnboundedReceiver<PluginKey>) {
    while let Some(key) = doubted.recv().await {
        if context.probes.doubt(&key, Instant::now()) {
            context.plugins.push(&key);
        }
    }
}

/// Has the status of plugins written whose counts changed.
async fn publish_summaries(context: Arc<PluginContext>) {
    let mut ticks = tokio::time::interval(SUMMARY_PERIOD);
    loop {
        ticks.tick().await;
        for plugin in context.plugins.all() {
            let key = key_of(&plugin);
            let Some(worker) = context.registry.get(&key) else { continue };
            let Some(summary) = worker.summary.borrow().clone() else { continue };
            let status = plugin.status.as_ref();
            let shown = status.and_then(|status| Some((status.subjects?, status.failures.as_slice())));
            if shown != Some((summary.counts, summary.failures.as_slice())) {
                context.plugins.push(&key);
            }
        }
    }
}

/// The flags of an installation that watches all namespaces, without teams' plugins.
#[cfg(test)]
pub(crate) fn test_settings() -> Settings {
    Settings {
        namespace: "dask-operator".to_owned(),
        watched: None,
        socket_dir: PathBuf::new(),
        service_ip: None,
        tenants: false,
        urls: Urls::default(),
        identity: Identity { service_account: "dask-operator".to_owned(), pod: None },
        lives: Lives { authority: Duration::ZERO, certificate: Duration::ZERO },
    }
}
