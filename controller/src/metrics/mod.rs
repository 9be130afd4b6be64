//! What is counted, for Prometheus. Labels are plugins and words of the program: nothing that users or plugins make
//! up.
//!
//! One file a concern. Each declares its families, which scrapes and the book's table are written from, and collects
//! their samples when somebody scrapes.

mod dask;
mod family;
mod plugins;
#[cfg(target_os = "linux")]
mod process;
mod readiness;
mod reconcile;
mod replica;
mod requests;
mod retirements;
mod verb;

use std::{fmt, io, sync::Arc};

use prometheus_client::{
    encoding::{prometheus_text, text},
    registry::Registry,
};

pub use family::Described;
pub(crate) use reconcile::Passes;
pub use requests::{CountRequests, Counted};
pub(crate) use retirements::Retirement;

use crate::context::Caches;
use plugins::{Call, Plugins};
use readiness::{Look, Readiness};
use reconcile::Reconcilers;
use replica::{Leads, Replica, Watches};
use requests::Requests;
use retirements::Retirements;

/// Media types of a scrape.
const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
const PROMETHEUS_TEXT: &str = "text/plain; version=0.0.4; charset=utf-8";

/// All that is counted.
#[derive(Debug)]
pub struct Metrics {
    plugins: Arc<Plugins>,
    readiness: Arc<Readiness>,
    reconcilers: Arc<Reconcilers>,
    requests: Arc<Requests>,
    retirements: Arc<Retirements>,
    replica: Arc<Replica>,
    registry: Registry,
}

impl Metrics {
    /// Nothing was counted yet; Dask resources will be those in `caches`.
    pub fn new(caches: Caches) -> Self {
        let metrics = Self {
            plugins: Arc::default(),
            readiness: Arc::default(),
            reconcilers: Arc::default(),
            requests: Arc::default(),
            retirements: Arc::default(),
            replica: Arc::default(),
            registry: Registry::default(),
        };
        metrics.registered(caches)
    }

    fn registered(mut self, caches: Caches) -> Self {
        let registry = &mut self.registry;
        registry.register_collector(Box::new(dask::Dask(caches)));
        registry.register_collector(Box::new(Arc::clone(&self.reconcilers)));
        registry.register_collector(Box::new(Arc::clone(&self.requests)));
        registry.register_collector(Box::new(Arc::clone(&self.retirements)));
        registry.register_collector(Box::new(Arc::clone(&self.replica)));
        registry.register_collector(Box::new(Arc::clone(&self.plugins)));
        registry.register_collector(Box::new(Arc::clone(&self.readiness)));
        #[cfg(target_os = "linux")]
        registry.register_collector(Box::new(process::ThisProcess));
        self
    }

    /// Everything for whoever accepts `accept`, the value of the HTTP header, with its media type: `OpenMetrics` if
    /// it is named there, else the text format that Prometheus has always understood.
    pub fn answer(&self, accept: Option<&str>) -> Result<(&'static str, String), fmt::Error> {
        let mut text = String::new();
        if accept.is_some_and(|accept| accept.contains("application/openmetrics-text")) {
            text::encode(&mut text, &self.registry)?;
            Ok((OPEN_METRICS, text))
        } else {
            prometheus_text::encode(&mut text, &self.registry)?;
            Ok((PROMETHEUS_TEXT, text))
        }
    }

    /// A layer that counts the requests of a client of the API server.
    pub fn requests(&self) -> CountRequests {
        CountRequests(Arc::clone(&self.requests))
    }

    /// Tells the ages of `watches` from now on.
    pub(crate) fn watch(&self, watches: Watches) {
        // It is called once, when the controller is wired.
        let _ = self.replica.watches.set(watches);
    }

    /// Asks `look` for the readiness of plugins from now on.
    pub(crate) fn watch_plugins(&self, look: Look) {
        let _ = self.readiness.0.set(look);
    }

    /// Asks `leads` whether this replica is the one that acts from now on.
    pub(crate) fn lead(&self, leads: Leads) {
        let _ = self.replica.leads.set(leads);
    }

    /// What is counted of the passes over one kind.
    pub(crate) fn passes(&self, kind: &'static str) -> Arc<Passes> {
        self.reconcilers.of(kind)
    }

    /// So many workers were to be removed, and this came of it.
    pub(crate) fn retired(&self, retirement: Retirement, workers: usize) {
        self.retirements.add(retirement, workers);
    }

    /// A call to a plugin begins.
    pub(crate) fn call<'a>(&'a self, plugin: &'a str, hook: &'static str) -> Call<'a> {
        self.plugins.call(plugin, hook)
    }

    /// A child was applied, or not.
    pub(crate) fn applied(&self, plugin: &str, result: &'static str) {
        self.plugins.applied(plugin, result);
    }

    /// A child was refused.
    pub(crate) fn rejected(&self, plugin: &str, reason: &'static str) {
        self.plugins.rejected(plugin, reason);
    }

    /// The plugin has so many children.
    pub(crate) fn children(&self, plugin: &str, count: i64) {
        self.plugins.children(plugin, count);
    }

    /// Whether the plugin is not called because it does not answer.
    pub(crate) fn breaker(&self, plugin: &str, open: bool) {
        self.plugins.breaker(plugin, open);
    }

    /// The plugin is gone.
    pub(crate) fn forget(&self, plugin: &str) {
        self.plugins.forget(plugin);
    }
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new(Caches::new())
    }
}

/// All families, in the order in which they are told.
pub fn described() -> Vec<Described> {
    let mut families = dask::described();
    families.extend(reconcile::described());
    families.extend(requests::described());
    families.extend(retirements::described());
    families.extend(replica::described());
    families.extend(plugins::described());
    families.extend(readiness::described());
    #[cfg(target_os = "linux")]
    families.extend(process::described());
    families
}

/// Prints the book's table of all families.
///
/// ```
/// let mut table = Vec::new();
/// crate::metrics::print(&mut table).unwrap();
/// assert!(String::from_utf8(table).unwrap().contains("| `dask_operator_clusters` | gauge | `phase` |"));
/// ```
pub fn print(out: &mut impl io::Write) -> io::Result<()> {
    writeln!(out, "| metric | type | labels | meaning |\n|---|---|---|---|")?;
    for Described { name, kind, labels, help } in described() {
        let labels: Vec<String> = labels.iter().map(|label| format!("`{label}`")).collect();
        writeln!(out, "| `{name}` | {kind} | {} | {help} |", labels.join(", "))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests;
