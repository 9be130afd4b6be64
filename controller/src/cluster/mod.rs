//! The DaskCluster reconciler: a scheduler Deployment, its Service, and the default worker group.
//!
//! observe → validate → build → apply → status; only `apply` and `status` hold a client.

mod apply;
mod build;
mod observe;
mod phase;
mod scheduler_status;
mod status;
mod summary;
mod update;
mod validate;
mod warnings;
mod workers;

use std::{pin::pin, sync::Arc, time::Duration};

use futures::future::join;
use jiff::Timestamp;
use serde_json::Value;
use tokio::time::timeout;

use crate::{context::Context, kopf_finalizer};
use build::Desired;
use dask_operator_api::{ClusterPhase, DaskCluster, DaskClusterStatus};
use observe::{Observed, PHASE};
use operator_runtime::{
    k8s::{self, Class},
    reconciler::Action,
    rejection::Rejection,
    watch::EXPECTATION_TTL,
};
pub(crate) use status::{CONDITIONS, SCHEDULER_READY};
use validate::ValidatedCluster;

/// How soon the reconciler retries when a component's name is taken: objects of other owners are not watched.
const BLOCKED_RETRY: Duration = Duration::from_secs(10);
/// How long the first status waits for the components. Components that take longer do not delay phase `Created`.
const SOON: Duration = Duration::from_secs(5);

/// Why a pass ended early. Each variant is retried with growing delays.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// dask-kubernetes' finalizer could not be removed.
    #[error(transparent)]
    TakeOver(k8s::Error),
    /// A component could not be created.
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
            Self::TakeOver(error) | Self::Apply(error) | Self::Status(error) => error.category(),
        }
    }
}

/// Returns the manifests of the components of `cluster`: scheduler Deployment, Service and default group.
pub(crate) fn manifests(cluster: &DaskCluster) -> Result<[Value; 3], Rejection> {
    let Desired { scheduler, service, group } = build::build(&validate::validate(cluster)?);
    Ok([scheduler.manifest, service.manifest, group.manifest])
}

/// Returns whether `cluster` is invalid, so that nothing is created for it until its author changes it.
pub(crate) fn is_invalid(cluster: &DaskCluster) -> bool {
    validate::validate(cluster).is_err()
}

/// Brings one DaskCluster a step closer to its spec.
pub(crate) async fn reconcile(cluster: Arc<DaskCluster>, context: Arc<Context>) -> Result<Action, Error> {
    kopf_finalizer::release(&context.client, cluster.as_ref()).await.map_err(Error::TakeOver)?;
    if cluster.metadata.deletion_timestamp.is_some() {
        return Ok(Action::await_change()); // Kubernetes' garbage collector does the rest.
    }
    let mut current = cluster.status.clone().unwrap_or_default();
    let observed = observe::observe(&cluster, &context);
    let valid = match validate::validate(&cluster) {
        Ok(valid) => valid,
        Err(invalid) => {
            let desired = status::of_invalid(&cluster, &invalid, Timestamp::now());
            status::write(&context, &cluster, &current, &desired).await.map_err(Error::Status)?;
            return Ok(Action::await_change());
        }
    };
    let live_scheduler = observed.scheduler.as_deref().map(|live| &live.metadata);
    let desired = build::build(&valid).beside(live_scheduler);
    let plan = apply::plan(&valid, &observed, &desired);
    let mut applying = pin!(apply::apply(&context, &valid, plan));
    let outcome = if let Ok(outcome) = timeout(SOON, &mut applying).await {
        outcome
    } else {
        let writing = write_created(&context, &cluster, (&valid, &observed), &mut current);
        let (written, outcome) = join(writing, applying).await;
        written?;
        outcome
    };
    if (outcome.made || !observed.unseen.is_empty()) && outcome.error.is_none() && outcome.blocked.is_empty() {
        return Ok(Action::requeue(EXPECTATION_TTL)); // The watch event of the created object triggers a pass sooner.
    }
    if outcome.error.as_ref().is_some_and(|error| error.class() == Class::NamespaceEnding) {
        return Ok(Action::await_change()); // The cluster itself is deleted next.
    }
    write_created(&context, &cluster, (&valid, &observed), &mut current).await?;
    // Read after the components are created: plugins delay the phase and nothing else.
    let held = current.phase != Some(ClusterPhase::Running) && context.status_store.holds(&cluster);
    let seen = status::StatusInput { current: &current, observed: &observed, built: &desired, outcome: &outcome, held };
    let desired = status::of_observed(&cluster, &valid, &seen, Timestamp::now());
    status::write(&context, &cluster, &current, &desired).await.map_err(Error::Status)?;
    match outcome.error {
        Some(error) => Err(Error::Apply(error)),
        // An existing component's watch event triggers a pass. The requeue covers the case that no event arrives.
        None if outcome.blocked.is_empty() && !outcome.stands => Ok(Action::await_change()),
        None => Ok(Action::requeue(BLOCKED_RETRY)),
    }
}

/// Writes phase `Created` if the cluster has no phase yet: clients expect to see it before any other phase.
async fn write_created(
    context: &Context,
    cluster: &DaskCluster,
    (valid, observed): (&ValidatedCluster, &Observed),
    current: &mut DaskClusterStatus,
) -> Result<(), Error> {
    if current.phase.is_none() && !observed.unseen.contains(PHASE) {
        let created = status::of_created(cluster, valid, Timestamp::now());
        status::write(context, cluster, current, &created).await.map_err(Error::Status)?;
        context.expectations.remember((PHASE, &valid.uid), "");
        *current = created;
    }
    Ok(())
}

#[cfg(test)]
mod tests;
