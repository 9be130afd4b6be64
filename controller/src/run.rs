//! Wires the client, the watches, the reconcilers and the probes together, and runs them until a signal arrives.

use std::{error::Error as _, io, pin::pin, sync::Arc, time::Duration};

use dask_operator_api::WorkerAllocation;
use dask_plugin_engine as plugin;
use futures::future::join_all;
use kube::{Client, Config, client::ClientBuilder, runtime::events::Reporter};
use operator_runtime::{
    events::{Recorder, Wanted},
    k8s::OldDefinitions,
    leader::{self, Election, Leadership},
    liveness::Liveness,
    releases::Releases,
    scope::Scope,
    shutdown,
    task_runner::{self, drive},
    task_set::Task,
    watch::{Expectations, MemoryBudget, SyncStatus, WatchTiming},
};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::{
    admin::{self, Probes},
    args::RunArgs,
    caches::Caches,
    controllers,
    defaults::Defaults,
    exit::Exit,
    metrics::Metrics,
    preflight::{Feature, Findings, Preflight, Problem, Questions},
    shared::Shared,
};

/// Why the controller could not run.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// There is no usable kubeconfig and no ServiceAccount.
    #[error("no usable kubeconfig, and no ServiceAccount of a pod: {}", why(.0))]
    Config(#[from] kube::config::InferConfigError),
    /// The start-up checks have not passed.
    #[error(transparent)]
    Preflight(#[from] Problem),
    /// The client could not be built.
    #[error("cannot connect to the Kubernetes API server: {0}")]
    Client(#[from] kube::Error),
    /// The address of the probes is already in use.
    #[error("cannot listen on {address}: {source}")]
    Listen {
        /// The address.
        address: std::net::SocketAddr,
        /// The reason.
        source: io::Error,
    },
    /// Signal handlers or the probes failed.
    #[error("the process cannot go on: {0}")]
    Io(#[from] io::Error),
    /// A task that must run forever has ended.
    #[error("{0} ended unexpectedly")]
    Ended(&'static str),
    /// Another process leads, or may soon lead.
    #[error("{0}")]
    Leadership(#[from] leader::Error),
}

/// How long connecting to the API server may take, including the TLS handshake.
const CONNECT: Duration = Duration::from_secs(10);

impl Error {
    /// Returns the exit code of the process for this error.
    pub fn exit(&self) -> Exit {
        match self {
            Self::Config(_) | Self::Client(_) => Exit::NoApiServer,
            Self::Preflight(problem) => problem.exit(),
            Self::Leadership(_) => Exit::LeadershipLost,
            Self::Listen { .. } | Self::Io(_) | Self::Ended(_) => Exit::Other,
        }
    }
}

/// Returns the cause of the error. Its own text also mentions the missing ServiceAccount, which is expected outside of
/// a pod.
fn why(error: &kube::config::InferConfigError) -> String {
    error.source().map_or_else(|| error.to_string(), ToString::to_string)
}

/// Runs the controller until SIGTERM or SIGINT. Work in progress is then completed; a second signal ends it
/// immediately.
pub async fn run(args: RunArgs) -> Result<(), Error> {
    for warning in &args.warnings {
        tracing::warn!("{warning}");
    }
    let signals = shutdown::on_signal()?;
    let shutdown = signals.first.clone();
    let pace = WatchTiming { watch_seconds: args.watch_seconds, silence_seconds: args.silence_seconds };
    let config = client_config(pace).await?;
    let listener = TcpListener::bind(args.admin_address)
        .await
        .map_err(|source| Error::Listen { address: args.admin_address, source })?;
    let home = args.operator_namespace.clone().unwrap_or_else(|| config.default_namespace.clone());
    let (probes, liveness, caches) = (Probes::new(), Liveness::default(), Caches::new());
    let metrics = Arc::new(Metrics::new(caches.clone()));
    let (election, leadership) = election(&args, &home, client_of(&config, &metrics)?);
    let health = admin::Health {
        probes: probes.clone(),
        liveness: liveness.clone(),
        silence: pace.limit(),
        leadership: leadership.clone(),
    };
    // The probes are served until the process ends, because shutdown waits for work in progress.
    let admin = admin::serve_apart(listener, health, Arc::clone(&metrics))?;
    tokio::spawn(liveness.clone().keep_heartbeat());
    let control = async {
        let old_definitions = OldDefinitions::default();
        let client = client_of(&config, &metrics)?;
        let preflight = Preflight {
            client: client.clone(),
            questions: questions(&args, &home),
            probes: probes.clone(),
            limit: Duration::from_secs(args.startup_seconds),
            old_definitions: old_definitions.clone(),
        };
        let Some(findings) = preflight.pass(&shutdown).await? else { return Ok(()) };
        let start = Start {
            args,
            home,
            config,
            client,
            pace,
            caches,
            liveness,
            leadership,
            metrics,
            findings,
            old_definitions,
        };
        let (tasks, watches) = wire(start, &shutdown);
        probes.follow(watches.clone());
        drive_elected(drive(tasks, shutdown), election, watches).await
    };
    tokio::select! {
        result = control => result,
        result = admin => result.unwrap_or(Ok(())).map_err(Error::from).and(Err(Error::Ended("the probes' server"))),
        () = signals.second.cancelled() => Ok(()),
    }
}

/// Creates the leader election. `client` is used for the Lease only, so that no other request can delay a renewal.
fn election(args: &RunArgs, namespace: &str, client: Client) -> (Election, Leadership) {
    if !args.leader_election {
        return Election::new(None);
    }
    let settings = leader::Settings {
        namespace: namespace.to_owned(),
        name: args.lease_name.clone(),
        seconds: args.lease_seconds,
        pod: args.pod_name.clone(),
        watches: args.scope(),
    };
    Election::new(Some((client, settings)))
}

/// Returns a client whose requests are counted in the metrics.
fn client_of(config: &Config, metrics: &Metrics) -> Result<Client, kube::Error> {
    Ok(ClientBuilder::try_from(config.clone())?.with_layer(&metrics.runtime.requests()).build())
}

/// Drives `work`, which waits for leadership itself. Returns immediately if leadership is lost. Otherwise the Lease is
/// released only after `work` has stopped.
async fn drive_elected(
    work: impl Future<Output = Result<(), task_runner::Ended>>,
    election: Election,
    watches: Vec<SyncStatus>,
) -> Result<(), Error> {
    let ended = CancellationToken::new();
    let mut elected = pin!(election.run(synced(watches), ended.clone()));
    let result = tokio::select! {
        lost = &mut elected => return lost.map_err(Error::from),
        result = work => result.map_err(|task_runner::Ended(name)| Error::Ended(name)),
    };
    ended.cancel();
    elected.await?;
    result
}

/// Waits until all `watches` have synced.
async fn synced(watches: Vec<SyncStatus>) {
    join_all(watches.iter().map(SyncStatus::synced)).await;
}

fn questions(args: &RunArgs, home: &str) -> Questions {
    Questions {
        namespaces: args.namespaces.clone(),
        operator_namespace: home.to_owned(),
        service_account: args.service_account.clone(),
        tenants: args.plugin_tenants,
        events: Wanted::of(args.events, args.events_level) != Wanted::Nothing,
        releases: args.leader_election,
    }
}

/// The parts that the controller is built from.
struct Start {
    args: RunArgs,
    /// The operator's namespace.
    home: String,
    config: Config,
    client: Client,
    pace: WatchTiming,
    caches: Caches,
    liveness: Liveness,
    leadership: Leadership,
    metrics: Arc<Metrics>,
    findings: Findings,
    old_definitions: OldDefinitions,
}

/// Returns all tasks that run until shutdown, and the sync states of their watches.
fn wire(start: Start, shutdown: &CancellationToken) -> (Vec<Task>, Vec<SyncStatus>) {
    let scope = start.args.scope();
    let settings = start.plugin_settings(&scope);
    let has_plugins = start.findings.has(Feature::Plugins);
    let (status_store, requests) = plugin::StatusStore::new(&settings);
    let config = start.config.clone();
    let shared = start.shared(status_store);
    let reconcilers = controllers::wire(&shared, &scope, shutdown);
    let dependencies = plugin_dependencies(&shared, config);
    let plugin_side = if has_plugins {
        plugin::wire(&dependencies, settings, requests, shutdown)
    } else {
        plugin::wire_nothing(&dependencies, shutdown)
    };
    let watches = [reconcilers.watches, plugin_side.watches].concat();
    let (liveness, leadership) = (shared.liveness.clone(), shared.leadership.clone());
    shared.metrics.runtime.watch(Box::new(move || liveness.watches()));
    shared.metrics.runtime.lead(Box::new(move || leadership.is_leading()));
    shared.metrics.runtime.budget(shared.memory_budget.clone());
    let releases = shared.releases.clone();
    shared.metrics.runtime.overlap(Box::new(move || releases.overlapping()));
    tokio::spawn(announce(watches.clone(), shared.leadership.clone()));
    (reconcilers.tasks.into_iter().chain(plugin_side.tasks).collect(), watches)
}

/// Returns the parts of this process that the plugin engine depends on.
fn plugin_dependencies(shared: &Shared, config: Config) -> plugin::Dependencies {
    plugin::Dependencies {
        client: shared.client.clone(),
        config,
        caches: shared.caches.owners(),
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
            pace: self.pace,
            socket_dir: args.plugin_socket_dir,
            service_ip: args.plugin_service_ip,
            tenants: args.plugin_tenants,
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

    fn shared(self, status_store: plugin::StatusStore) -> Shared {
        let Self { args, home, client, pace, caches, liveness, leadership, metrics, findings, old_definitions, .. } =
            self;
        let reporter = Reporter { controller: "dask-operator".to_owned(), instance: std::env::var("POD_NAME").ok() };
        let wanted = Wanted::of(args.events && findings.has(Feature::Events), args.events_level);
        let recorder = Recorder::new(client.clone(), reporter, wanted);
        let scope = args.scope();
        // A release that names its namespaces acts on them in any case.
        let releases = if args.leader_election && !scope.is_limited() && findings.has(Feature::Releases) {
            Releases::new((home.as_str(), args.lease_name.as_str()), scope, Some(recorder.clone()))
        } else {
            Releases::unknown()
        };
        Shared {
            recorder,
            releases,
            caches,
            old_definitions,
            expectations: Expectations::default(),
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
            pace,
            liveness,
            memory_budget: MemoryBudget::new(usize::from(args.namespace_memory_mib) << 20),
            client,
        }
    }
}

/// Returns the client's configuration. Idle connections time out, including those in the pool, and the next request
/// opens a new one. So a connection that a firewall silently dropped is replaced without keep-alive packets, which kube
/// does not offer.
async fn client_config(pace: WatchTiming) -> Result<Config, Error> {
    let mut config = Config::infer().await?;
    // The reconcilers retry failed requests, with more context. Kube's own retries would occupy a slot for minutes.
    config.default_retry = false;
    config.connect_timeout = Some(CONNECT.min(pace.silence()));
    config.read_timeout = Some(pace.silence());
    config.write_timeout = Some(pace.silence());
    config.reset_reader_on_write = true;
    Ok(config)
}

/// Logs when the watches have synced and when this process starts to reconcile.
async fn announce(watches: Vec<SyncStatus>, leadership: Leadership) {
    synced(watches).await;
    if !leadership.is_leading() {
        tracing::info!("all watches have delivered; standing by until this process leads");
    }
    leadership.begun().await;
    tracing::info!("all watches have delivered; reconciling");
}
