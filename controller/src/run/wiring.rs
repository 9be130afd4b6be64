//! Connects the parts of the controller: the reconcilers of Dask resources and the plugin engine.

use std::{sync::Arc, time::Duration};

use dask_operator_api::WorkerAllocation;
use dask_plugin_engine as plugin;
use kube::{Client, Config, runtime::events::Reporter};
use operator_runtime::{
    events::{Recorder, Wanted},
    k8s::OldDefinitions,
    leader::Leadership,
    liveness::Liveness,
    releases::{Id, Releases},
    scope::Scope,
    task_set::{Task, TaskSet},
    watch::{Expectations, MemoryBudget, SyncStatus, WatchTiming, queue},
};
use tokio_util::sync::CancellationToken;

use crate::{
    args::RunArgs,
    caches::Caches,
    controllers::{self, WorkQueues},
    defaults::Defaults,
    metrics::Metrics,
    preflight::{Feature, Findings},
    shared::Shared,
};

/// The parts that the controller is built from.
pub(super) struct Start {
    pub(super) args: RunArgs,
    /// The operator's namespace.
    pub(super) home: String,
    pub(super) config: Config,
    pub(super) client: Client,
    pub(super) watch_timing: WatchTiming,
    pub(super) caches: Caches,
    pub(super) liveness: Liveness,
    pub(super) leadership: Leadership,
    pub(super) metrics: Arc<Metrics>,
    pub(super) findings: Findings,
    pub(super) old_definitions: OldDefinitions,
}

/// The controller, ready to be run.
pub(super) struct Wiring {
    /// The tasks that run until shutdown.
    pub(super) tasks: Vec<Task>,
    /// The sync states of all watches.
    pub(super) watches: Vec<SyncStatus>,
}

/// Connects the parts of the controller.
pub(super) fn wire(start: Start, shutdown: &CancellationToken) -> Wiring {
    let scope = start.args.scope();
    let settings = start.plugin_settings(&scope);
    let has_plugins = start.findings.has(Feature::Plugins);
    let expectations = Expectations::default();
    let queues = WorkQueues::new(&expectations);
    let (plugins, plugin_requests) = queue(&Expectations::default());
    let status_store = plugin::StatusStore::new(&settings, plugins, queues.senders.clusters.clone());
    let config = start.config.clone();
    let shared = start.shared(expectations, status_store);
    let reconcilers = controllers::wire(&shared, queues, &scope, shutdown);
    let dependencies = plugin_dependencies(&shared, config, &reconcilers);
    let engine = if has_plugins {
        plugin::wire(&dependencies, settings, plugin_requests, shutdown)
    } else {
        plugin::wire_nothing(&dependencies, shutdown)
    };
    export_metrics(&shared);
    Wiring {
        tasks: reconcilers.tasks.into_iter().chain(engine.tasks).collect(),
        watches: [reconcilers.watches, engine.watches].concat(),
    }
}

/// Lets the metrics read the state of this process.
fn export_metrics(shared: &Shared) {
    let metrics = &shared.metrics.runtime;
    let (liveness, leadership, releases) =
        (shared.liveness.clone(), shared.leadership.clone(), shared.releases.clone());
    metrics.watch(Box::new(move || liveness.watches()));
    metrics.lead(Box::new(move || leadership.is_leading()));
    metrics.budget(shared.memory_budget.clone());
    metrics.overlap(Box::new(move || releases.overlapping()));
}

/// Returns the parts of this process that the plugin engine depends on.
fn plugin_dependencies(shared: &Shared, config: Config, reconcilers: &TaskSet) -> plugin::Dependencies {
    plugin::Dependencies {
        client: shared.client.clone(),
        config,
        caches: shared.caches.owners(),
        watches: reconcilers.watches.clone(),
        watch_timing: shared.watch_timing,
        reporter: shared.reporter(),
        status_store: Arc::clone(&shared.status_store),
        metrics: shared.metrics.plugins.clone(),
        count_requests: shared.metrics.runtime.requests(),
        passes: shared.metrics.runtime.passes("DaskOperatorPlugin"),
        releases: shared.releases.clone(),
        leadership: shared.leadership.clone(),
        liveness: shared.liveness.clone(),
        memory_budget: shared.memory_budget.clone(),
        cluster_domain: shared.defaults.cluster_domain.clone(),
    }
}

impl Start {
    fn plugin_settings(&self, scope: &Scope) -> plugin::Settings {
        let args = self.args.clone();
        plugin::Settings {
            namespace: self.home.clone(),
            watched: scope.clone(),
            socket_dir: args.plugin_socket_dir,
            service_ip: args.plugin_service_ip,
            tenants: args.plugin_tenants,
            plugins_per_namespace: args.plugins_per_namespace.into(),
            urls: plugin::Urls { allowed: args.allow_plugin_urls, dev: args.dev_plugins },
            identity: plugin::TokenSubject {
                service_account: args.service_account,
                pod: args.pod_name.zip(args.pod_uid),
            },
            lives: plugin::CertificateLifetimes {
                authority: Duration::from_secs(args.plugin_authority_seconds),
                certificate: Duration::from_secs(args.plugin_certificate_seconds),
            },
            endpoints: self.findings.has(Feature::PluginEndpoints),
            strays: !args.plugin_tenants && self.findings.has(Feature::StrayPlugins),
        }
    }

    fn shared(self, expectations: Expectations, status_store: plugin::StatusStore) -> Shared {
        let Self {
            args,
            home,
            client,
            watch_timing,
            caches,
            liveness,
            leadership,
            metrics,
            findings,
            old_definitions,
            ..
        } = self;
        let reporter = Reporter { controller: "dask-operator".to_owned(), instance: std::env::var("POD_NAME").ok() };
        let wanted = Wanted::of(args.events && findings.has(Feature::Events), args.events_level);
        let recorder = Recorder::new(client.clone(), reporter, wanted);
        let scope = args.scope();
        let memory_budget = MemoryBudget::new(args.memory_limits());
        let releases = if args.leader_election && findings.has(Feature::Releases) {
            Releases::new(Id { namespace: home, name: args.lease_name }, scope, Some(recorder.clone()))
        } else {
            Releases::unknown()
        };
        Shared {
            recorder,
            releases,
            caches,
            old_definitions,
            expectations,
            defaults: Defaults {
                cluster_domain: args.cluster_domain,
                allocation: WorkerAllocation {
                    batch_size: args.worker_batch_size.map(i64::from).filter(|size| *size > 0),
                    delay_seconds: args.worker_batch_delay.map(i64::from),
                },
                scheduler_ip: args.scheduler_ip,
            },
            status_store: Arc::new(status_store),
            leadership,
            metrics,
            watch_timing,
            liveness,
            memory_budget,
            client,
        }
    }
}
