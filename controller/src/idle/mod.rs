//! The idle time-out of DaskClusters: a cluster whose scheduler has had nothing to do for too long is deleted, or
//! scaled to 0 workers. The scheduler is only asked, never changed.
//!
//! validate → observe → ask → decide → apply → status; `observe` sees the caches, and only `ask`, `apply` and `status` do
//! I/O.

mod apply;
mod ask;
mod decide;
#[cfg(feature = "fuzzing")]
pub(crate) mod fuzzing;
mod observe;
mod status;
mod tracker;
mod validate;

use std::{sync::Arc, time::Duration};

use kube::{Client, ResourceExt as _};

pub(crate) use tracker::IdleTracker;

use crate::{caches::Caches, outcome::Outcome, scheduler::SchedulerClients};
use apply::Actor;
use dask_operator_api::{DaskCluster, IdleAction};
use decide::{Decision, Probe};
use operator_runtime::{k8s, moment::Moment, reconciler::Action, report::StatusReporter};
use status::Reached;

/// How soon the reconciler retries after the cluster was changed in the meantime.
const SOON: Duration = Duration::from_secs(1);

/// What this reconciler works with.
pub(crate) struct Context {
    /// The caches, for `observe`.
    pub(crate) caches: Caches,
    /// The clients of schedulers, for `ask`.
    pub(crate) schedulers: SchedulerClients,
    /// The client of the API server, for `apply`.
    pub(crate) client: Client,
    /// Writes statuses and publishes Events.
    pub(crate) reporter: StatusReporter,
    /// The idle times that schedulers reported.
    pub(crate) tracker: IdleTracker,
}

/// Why a pass ended early. Each variant is retried with growing delays.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// The cluster could not be deleted, or its groups not be scaled.
    #[error(transparent)]
    Apply(k8s::Error),
    /// The status could not be written.
    #[error(transparent)]
    Status(k8s::Error),
}

impl Error {
    /// Returns a constant word for metrics and logs.
    pub(crate) fn category(&self) -> &'static str {
        match self {
            Self::Apply(error) | Self::Status(error) => error.category(),
        }
    }
}

/// Checks whether one DaskCluster has been idle for too long, and acts if so.
pub(crate) async fn reconcile(cluster: Arc<DaskCluster>, context: Arc<Context>) -> Result<Action, Error> {
    let uid = cluster.uid().unwrap_or_default();
    if cluster.metadata.deletion_timestamp.is_some() {
        context.tracker.forget(&uid);
        return Ok(Action::await_change());
    }
    let Some(valid) = validate::validate(&cluster) else {
        context.tracker.forget(&uid);
        status::write(&context.reporter, &cluster, Reached::Unasked).await.map_err(Error::Status)?;
        return Ok(Action::await_change());
    };
    let observed = observe::observe(&cluster, &context.caches);
    let answer = match observed.ready_since {
        Some(_) => Some(ask::idleness(&context.schedulers, &cluster).await),
        None => None,
    };
    let now = Moment::now();
    let (probe, not_before) = match &answer {
        None => (Probe::NotReady, now.wall),
        Some(Err(_)) => (Probe::Failed, now.wall),
        Some(Ok(idleness)) => (Probe::Answered(*idleness), observed.ready_since.unwrap_or(now.wall)),
    };
    let verdict = context.tracker.with(&uid, now, |period| period.take_in(&probe, not_before, &valid.rules, now));
    let reached = match &answer {
        None => Some(Reached::NotReady),
        Some(Err(error)) => verdict.unreachable.then_some(Reached::No(error)),
        Some(Ok(_)) => Some(Reached::Yes),
    };
    if let Some(reached) = reached {
        status::write(&context.reporter, &cluster, reached).await.map_err(Error::Status)?;
    }
    let period = match verdict.decision {
        Decision::Wait(wait) => return Ok(Action::requeue(wait)),
        Decision::Act { period } => period,
    };
    let Context { client, reporter, .. } = context.as_ref();
    let actor = Actor { client, reporter, cluster: &cluster, valid: &valid };
    let outcome = match valid.action {
        IdleAction::Delete => apply::delete(&actor).await,
        IdleAction::ScaleToZero => apply::scale_to_zero(&actor, &observed.groups, &period).await,
    };
    match (outcome.map_err(Error::Apply)?, valid.action) {
        (Outcome::Outdated, _) => Ok(Action::requeue(SOON)),
        (Outcome::Done, IdleAction::Delete) => Ok(Action::await_change()),
        (Outcome::Done, IdleAction::ScaleToZero) => Ok(Action::requeue(decide::PERIOD)),
    }
}
