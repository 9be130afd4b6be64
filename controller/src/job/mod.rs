//! The DaskJob reconciler: a DaskCluster, and a runner that runs to completion next to it.
//!
//! observe → phase → status → apply; `phase` is a pure state machine. A pass that would write anything decides again
//! by what the API server returns, so that a stale cache hides neither the end of a job nor an existing runner.
//!
//! The runner is the first container of `spec.job.spec.containers`. When it succeeds, the job has succeeded,
//! regardless of sidecars. The pod of a runner that ended is kept for its logs. If its sidecars still run five minutes
//! later, the pod is deleted. It is deleted at once if the runner itself would continue without a cluster.

mod apply;
mod build;
mod children;
mod cleanup;
mod event_dedup;
#[cfg(feature = "fuzzing")]
pub(crate) mod fuzzing;
mod labels;
mod observe;
mod phase;
mod runner;
mod status;
mod validate;

use std::{sync::Arc, time::Duration};

use jiff::Timestamp;
use serde_json::Value;

use crate::context::Context;
use apply::Made;
use children::ObservedChildren;
use dask_operator_api::{DaskJob, DaskJobStatus};
use operator_runtime::{
    k8s::{self, Class},
    reconciler::Action,
    rejection::Rejection,
};
use phase::Next;
pub(crate) use phase::job_status;
use validate::{Terms, ValidatedJob};

/// How soon the reconciler retries when a child's name is taken: objects of other owners are not watched.
const BLOCKED_RETRY: Duration = Duration::from_secs(10);
/// How soon the reconciler retries if a cache and the API server disagree.
const CACHE_RETRY: Duration = Duration::from_secs(10);

/// Why a pass ended early. Each variant is retried with growing delays.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// The job and its children could not be read from the API server.
    #[error(transparent)]
    Observe(k8s::Error),
    /// The status could not be written.
    #[error(transparent)]
    Status(k8s::Error),
    /// A child could not be created or deleted.
    #[error(transparent)]
    Apply(k8s::Error),
}

impl Error {
    /// Returns a constant word for metrics and logs.
    pub(crate) fn category(&self) -> &'static str {
        match self {
            Self::Observe(error) | Self::Status(error) | Self::Apply(error) => error.category(),
        }
    }
}

/// Returns the children of a new `job`: its DaskCluster and its runner.
pub(crate) fn manifests(job: &DaskJob, cluster_domain: &str) -> Result<[Value; 2], Rejection> {
    let valid = validate::validate(job, cluster_domain)?;
    Ok([build::build_cluster(&valid), build::build_runner(&valid, 0)])
}

/// Brings one DaskJob a step closer to its spec.
pub(crate) async fn reconcile(job: Arc<DaskJob>, context: Arc<Context>) -> Result<Action, Error> {
    if job.metadata.deletion_timestamp.is_some() {
        return Ok(Action::await_change()); // Kubernetes' garbage collector does the rest.
    }
    let restored = labels::restore(&job, &context).await.map_err(Error::Apply);
    let action = advance(job, context).await?;
    restored.map(|()| action)
}

async fn advance(job: Arc<DaskJob>, context: Arc<Context>) -> Result<Action, Error> {
    let decision = Decision::of(&job, observe::cached(&job, &context.caches), &context);
    if decision.is_idle() {
        return Ok(decision.rest());
    }
    let Some((job, world)) = observe::live(&job, &context).await.map_err(Error::Observe)? else {
        return Ok(Action::await_change());
    };
    let decision = Decision::of(&job, world, &context);
    if decision.is_idle() {
        labels::restore_unwatched(&job, &context).await.map_err(Error::Apply)?;
        return Ok(Action::requeue(CACHE_RETRY));
    }
    decision.execute(job, &context).await
}

/// The input of one pass and the decision that follows from it.
struct Decision {
    recorded: DaskJobStatus,
    terms: Terms,
    valid: Option<ValidatedJob>,
    world: ObservedChildren,
    next: Next,
}

impl Decision {
    fn of(job: &DaskJob, world: ObservedChildren, context: &Context) -> Self {
        let recorded = job.status.clone().unwrap_or_default();
        let (valid, invalid) = match validate::validate(job, &context.defaults.cluster_domain) {
            Ok(valid) => (Some(valid), None),
            Err(invalid) => (None, Some(invalid)),
        };
        let terms = validate::terms(job, invalid);
        let next = phase::next(&recorded, &terms, &world, Timestamp::now());
        Self { recorded, terms, valid, world, next }
    }

    /// Returns whether there is nothing to write and no object blocks the job.
    fn is_idle(&self) -> bool {
        !self.next.changes(&self.recorded) && self.next.blocked.is_none()
    }

    fn rest(&self) -> Action {
        self.next.wake.map_or_else(Action::await_change, |wake| {
            let left = wake.duration_since(Timestamp::now());
            Action::requeue(left.try_into().unwrap_or_default())
        })
    }

    /// Carries out the decision. The status is written first, so that a job that has ended reports it even while its
    /// cluster cannot be deleted.
    async fn execute(self, mut job: DaskJob, context: &Context) -> Result<Action, Error> {
        let Self { terms, next, .. } = &self;
        status::write(context, &job, &next.status, next.told.as_ref()).await.map_err(Error::Status)?;
        job.status = Some(next.status.clone());
        apply::delete(&context.client, &job, terms, next).await.map_err(Error::Apply)?;
        if let Some(why) = &next.blocked {
            return Ok(self.blocked(&job, why, context).await);
        }
        match &self.valid {
            Some(valid) if next.make => self.make(&job, valid, context).await,
            _ => Ok(self.rest()),
        }
    }

    async fn make(&self, job: &DaskJob, valid: &ValidatedJob, context: &Context) -> Result<Action, Error> {
        let predecessors = self.next.status.failed_runners.unwrap_or(0);
        match apply::make(&context.client, valid, &self.world, predecessors).await {
            Ok(Made { blocked: None, warnings }) => {
                status::forget(job);
                status::warn(context, job, &warnings).await;
                let made = phase::made(&self.next.status, &self.terms);
                status::write(context, job, &made, None).await.map_err(Error::Status)?;
                Ok(self.rest())
            }
            Ok(Made { blocked: Some(foreign), warnings }) => {
                status::warn(context, job, &warnings).await;
                Ok(self.blocked(job, &foreign, context).await)
            }
            // The job itself is deleted next.
            Err(error) if error.class() == Class::NamespaceEnding => Ok(Action::await_change()),
            Err(error) if apply::is_final(&error) => {
                let refused = phase::refused(&self.next.status, Timestamp::now());
                let why = Rejection::new("Invalid", error.message());
                status::write(context, job, &refused, Some(&why)).await.map_err(Error::Status)?;
                Ok(Action::await_change())
            }
            Err(error) => {
                let why = Rejection::new(error.category(), error.message());
                status::tell(context, job, &why).await;
                Err(Error::Apply(error))
            }
        }
    }

    async fn blocked(&self, job: &DaskJob, why: &Rejection, context: &Context) -> Action {
        status::tell(context, job, why).await;
        Action::requeue(BLOCKED_RETRY)
    }
}

#[cfg(test)]
mod tests;
