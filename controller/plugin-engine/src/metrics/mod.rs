//! Metrics of the plugin engine.

mod calls;
mod readiness;
mod subjects;

use std::sync::Arc;

use operator_runtime::metrics::Described;
use prometheus_client::registry::Registry;

use calls::{Call, Plugins};
use readiness::Readiness;
pub(crate) use readiness::ReadinessSource;
use subjects::Subjects;
pub(crate) use subjects::SubjectsSource;

/// Metrics of calls to plugins, their children, their readiness and their subjects.
#[derive(Clone, Debug, Default)]
pub struct PluginMetrics {
    plugins: Arc<Plugins>,
    readiness: Arc<Readiness>,
    subjects: Arc<Subjects>,
}

impl PluginMetrics {
    /// Registers all families in `registry`.
    pub fn register(&self, registry: &mut Registry) {
        registry.register_collector(Box::new(Arc::clone(&self.plugins)));
        registry.register_collector(Box::new(Arc::clone(&self.readiness)));
        registry.register_collector(Box::new(Arc::clone(&self.subjects)));
    }

    /// Reports the readiness of plugins from `source` from now on.
    pub(crate) fn watch(&self, source: ReadinessSource) {
        // This is called only once, when the engine is set up.
        let _ = self.readiness.0.set(source);
    }

    /// Reports the states of subjects from `source` from now on.
    pub(crate) fn watch_subjects(&self, source: SubjectsSource) {
        // This is called only once, when the engine is set up.
        let _ = self.subjects.0.set(source);
    }

    /// Starts to count and time a call to a plugin.
    pub(crate) fn call<'a>(&'a self, plugin: &'a str, hook: &'static str) -> Call<'a> {
        self.plugins.call(plugin, hook)
    }

    /// Counts a child that was written, or the reason why it could not be written.
    pub(crate) fn applied(&self, plugin: &str, result: &'static str) {
        self.plugins.applied(plugin, result);
    }

    /// Counts a child that was refused.
    pub(crate) fn rejected(&self, plugin: &str, reason: &'static str) {
        self.plugins.rejected(plugin, reason);
    }

    /// Sets the number of the plugin's children.
    pub(crate) fn children(&self, plugin: &str, count: i64) {
        self.plugins.children(plugin, count);
    }

    /// Sets whether the plugin's breaker is open.
    pub(crate) fn breaker(&self, plugin: &str, open: bool) {
        self.plugins.breaker(plugin, open);
    }

    /// Drops all series of a deleted plugin.
    pub(crate) fn forget(&self, plugin: &str) {
        self.plugins.forget(plugin);
    }
}

/// Returns the descriptions of all metric families, in the order of a scrape.
pub fn described() -> Vec<Described> {
    let mut families = calls::described();
    families.extend(readiness::described());
    families.extend(subjects::described());
    families
}
