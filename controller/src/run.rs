//! Starts the parts of the controller in order, and runs them until a signal arrives.

mod client;
mod wiring;

use std::{error::Error as _, io, pin::pin, sync::Arc, time::Duration};

use futures::future::join_all;
use kube::Client;
use operator_runtime::{
    events::Wanted,
    k8s::OldDefinitions,
    leader::{self, Election, Leadership},
    liveness::Liveness,
    releases, shutdown,
    task_runner::{self, drive},
    watch::{SyncStatus, WatchTiming},
};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use self::wiring::{Start, Wiring};
use crate::{
    admin::{self, Probes},
    args::RunArgs,
    caches::Caches,
    exit::Exit,
    metrics::Metrics,
    preflight::{Preflight, Problem, Questions},
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
    let watch_timing = WatchTiming { watch_seconds: args.watch_seconds, silence_seconds: args.silence_seconds };
    let config = client::config(watch_timing).await?;
    let listener = TcpListener::bind(args.admin_address)
        .await
        .map_err(|source| Error::Listen { address: args.admin_address, source })?;
    let home = args.operator_namespace.clone().unwrap_or_else(|| config.default_namespace.clone());
    let (probes, liveness, caches) = (Probes::new(), Liveness::default(), Caches::new());
    let metrics = Arc::new(Metrics::new(caches.clone()));
    let election = election(&args, &home, client::counted(&config, &metrics)?);
    let leadership = election.leadership();
    let health = admin::Health {
        probes: probes.clone(),
        liveness: liveness.clone(),
        silence: watch_timing.limit(),
        leadership: leadership.clone(),
    };
    // The probes are served until the process ends, because shutdown waits for work in progress.
    let admin = admin::serve_apart(listener, health, Arc::clone(&metrics))?;
    tokio::spawn(liveness.clone().keep_heartbeat());
    let control = async {
        let old_definitions = OldDefinitions::default();
        let client = client::counted(&config, &metrics)?;
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
            watch_timing,
            caches,
            liveness,
            leadership: leadership.clone(),
            metrics,
            findings,
            old_definitions,
        };
        let Wiring { tasks, watches } = wiring::wire(start, &shutdown);
        tokio::spawn(announce(watches.clone(), leadership.clone()));
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
fn election(args: &RunArgs, namespace: &str, client: Client) -> Election {
    if !args.leader_election {
        return Election::alone();
    }
    let settings = leader::Settings {
        namespace: namespace.to_owned(),
        name: args.lease_name.clone(),
        seconds: args.lease_seconds,
        pod: args.pod_name.clone(),
        watches: args.scope(),
    };
    Election::by_lease(client, &settings)
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
        claim: args.leader_election.then(|| releases::claim_name(home, &args.lease_name)),
    }
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
