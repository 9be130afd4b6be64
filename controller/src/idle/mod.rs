//! The idle time-out of DaskClusters: a cluster whose scheduler has had nothing to do for too long is deleted, or
//! scaled to 0 workers. The scheduler is only asked, never changed.
//!
//! validate → observe → decide → apply → status; only `observe`, `apply` and `status` do I/O.

mod apply;
mod decide;
#[cfg(feature = "fuzzing")]
pub(crate) mod fuzzing;
mod observe;
mod status;
mod tracker;
mod validate;

use std::{sync::Arc, time::Duration};

use kube::ResourceExt as _;

pub(crate) use tracker::IdleTracker;

use crate::context::Context;
use apply::Outcome;
use dask_operator_api::{DaskCluster, IdleAction};
use decide::{Decision, Probe};
use observe::Probed;
use operator_runtime::{k8s, moment::Moment, reconciler::Action};
use status::Reached;
use validate::Validated;

/// How soon the reconciler retries after the cluster was changed in the meantime.
const SOON: Duration = Duration::from_secs(1);

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
        context.idle.forget(&uid);
        return Ok(Action::await_change());
    }
    let Some(valid) = validate::validate(&cluster) else {
        context.idle.forget(&uid);
        status::write(&context, &cluster, Reached::Unasked).await.map_err(Error::Status)?;
        return Ok(Action::await_change());
    };
    let probed = observe::probe(&context, &cluster).await;
    let now = Moment::now();
    let (probe, not_before) = match &probed {
        Probed::NotReady => (Probe::NotReady, now.wall),
        Probed::Failed(_) => (Probe::Failed, now.wall),
        Probed::Answered { idleness, not_before } => (Probe::Answered(*idleness), *not_before),
    };
    let verdict = context.idle.take_in(&uid, &probe, not_before, (&valid.rules, now));
    let reached = match &probed {
        Probed::NotReady => Some(Reached::NotReady),
        Probed::Failed(error) => verdict.unreachable.then_some(Reached::No(error)),
        Probed::Answered { .. } => Some(Reached::Yes),
    };
    if let Some(reached) = reached {
        status::write(&context, &cluster, reached).await.map_err(Error::Status)?;
    }
    match verdict.decision {
        Decision::Wait(wait) => Ok(Action::requeue(wait)),
        Decision::Act { period } => act(&context, &cluster, &valid, &period).await,
    }
}

async fn act(context: &Context, cluster: &DaskCluster, valid: &Validated, period: &str) -> Result<Action, Error> {
    let outcome = match valid.action {
        IdleAction::Delete => apply::delete(context, cluster, valid).await,
        IdleAction::ScaleToZero => apply::scale_to_zero(context, cluster, valid, period).await,
    };
    match (outcome.map_err(Error::Apply)?, valid.action) {
        (Outcome::Outdated, _) => Ok(Action::requeue(SOON)),
        (Outcome::Done, IdleAction::Delete) => Ok(Action::await_change()),
        (Outcome::Done, IdleAction::ScaleToZero) => Ok(Action::requeue(decide::PERIOD)),
    }
}
