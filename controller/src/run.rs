//! Wiring: client, watches, reconcilers and probes, until a signal comes.

use std::{io, sync::Arc, time::Duration};

use futures::{StreamExt as _, future::join_all, stream::FuturesUnordered};
use kube::{
    Api, Client, Config, Resource,
    client::ClientBuilder,
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
    dask_side, idle,
    metrics::Metrics,
    plugin, shutdown,
    watch::Progress,
    wired::Task,
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

/// Runs the controller until SIGTERM or SIGINT.
pub async fn run(args: RunArgs) -> Result<(), Error> {
    let shutdown = shutdown::on_signal()?;
    let config = client_config().await?;
    let listener = TcpListener::bind(args.admin_address)
        .await
        .map_err(|source| Error::Listen { address: args.admin_address, source })?;
    let operator_namespace = args.operator_namespace.unwrap_or_else(|| config.default_namespace.clone());
    let caches = Caches::new();
    let metrics = Arc::new(Metrics::new(caches.clone()));
    let client = ClientBuilder::try_from(config.clone())?.with_layer(&metrics.requests()).build();
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
        caches,
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
        metrics: Arc::clone(&metrics),
        client,
    });
    let dask_side = dask_side::wire(&context, &scope, &shutdown);
    let plugin_side = plugin::wire(&context, config, (settings, parts), &shutdown);
    let watches = [dask_side.watches, plugin_side.watches].concat();
    let followed = watches.clone();
    metrics.watch(Box::new(move || followed.clone()));
    metrics.lead(Box::new(|| true));
    let ready = announce_ready(watches.clone());
    let admin = admin::serve(listener, watches, metrics, shutdown.clone());
    let tasks = dask_side.tasks.into_iter().chain(plugin_side.tasks).collect();
    tokio::select! {
        result = until_first_ends(tasks, shutdown.clone()) => result,
        result = async { tokio::join!(admin, ready).0 } => result.map_err(Error::from),
    }
}

async fn client_config() -> Result<Config, Error> {
    let mut config = Config::infer().await?;
    // Errors are retried by the reconcilers, which know more; kube's own retries would hold a slot for minutes.
    config.default_retry = false;
    config.read_timeout = Some(SILENCE);
    config.reset_reader_on_write = true;
    Ok(config)
}

async fn announce_ready(watches: Vec<Progress>) {
    join_all(watches.iter().map(Progress::synced)).await;
    tracing::info!("all watches have delivered; reconciling");
}

/// Drives `tasks`. Before shutdown none may end; afterwards the reconcilers finish what is under way.
async fn until_first_ends(tasks: Vec<Task>, shutdown: CancellationToken) -> Result<(), Error> {
    let running: FuturesUnordered<_> = tasks
        .into_iter()
        .map(|(name, task)| async move {
            // A task of its own, so that one that is busy does not hold up the others.
            let ended = tokio::spawn(task).await;
            if let Err(error) = ended {
                tracing::error!(task = name, %error, "task failed");
            }
            name
        })
        .collect();
    let mut running = running;
    while let Some(name) = running.next().await {
        if !shutdown.is_cancelled() {
            return Err(Error::Ended(name));
        }
    }
    Ok(())
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
