//! The parts of this process that the reconcilers' contexts are made of.

use std::sync::Arc;

use dask_operator_api::conditions::PROGRESS;
use dask_plugin_engine as plugin;
use kube::Client;
use operator_runtime::{
    events::Recorder,
    k8s::OldDefinitions,
    leader::Leadership,
    liveness::Liveness,
    releases::Releases,
    report::StatusReporter,
    watch::{Expectations, MemoryBudget, WatchTiming},
};

use crate::{caches::Caches, defaults::Defaults, metrics::Metrics, scheduler::SchedulerClients};

/// The parts of this process that the reconcilers' contexts are made of. No reconciler gets all of them.
pub(crate) struct Shared {
    /// The client of the API server.
    pub client: Client,
    /// The objects that the watches have delivered.
    pub caches: Caches,
    /// The creations by this process that the watches have not reported yet.
    pub expectations: Expectations,
    /// Publishes Events.
    pub recorder: Recorder,
    /// What is known of installed CRDs that are older than this program.
    pub old_definitions: OldDefinitions,
    /// Defaults that are set by flags.
    pub defaults: Defaults,
    /// The results of plugins for Dask resources.
    pub(crate) status_store: Arc<plugin::StatusStore>,
    /// The other releases on the cluster.
    pub releases: Releases,
    /// The leadership of this process.
    pub leadership: Leadership,
    /// The metrics of this process.
    pub metrics: Arc<Metrics>,
    /// The timeouts of watches.
    pub watch_timing: WatchTiming,
    /// The progress of watches and passes.
    pub liveness: Liveness,
    /// The memory that the objects of one namespace may take in the caches.
    pub memory_budget: MemoryBudget,
}

impl Shared {
    /// Returns what reconcilers report to users with.
    pub(crate) fn reporter(&self) -> StatusReporter {
        let (client, recorder) = (self.client.clone(), self.recorder.clone());
        StatusReporter::new(client, recorder, self.old_definitions.clone(), PROGRESS)
    }

    /// Returns what reconcilers reach schedulers with.
    pub(crate) fn schedulers(&self) -> SchedulerClients {
        SchedulerClients::new(self.client.clone(), self.caches.services.clone(), &self.defaults)
    }
}
