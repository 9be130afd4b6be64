//! The DaskWorkerGroup reconciler: one Deployment of one pod for each worker.
//!
//! observe → validate → scale → build → apply → remove → status; `scale` and `deletion_order` decide, and only
//! `observe`, `apply`, `remove`, `connected_workers` and `status` hold a client.

mod apply;
mod build;
mod connected_workers;
mod deletion_order;
#[cfg(feature = "fuzzing")]
pub(crate) mod fuzzing;
mod losses;
mod observe;
mod remove;
mod retiring;
mod scale;
mod status;
mod validate;
mod worker_matching;
mod worker_warnings;

use std::{sync::Arc, time::Duration};

use jiff::Timestamp;
use kube::ResourceExt as _;
use serde_json::Value;

pub(crate) use connected_workers::ConnectedWorkersCache;
pub(crate) use losses::Losses;
pub(crate) use remove::RemovalBackoff;
pub(crate) use status::{ACCEPTED, AVAILABLE, CONDITIONS, IN_PROGRESS, SCALED};
pub(crate) use worker_matching::registered;
pub(crate) use worker_warnings::shown as warnings;

use apply::Applied;

use crate::context::{Context, Defaults};
use dask_operator_api::{DaskCluster, DaskWorkerGroup};
use operator_runtime::{k8s, reconciler::Action, rejection::Rejection, watch::EXPECTATION_TTL};

/// How long the reconciler waits before it asks a scheduler again that refused or did not answer.
const WAITING_RETRY: Duration = Duration::from_secs(10);
/// How long the reconciler waits before it continues an unfinished removal or update.
const NEXT_STEP: Duration = Duration::from_secs(1);

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

/// Brings one DaskWorkerGroup a step closer to its spec.
pub(crate) async fn reconcile(group: Arc<DaskWorkerGroup>, context: Arc<Context>) -> Result<Action, Error> {
    if group.metadata.deletion_timestamp.is_some() {
        return Ok(Action::await_change()); // Kubernetes' garbage collector does the rest.
    }
    let observed = observe::observe(&group, &context).await.map_err(Error::Observe)?;
    let valid = match validate::validate(&group, &observed, &context.defaults) {
        Ok(valid) => valid,
        Err(invalid) => {
            let desired = status::of_invalid(&group, &observed, &invalid, Timestamp::now());
            status::write(&context, &group, desired).await.map_err(Error::Status)?;
            return Ok(Action::await_change()); // The group is enqueued when its cluster appears.
        }
    };
    let plan = scale::plan(valid.replicas, &observed.workers);
    let paced = scale::paced(plan, valid.pace, observed.expectations(), Timestamp::now());
    let writes = apply::writes(&valid, &observed, paced.create.clone());
    let (applied, mut error) = match apply::apply(&context, &group, &valid, writes).await {
        Ok(applied) => (applied, None),
        Err(error) if error.is_of_ending_namespace() => return Ok(Action::await_change()), // The group is deleted next.
        Err(error) => (Applied::default(), Some(error)),
    };
    let mut removal = remove::Removal::default();
    if remove::is_needed(&group, &valid, &observed) {
        match remove::remove(&context, &group, (&valid, &observed)).await {
            Ok(done) => removal = done,
            Err(failed) => error = error.or(Some(failed.into())),
        }
    }
    let more = paced.next == Some(Duration::ZERO);
    if (applied.made || observed.lags) && error.is_none() && !more {
        // The created workers are not in the caches yet. Their watch events trigger the next pass, which writes the
        // status, so it is written once and not twice. Only a group that needs many passes reports its progress in
        // between.
        return Ok(next((&applied, &paced), &removal, Some(EXPECTATION_TTL)));
    }
    let connected = connected_workers::take(&context, &valid, &observed).await;
    let seen = status::StatusInput {
        valid: &valid,
        observed: &observed,
        paced: &paced,
        removal: &removal,
        connected: &connected,
    };
    let desired = status::of_observed(&group, &seen, error.as_ref(), Timestamp::now());
    status::write(&context, &group, desired).await.map_err(Error::Status)?;
    match error {
        Some(error) => Err(Error::Apply(error)),
        None => Ok(next((&applied, &paced), &removal, connected.next)),
    }
}

/// Returns when the next pass is due although nothing changed.
fn next((applied, paced): (&Applied, &scale::Paced), removal: &remove::Removal, connected: Option<Duration>) -> Action {
    let cut = applied.cut.then_some(Duration::ZERO);
    let updating = applied.updating.then_some(NEXT_STEP);
    let waiting = removal.waiting.is_some().then_some(WAITING_RETRY);
    let unfinished = removal.unfinished.then_some(NEXT_STEP);
    let delays = [cut, updating, paced.next, waiting, unfinished, connected];
    delays.into_iter().flatten().min().map_or_else(Action::await_change, Action::requeue)
}

#[cfg(test)]
mod tests;
