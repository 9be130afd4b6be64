//! The DaskCluster reconciler: a scheduler Deployment, its Service, and the default worker group.
//!
//! observe → validate → build → apply → status; `observe` sees the caches, and only `apply` and `status` hold a client.

mod apply;
mod build;
mod component;
mod observe;
mod phase;
mod scheduler_status;
mod status;
mod status_input;
mod summary;
mod update;
mod validate;
mod warnings;
mod workers;

use std::{pin::pin, sync::Arc, time::Duration};

use dask_plugin_engine::StatusStore;
use futures::future::join;
use jiff::Timestamp;
use kube::Client;
use serde_json::Value;
use tokio::time::timeout;

use crate::{caches::Caches, kopf_finalizer};
use apply::Writer;
use build::Desired;
use dask_operator_api::{ClusterPhase, DaskCluster, DaskClusterStatus};
use observe::{Observed, PHASE};
use operator_runtime::{
    k8s::{self, Class},
    reconciler::Action,
    rejection::Rejection,
    report::StatusReporter,
    watch::{ChildrenOf, EXPECTATION_TTL, Expectations},
};
pub(crate) use status::CONDITIONS;
use status_input::StatusInput;
use validate::ValidatedCluster;

/// How soon the reconciler retries when a component's name is taken: objects of other owners are not watched.
const BLOCKED_RETRY: Duration = Duration::from_secs(10);
/// How long the first status waits for the components. Components that take longer do not delay phase `Created`.
const SOON: Duration = Duration::from_secs(5);

/// What this reconciler works with.
pub(crate) struct Context {
    /// The caches, for `observe`.
    pub(crate) caches: Caches,
    /// What was created and is not in the caches yet, for `observe` and `apply`.
    pub(crate) expectations: Expectations,
    /// The client of the API server, for `apply`.
    pub(crate) client: Client,
    /// Writes statuses and publishes Events.
    pub(crate) reporter: StatusReporter,
    /// The results of plugins, for which a cluster may have to wait.
    pub(crate) plugins: Arc<StatusStore>,
}

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
    Ok([scheduler.manifest(), service.manifest(), group.manifest()])
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
    let observed = observe::observe(&cluster, &context.caches, &context.expectations);
    let valid = match validate::validate(&cluster) {
        Ok(valid) => valid,
        Err(invalid) => {
            let desired = status::of_invalid(&cluster, &invalid, Timestamp::now());
            status::write(&context.reporter, &cluster, &current, &desired).await.map_err(Error::Status)?;
            return Ok(Action::await_change());
        }
    };
    let live_scheduler = observed.scheduler.as_deref().map(|live| &live.metadata);
    let desired = build::build(&valid).beside(live_scheduler);
    let plan = apply::plan(&valid, &observed, &desired);
    let writer = Writer { client: &context.client, expectations: &context.expectations };
    let mut applying = pin!(apply::apply(writer, &valid, plan));
    let first = FirstStatus { context: &context, cluster: &cluster, valid: &valid, observed: &observed };
    let outcome = if let Ok(outcome) = timeout(SOON, &mut applying).await {
        outcome
    } else {
        let (written, outcome) = join(first.write(&mut current), applying).await;
        written?;
        outcome
    };
    if (outcome.made || observed.lags()) && outcome.error.is_none() && outcome.blocked.is_empty() {
        return Ok(Action::requeue(EXPECTATION_TTL)); // The watch event of the created object triggers a pass sooner.
    }
    if outcome.error.as_ref().is_some_and(|error| error.class() == Class::NamespaceEnding) {
        return Ok(Action::await_change()); // The cluster itself is deleted next.
    }
    first.write(&mut current).await?;
    // Read after the components are created: plugins delay the phase and nothing else.
    let held = current.phase != Some(ClusterPhase::Running) && context.plugins.holds(&cluster);
    let seen = StatusInput { current: &current, observed: &observed, built: &desired, outcome: &outcome, held };
    let desired = status::of_observed(&cluster, &valid, &seen, Timestamp::now());
    status::write(&context.reporter, &cluster, &current, &desired).await.map_err(Error::Status)?;
    match outcome.error {
        Some(error) => Err(Error::Apply(error)),
        // An existing component's watch event triggers a pass. The requeue covers the case that no event arrives.
        None if outcome.blocked.is_empty() && !outcome.stands => Ok(Action::await_change()),
        None => Ok(Action::requeue(BLOCKED_RETRY)),
    }
}

/// The first status of a cluster: phase `Created`, which clients expect to see before any other phase.
struct FirstStatus<'a> {
    context: &'a Context,
    cluster: &'a DaskCluster,
    valid: &'a ValidatedCluster,
    observed: &'a Observed,
}

impl FirstStatus<'_> {
    /// Writes the status if the cluster has no phase yet, and puts it into `current`.
    async fn write(&self, current: &mut DaskClusterStatus) -> Result<(), Error> {
        if current.phase.is_none() && !self.observed.is_phase_unseen {
            let created = status::of_created(self.cluster, self.valid, Timestamp::now());
            let written = status::write(&self.context.reporter, self.cluster, current, &created).await;
            written.map_err(Error::Status)?;
            self.context.expectations.remember(ChildrenOf { kind: PHASE, owner: &self.valid.uid }, "");
            *current = created;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
