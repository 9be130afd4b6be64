//! All metrics of the controller, for Prometheus. The values of labels are names of plugins and constants of the
//! program. Users and plugins cannot add arbitrary values.

mod dask;

use std::{fmt, io, sync::Arc};

pub use operator_runtime::metrics::Described;
use operator_runtime::metrics::{self as runtime, RuntimeMetrics};
use prometheus_client::registry::Registry;

use crate::caches::Caches;
use crate::retirements::{self, Retirements};
use dask_plugin_engine::metrics::{self as plugin, PluginMetrics};

/// All metrics.
#[derive(Debug)]
pub struct Metrics {
    /// Metrics of requests, reconcilers, watches and the process.
    pub runtime: RuntimeMetrics,
    /// Metrics of plugins.
    pub plugins: PluginMetrics,
    retirements: Arc<Retirements>,
    registry: Registry,
}

impl Metrics {
    /// Returns metrics that count the Dask resources in `caches`.
    pub fn new(caches: Caches) -> Self {
        let (runtime, plugins) = (RuntimeMetrics::default(), PluginMetrics::default());
        let (retirements, mut registry) = (Arc::<Retirements>::default(), Registry::default());
        registry.register_collector(Box::new(dask::Dask(caches)));
        registry.register_collector(Box::new(Arc::clone(&retirements)));
        runtime.register(&mut registry);
        plugins.register(&mut registry);
        Self { runtime, plugins, retirements, registry }
    }

    /// Returns the media type and the text of a scrape by a client that sends the HTTP header `accept`.
    pub fn answer(&self, accept: Option<&str>) -> Result<(&'static str, String), fmt::Error> {
        runtime::encode(&self.registry, accept)
    }

    /// Returns what counts retired workers by outcome.
    pub(crate) fn retirements(&self) -> Arc<Retirements> {
        Arc::clone(&self.retirements)
    }
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new(Caches::new())
    }
}

/// Returns the descriptions of all families, in the order of a scrape.
pub fn described() -> Vec<Described> {
    let mut families = dask::described();
    families.extend(retirements::described());
    families.extend(runtime::described());
    families.extend(plugin::described());
    families
}

/// Prints the book's table of all families.
///
/// ```
/// let mut table = Vec::new();
/// dask_operator::metrics::print(&mut table).unwrap();
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
