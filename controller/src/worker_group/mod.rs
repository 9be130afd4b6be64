//! The DaskWorkerGroup reconciler: one Deployment of one pod for each worker.
//!
//! observe → validate → scale → build → apply → remove → status; `observe` sees the caches, and `scale` and
//! `deletion_order` decide. Where a cache is not enough, `strays` and `remove` read through a `live::LiveReader`. Only
//! `apply`, `remove` and `status` write.

mod apply;
mod build;
mod connected_workers;
mod deletion_order;
#[cfg(feature = "fuzzing")]
pub(crate) mod fuzzing;
mod live;
mod losses;
mod observe;
mod removal;
mod remove;
mod remover;
mod retiring;
mod scale;
mod status;
mod strays;
mod validate;
mod worker_warnings;
mod writes;

use std::{sync::Arc, time::Duration};

use jiff::Timestamp;
use kube::{Client, ResourceExt as _};
use serde_json::Value;

pub(crate) use status::{CONDITIONS, IN_PROGRESS};
pub(crate) use worker_warnings::shown as warnings;

use apply::{Applied, Writer};
use connected_workers::ConnectedWorkersCache;
use live::LiveReader;
use losses::Losses;
use removal::{Removal, RemovalBackoff};
use remover::RemovalTools;

use crate::{caches::Caches, defaults::Defaults, retirements::Retirements, scheduler::SchedulerClients};
use dask_operator_api::{DaskCluster, DaskWorkerGroup};
use operator_runtime::{
    fair_share::FairShare,
    k8s,
    reconciler::Action,
    rejection::Rejection,
    report::StatusReporter,
    watch::{EXPECTATION_TTL, Expectations},
};

/// How long the reconciler waits before it asks a scheduler again that refused or did not answer.
const WAITING_RETRY: Duration = Duration::from_secs(10);
/// How long the reconciler waits before it continues an unfinished removal or update.
const NEXT_STEP: Duration = Duration::from_secs(1);

/// How many schedulers worker groups may talk to at the same time. The slots are shared among namespaces: a single
/// namespace gets half of them. The limit is below the number of concurrent passes, so that schedulers that hang do not
/// delay other clusters.
const CONVERSATIONS: usize = 32;

/// What this reconciler works with.
pub(crate) struct Context {
    /// The caches, for `observe`.
    pub(crate) caches: Caches,
    /// What was created and is not in the caches yet, for `observe` and `apply`.
    pub(crate) expectations: Expectations,
    /// Defaults that are set by flags, for `validate`.
    pub(crate) defaults: Defaults,
    /// The client of the API server, for `apply`, `remove` and reads of live objects.
    pub(crate) client: Client,
    /// Writes statuses and publishes Events.
    pub(crate) reporter: StatusReporter,
    /// The clients of schedulers.
    pub(crate) schedulers: SchedulerClients,
    /// Counts workers that are removed.
    pub(crate) retirements: Arc<Retirements>,
    /// What is remembered between passes.
    pub(crate) memory: Memory,
}

/// What is remembered of groups between passes.
pub(crate) struct Memory {
    /// The number of connected workers.
    connected_workers: ConnectedWorkersCache,
    /// Backoff of worker removals that have to be retried.
    removal_backoff: RemovalBackoff,
    /// Workers that were lost.
    losses: Losses,
    /// Limits how many schedulers are asked at the same time.
    scheduler_limiter: FairShare,
}

impl Default for Memory {
    fn default() -> Self {
        Self {
            connected_workers: ConnectedWorkersCache::default(),
            removal_backoff: RemovalBackoff::default(),
            losses: Losses::default(),
            scheduler_limiter: FairShare::new(CONVERSATIONS),
        }
    }
}

/// Why a pass ended early. Each variant is retried with growing delays.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// The workers could not be listed.
    #[error(transparent)]
    Observe(k8s::Error),
    /// A worker could not be created, or the cluster not be set as the group's owner.
    #[error(transparent)]
    Apply(#[from] apply::Error),
    /// The status could not be written.
    #[error(transparent)]
    Status(k8s::Error),
}

impl Error {
    /// Returns a constant word for metrics and logs.
    pub(crate) fn category(&self) -> &'static str {
        match self {
            Self::Observe(error) | Self::Status(error) => error.category(),
            Self::Apply(error) => error.category(),
        }
    }
}

