//! The background tasks of the engine.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use dask_operator_api::DaskOperatorPlugin;
use operator_runtime::{
    leader::Leading,
    task_set::TaskSet,
    watch::{Cache, Change, KindWatcher},
};
use tokio::sync::mpsc;

use super::Dependencies;
use crate::{
    model::key::{PluginKey, key_of},
    resource::{
        context::PluginContext,
        endpoint_slices::{self, SliceView},
        strays,
        teardown::{remains, retire},
        trigger::ProbeTrigger,
    },
    status::{event_budget::EventBudget, publisher::StatusWriter},
};

/// How often the counts in a plugin's status may change.
const SUMMARY_PERIOD: Duration = Duration::from_secs(1);

/// Returns the writer of the plugins' part of the statuses of Dask resources.
pub(super) fn status_writer(dependencies: &Dependencies) -> StatusWriter {
    StatusWriter {
        caches: dependencies.caches.clone(),
        watches: dependencies.watches.clone(),
        reporter: dependencies.reporter.clone(),
        status_store: Arc::clone(&dependencies.status_store),
        budget: EventBudget::default(),
        releases: dependencies.releases.clone(),
    }
}

/// Writes the reports of plugins into the status of Dask resources. The watches of plugin resources have synced
/// when this is called.
pub(super) async fn write_statuses(status_writer: StatusWriter, leading: Leading) {
    status_writer.status_store.loaded();
    status_writer.run(leading).await;
}

/// Returns the listener of the watch of plugin resources.
pub(super) fn on_plugin_change(context: Arc<PluginContext>) -> impl Fn(&Change<DaskOperatorPlugin>) + Send + 'static {
    move |change| match change {
        Change::Applied(plugin) => {
            context.deleted_plugins.came_back(&key_of(plugin));
            context.env.status_store.plugin_changed(plugin);
            context.plugins.places.applied(plugin).iter().for_each(|other| context.plugins.push(other));
            context.plugins.push(&key_of(plugin));
        }
        Change::Deleted(plugin) => {
            context.plugins.places.deleted(plugin).iter().for_each(|other| context.plugins.push(other));
            // Recorded here, so that it happens before the next event of the watch.
            let came_back = (!context.leadership.is_leading()).then(|| context.deleted_plugins.note(&key_of(plugin)));
            tokio::spawn(retire(Arc::clone(&context), remains(plugin), came_back));
        }
    }
}

/// Triggers a probe of a plugin when an `EndpointSlice` of its Service changes.
pub(super) fn watch_endpoints(task_set: &mut TaskSet, trigger: &ProbeTrigger) {
    let (client, settings) = (&trigger.0.client, &trigger.0.settings);
    let slices = endpoint_slices::cache();
    let (sender, changes) = mpsc::unbounded_channel();
    let config = trigger.0.watch_timing.config(Some(endpoint_slices::SERVICE_LABEL));
    let watcher = KindWatcher::new(client, &settings.plugin_scope(), (), config, slices.clone());
    let leadership = trigger.0.leadership.clone();
    let watcher = watcher.listen(move |change: &Change<SliceView>| {
        // A standby replica does not consume these events. It reads the slices themselves when it becomes the leader.
        if leadership.is_leading() {
            // An error means that the process is ending.
            let _ = sender.send(change.object().service());
        }
    });
    task_set.watch(watcher);
    let trigger = trigger.clone();
    task_set.until_shutdown("the plugin endpoint watcher", |leading| {
        endpoint_slices::follow(trigger, slices, changes, leading)
    });
}

/// Watches the plugin resources outside of the operator's namespace, if none are accepted there, and reports them.
pub(super) fn watch_strays(task_set: &mut TaskSet, context: &Arc<PluginContext>) {
    let settings = &context.settings;
    let elsewhere = settings.watched.without(&settings.namespace);
    let Some(scope) = elsewhere.filter(|_| settings.strays) else { return };
    let cache = Cache::new(|_: &DaskOperatorPlugin| None);
    let config = context.watch_timing.config(None);
    task_set.watch(KindWatcher::new(&context.client, &scope, (), config, cache.clone()).optional());
    let context = Arc::clone(context);
    task_set.until_shutdown("the reporter of plugins that are not accepted where they are", |leading| {
        strays::run(context, cache, leading)
    });
}

/// Checks a plugin's RBAC again after a write was refused.
pub(super) async fn review_rights(context: Arc<PluginContext>, mut doubted: mpsc::UnboundedReceiver<PluginKey>) {
    while let Some(key) = doubted.recv().await {
        if context.probes.doubt(&key, Instant::now()) {
            context.plugins.push(&key);
        }
    }
}

/// Enqueues the plugins whose counts or failures differ from their status.
pub(super) async fn publish_summaries(context: Arc<PluginContext>) {
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
