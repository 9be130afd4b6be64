//! Prometheus metrics of the runtime. The values of labels are constants of the program, and never text that users
//! choose.
//!
//! Each file has one concern. It declares its families, from which both scrapes and the documentation are generated,
//! and collects their samples during a scrape.

mod family;
#[cfg(target_os = "linux")]
mod process;
mod reconcile;
mod replica;
mod requests;
mod verb;

use std::{fmt, sync::Arc};

use prometheus_client::{
    encoding::{prometheus_text, text},
    registry::Registry,
};

pub use family::{Described, Family, Word};
pub use reconcile::Passes;
pub use replica::{Leads, Overlaps, Watches};
pub use requests::{CountRequests, Counted};

use reconcile::Reconcilers;
use replica::Replica;
use requests::Requests;

use crate::watch::MemoryBudget;

/// The media types of a scrape.
const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
const PROMETHEUS_TEXT: &str = "text/plain; version=0.0.4; charset=utf-8";

/// Metrics of requests to the API server, reconcilers, watches and the process.
#[derive(Clone, Debug, Default)]
pub struct RuntimeMetrics {
    reconcilers: Arc<Reconcilers>,
    requests: Arc<Requests>,
    replica: Arc<Replica>,
}

impl RuntimeMetrics {
    /// Registers all families in `registry`.
    pub fn register(&self, registry: &mut Registry) {
        registry.register_collector(Box::new(Arc::clone(&self.reconcilers)));
        registry.register_collector(Box::new(Arc::clone(&self.requests)));
        registry.register_collector(Box::new(Arc::clone(&self.replica)));
        #[cfg(target_os = "linux")]
        registry.register_collector(Box::new(process::ThisProcess));
    }

    /// Returns a layer that counts the requests of a client of the API server.
    pub fn requests(&self) -> CountRequests {
        CountRequests(Arc::clone(&self.requests))
    }

    /// Reports the ages of `watches` from now on.
    pub fn watch(&self, watches: Watches) {
        // This is called once, when the controller starts.
        let _ = self.replica.watches.set(watches);
    }

    /// Reports how much of `budget` is used from now on.
    pub fn budget(&self, budget: MemoryBudget) {
        let _ = self.replica.budget.set(budget);
    }

    /// Reports from now on whether this replica leads, according to `leads`.
    pub fn lead(&self, leads: Leads) {
        let _ = self.replica.leads.set(leads);
    }

    /// Reports from now on how many other releases overlap with this one, according to `count`.
    pub fn overlap(&self, count: Overlaps) {
        let _ = self.replica.overlaps.set(count);
    }

    /// Returns the counters of the passes over one kind.
    pub fn passes(&self, kind: &'static str) -> Arc<Passes> {
        self.reconcilers.of(kind)
    }
}

/// Returns the descriptions of all families of [`RuntimeMetrics`], in the order of a scrape.
pub fn described() -> Vec<Described> {
    let mut families = reconcile::described();
    families.extend(requests::described());
    families.extend(replica::described());
    #[cfg(target_os = "linux")]
    families.extend(process::described());
    families
}

/// Returns the media type and the text of a scrape. `accept` is the HTTP header that the client sent: the format is
/// `OpenMetrics` if the header names it, and otherwise the text format that Prometheus has always read.
pub fn encode(registry: &Registry, accept: Option<&str>) -> Result<(&'static str, String), fmt::Error> {
    let mut text = String::new();
    if accept.is_some_and(|accept| accept.contains("application/openmetrics-text")) {
        text::encode(&mut text, registry)?;
        Ok((OPEN_METRICS, text))
    } else {
        prometheus_text::encode(&mut text, registry)?;
        Ok((PROMETHEUS_TEXT, text))
    }
}

#[cfg(test)]
mod tests;