/// Returns the worker Deployments that the first pass over a new `group` of `cluster` creates.
pub(crate) fn manifests(
    group: &DaskWorkerGroup,
    cluster: Option<Arc<DaskCluster>>,
    defaults: &Defaults,
) -> Result<Vec<Value>, Rejection> {
    let observed = observe::Observed { cluster, ..observe::Observed::default() };
    let valid = validate::validate(group, &observed, defaults)?;
    let prefix = scale::prefix_of(&group.uid().unwrap_or_default());
    let workers = scale::Workers { prefix, ..scale::Workers::default() };
    Ok(scale::plan(valid.replicas, &workers).create.iter().map(|id| build::build_worker(&valid, id)).collect())
}

impl Context {
    fn writer(&self) -> Writer<'_> {
        Writer { client: &self.client, expectations: &self.expectations, groups: &self.caches.groups }
    }

    fn removal_tools(&self) -> RemovalTools<'_> {
        RemovalTools {
            client: &self.client,
            reporter: &self.reporter,
            schedulers: &self.schedulers,
            retirements: &self.retirements,
            backoff: &self.memory.removal_backoff,
            losses: &self.memory.losses,
            scheduler_limiter: &self.memory.scheduler_limiter,
        }
    }
}

/// Brings one DaskWorkerGroup a step closer to its spec.
pub(crate) async fn reconcile(group: Arc<DaskWorkerGroup>, context: Arc<Context>) -> Result<Action, Error> {
    if group.metadata.deletion_timestamp.is_some() {
        return Ok(Action::await_change()); // Kubernetes' garbage collector does the rest.
    }
    let mut observed = observe::observe(&group, &context.caches, &context.expectations);
    let reader = LiveReader::new(&context.client, &group);
    strays::add(&mut observed, &reader, &context.memory.losses).await.map_err(Error::Observe)?;
    let valid = match validate::validate(&group, &observed, &context.defaults) {
        Ok(valid) => valid,
        Err(invalid) => {
            let desired = status::of_invalid(&group, &observed, &invalid, Timestamp::now());
            status::write(&context.reporter, &group, desired).await.map_err(Error::Status)?;
            return Ok(Action::await_change()); // The group is enqueued when its cluster appears.
        }
    };
    let plan = scale::plan(valid.replicas, &observed.workers);
    let batch = scale::next_batch(plan, valid.allocation, observed.creation_times(), Timestamp::now());
    let writes = writes::plan(&valid, &observed, batch.create.clone());
    let (applied, mut error) = match apply::apply(context.writer(), &group, &valid, writes).await {
        Ok(applied) => (applied, None),
        Err(error) if error.is_of_ending_namespace() => return Ok(Action::await_change()), // The group is deleted next.
        Err(error) => (Applied::default(), Some(error)),
    };
    let mut removal = Removal::default();
    if remove::is_needed(&group, &valid, &observed) {
        match remove::remove(context.removal_tools(), &group, &valid, &observed).await {
            Ok(done) => removal = done,
            Err(failed) => error = error.or(Some(failed.into())),
        }
    }
    let more = batch.next == Some(Duration::ZERO);
    if (applied.made || observed.lags) && error.is_none() && !more {
        // The created workers are not in the caches yet. Their watch events trigger the next pass, which writes the
        // status, so it is written once and not twice. Only a group that needs many passes reports its progress in
        // between.
        return Ok(next(applied, &batch, &removal, Some(EXPECTATION_TTL)));
    }
    let Memory { connected_workers, scheduler_limiter, .. } = &context.memory;
    let connected = connected_workers.poll(&context.schedulers, scheduler_limiter, &valid, &observed).await;
    let seen = status::StatusInput {
        valid: &valid,
        observed: &observed,
        batch: &batch,
        removal: &removal,
        connected: &connected,
    };
    let desired = status::of_observed(&group, &seen, error.as_ref(), Timestamp::now());
    status::write(&context.reporter, &group, desired).await.map_err(Error::Status)?;
    match error {
        Some(error) => Err(Error::Apply(error)),
        None => Ok(next(applied, &batch, &removal, connected.next)),
    }
}

/// Returns when the next pass is due although nothing changed.
fn next(applied: Applied, batch: &scale::Batch, removal: &Removal, connected: Option<Duration>) -> Action {
    let cut = applied.cut.then_some(Duration::ZERO);
    let updating = applied.updating.then_some(NEXT_STEP);
    let waiting = removal.waiting.is_some().then_some(WAITING_RETRY);
    let unfinished = removal.unfinished.then_some(NEXT_STEP);
    let delays = [cut, updating, batch.next, waiting, unfinished, connected];
    delays.into_iter().flatten().min().map_or_else(Action::await_change, Action::requeue)
}

#[cfg(test)]
mod tests;
