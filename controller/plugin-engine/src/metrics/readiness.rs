//! The readiness of plugins. It is read from the plugin resources at each scrape.

use std::{fmt, sync::OnceLock};

use operator_runtime::metrics::{Described, Family};
use prometheus_client::{collector::Collector, encoding::DescriptorEncoder, metrics::gauge::ConstGauge};

const READY: Family<1> = Family::gauge(
    "dask_operator_plugin_ready",
    ["plugin"],
    "1 while a plugin's condition `Ready` is `True`, else 0. Those that are suspended are left out.",
);

/// Returns whether each plugin is ready, with the plugin's name in labels.
pub(crate) type ReadinessSource = Box<dyn Fn() -> Vec<(String, bool)> + Send + Sync>;

/// The source of readiness. It is empty until the watches are set up.
#[derive(Default)]
pub(crate) struct Readiness(pub(crate) OnceLock<ReadinessSource>);

impl fmt::Debug for Readiness {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Readiness").finish_non_exhaustive()
    }
}

impl Collector for Readiness {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let plugins = self.0.get().map(|source| source()).unwrap_or_default();
        let samples = plugins.iter().map(|(plugin, ready)| ([plugin.as_str()], ConstGauge::new(i64::from(*ready))));
        READY.encode(&mut encoder, samples)
    }
}

pub(crate) fn described() -> Vec<Described> {
    vec![READY.described()]
}
