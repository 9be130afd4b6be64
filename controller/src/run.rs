//! Wiring: client, watches, reconcilers and probes, until a signal comes.

use std::{io, pin::pin, sync::Arc, time::Duration};

use futures::future::join_all;
use kube::{
    Api, Client, Config, Resource,
    core::NamespaceResourceScope,
    runtime::{
        events::{Recorder, Reporter},
        watcher,
    },
};
use tokio::{net::TcpListener, sync::Semaphore};
use tokio_util::sync::CancellationToken;

use crate::{
    admin,
    args::RunArgs,
    autoscaler,
    context::{Caches, Context, Defaults},
    crd::WorkerAllocation,
    dask_side,
    drive::{self, drive},
    idle,
    leader::{self, Election, Leadership},
    metrics::Metrics,
    plugin, shutdown,
    watch::Progress,
    worker_group::{Censuses, Pauses},
};

/// Why the controller could not run.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// There is no usable kubeconfig and no ServiceAccount.
    #[error("cannot find a Kubernetes API server: {0}")]
    Config(#[from] kube::config::InferConfigError),
    /// The client could not be built.
    #[error("cannot connect to the Kubernetes API server: {0}")]
    Client(#[from] kube::Error),
    /// The probes' address is taken.
    #[error("cannot listen on {address}: {source}")]
    Listen {
        /// The address.
        address: std::net::SocketAddr,
        /// Why not.
        source: io::Error,
    },
    /// Signal handlers or the probes failed.
    #[error("the process cannot go on: {0}")]
    Io(#[from] io::Error),
    /// Something that must run for ever has ended.
    #[error("{0} ended unexpectedly")]
    Ended(&'static str),
    /// Another process leads, or may soon.
    #[error("{0}")]
    Leadership(#[from] leader::Error),
}

impl Error {
    /// The process's exit code.
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Leadership(_) => 6,
            _ => 1,
        }
    }
}

/// How long one watch request lasts. The API server ends it then, so that whatever is silent for longer is dead.
const WATCH_SECONDS: u32 = 30;
/// How long a connection may say nothing while an answer is awaited, where a call has no time-out of its own.
const SILENCE: Duration = Duration::from_secs(40);

/// Schedulers that worker groups talk to at a time.
const CONVERSATIONS: usize = 16;

/// The namespaces that are watched, as it shapes requests.
#[derive(Clone, Debug)]
pub(crate) struct Scope(Option<String>);

impl Scope {
    /// The kind `K` in the scope.
    pub(crate) fn api<K>(&self, client: &Client) -> Api<K>
    where
        K: Resource<DynamicType = (), Scope = NamespaceResourceScope>,
    {
        match &self.0 {
            Some(namespace) => Api::namespaced(client.clone(), namespace),
            None => Api::all(client.clone()),
        }
    }
}

/// Runs the controller until SIGTERM or SIGINT. What is under way then is finished; the second signal ends it at once.
pub async fn run(args: RunArgs) -> Result<(), Error> {
    let signals = shutdown::on_signal()?;
    let shutdown = signals.first.clone();
    let config = client_config().await?;
    let listener = TcpListener::bind(args.admin_address)
        .await
        .map_err(|source| Error::Listen { address: args.admin_address, source })?;
    let operator_namespace = args.operator_namespace.clone().unwrap_or_else(|| config.default_namespace.clone());
    let (election, leadership) = election(&args, &operator_namespace, &config)?;
    let client = Client::try_from(config.clone())?;
    let reporter = Reporter { controller: "dask-operator".to_owned(), instance: std::env::var("POD_NAME").ok() };
    let scope = Scope(args.namespace);
    let settings = plugin::Settings {
        namespace: operator_namespace,
        watched: scope.0.clone(),
        socket_dir: args.plugin_socket_dir,
        service_ip: args.plugin_service_ip,
        tenants: args.plugin_tenants,
        urls: plugin::Urls { allowed: args.allow_plugin_urls, dev: args.dev_plugins },
        identity: plugin::Identity { service_account: args.service_account, pod: args.pod_name.zip(args.pod_uid) },
        lives: plugin::Lives {
            authority: Duration::from_secs(args.plugin_authority_seconds),
            certificate: Duration::from_secs(args.plugin_certificate_seconds),
        },
    };
    let (board, parts) = plugin::Board::new(&settings);
    let context = Arc::new(Context {
        recorder: Recorder::new(client.clone(), reporter),
        caches: Caches::new(),
        defaults: Defaults {
            cluster_domain: args.cluster_domain,
            allocation: WorkerAllocation {
                batch_size: args.worker_batch_size.map(i64::from).filter(|size| *size > 0),
                delay_seconds: args.worker_batch_delay.map(i64::from),
            },
            scheduler_ip: args.scheduler_ip,
        },
        censuses: Censuses::default(),
        pauses: Pauses::default(),
        conversations: Semaphore::new(CONVERSATIONS),
        autoscaling: autoscaler::Memory::default(),
        idle: idle::Memory::default(),
        board: Arc::new(board),
        leadership: leadership.clone(),
        metrics: Arc::new(Metrics::new()),
        client,
    });
    let dask_side = dask_side::wire(&context, &scope, &shutdown);
    let plugin_side = plugin::wire(&context, config, (settings, parts), &shutdown);
    let watches = [dask_side.watches, plugin_side.watches].concat();
    // It answers until the end: what is under way at shutdown is waited for.
    let probed = (watches.clone(), leadership.clone());
    let admin = admin::serve(listener, probed, Arc::clone(&context.metrics), CancellationToken::new());
    let tasks = dask_side.tasks.into_iter().chain(plugin_side.tasks).collect();
    tokio::select! {
        result = drive_elected(drive(tasks, shutdown), election, watches.clone()) => result,
        result = admin => result.map_err(Error::from).and(Err(Error::Ended("the probes' server"))),
        () = signals.second.cancelled() => Ok(()),
        () = announce(watches, leadership) => Ok(()),
    }
}

fn election(args: &RunArgs, namespace: &str, config: &Config) -> Result<(Election, Leadership), Error> {
    if !args.leader_election {
        return Ok(Election::new(None));
    }
    let settings = leader::Settings {
        namespace: namespace.to_owned(),
        name: args.lease_name.clone(),
        seconds: args.lease_seconds,
        pod: args.pod_name.clone(),
    };
    Ok(Election::new(Some((Client::try_from(config.clone())?, settings))))
}

/// Drives `work`, which waits for leadership itself. It ends at once when that is lost; else the next one may lead when
/// nothing of `work` runs any more.
async fn drive_elected(
    work: impl Future<Output = Result<(), drive::Ended>>,
    election: Election,
    watches: Vec<Progress>,
) -> Result<(), Error> {
    let ended = CancellationToken::new();
    let mut elected = pin!(election.run(watches, ended.clone()));
    let result = tokio::select! {
        lost = &mut elected => return lost.map_err(Error::from),
        result = work => result.map_err(|drive::Ended(name)| Error::Ended(name)),
    };
    ended.cancel();
    elected.await?;
    result
}

async fn client_config() -> Result<Config, Error> {
    let mut config = Config::infer().await?;
    // Errors are retried by the reconcilers, which know more; kube's own retries would hold a slot for minutes.
    config.default_retry = false;
    config.read_timeout = Some(SILENCE);
    config.reset_reader_on_write = true;
    Ok(config)
}

/// Says how far this process is, and never ends.
async fn announce(watches: Vec<Progress>, leadership: Leadership) {
    join_all(watches.iter().map(Progress::synced)).await;
    if !leadership.is_leading() {
        tracing::info!("all watches have delivered; standing by until this process leads");
    }
    leadership.begun().await;
    tracing::info!("all watches have delivered; reconciling");
    std::future::pending::<()>().await;
}

/// Watches ask for changes in this way: bookmarks on, and lists from etcd rather than from a cache that
/// may be old, since decisions rest on what is *not* in them.
pub(crate) fn watch_config(labels: Option<&str>) -> watcher::Config {
    let config = watcher::Config::default().timeout(WATCH_SECONDS);
    match labels {
        Some(labels) => config.labels(labels),
        None => config,
    }
}
