//! The DaskJob reconciler: a DaskCluster, and a runner that runs to completion next to it.
//!
//! observe → validate → phase → status → apply; `observe` sees the caches, and `phase` is a pure state machine. A pass that
//! would write anything decides again by what the API server returns (`live`), so that a stale cache hides neither the end
//! of a job nor an existing runner.
//!
//! The runner is the containers that `spec.job.spec` lists. When all of them have succeeded, the job has succeeded,
//! regardless of containers that others inject into the pod. The pod of a runner that ended is kept for its logs. If
//! injected containers still run five minutes later, the pod is deleted. It is deleted at once if the runner itself would
//! continue.

mod apply;
mod build;
mod children;
mod cleanup;
mod container;
mod deadlines;
mod event_dedup;
mod extras;
mod failures;
#[cfg(feature = "fuzzing")]
pub(crate) mod fuzzing;
mod identity;
mod labels;
mod live;
mod next;
mod observe;
mod phase;
mod retention;
mod runner;
mod status;
mod trouble;
mod validate;

use std::{sync::Arc, time::Duration};

use jiff::Timestamp;
use kube::Client;
use serde_json::Value;

pub(crate) use status::JobReporter;

use crate::caches::Caches;
use apply::Made;
use children::ObservedChildren;
use dask_operator_api::{DaskJob, DaskJobStatus};
use extras::Extra;
use live::Live;
use next::Next;
use operator_runtime::{
    k8s::{self, Class},
    reconciler::Action,
    rejection::Rejection,
};
use validate::{Terms, ValidatedJob};

/// How soon the reconciler retries when a child's name is taken: objects of other owners are not watched.
const BLOCKED_RETRY: Duration = Duration::from_secs(10);
/// How soon the reconciler retries if a cache and the API server disagree.
const CACHE_RETRY: Duration = Duration::from_secs(10);

/// What this reconciler works with.
pub(crate) struct Context {
    /// The caches, for `observe`.
    pub(crate) caches: Caches,
    /// The DNS domain of the Kubernetes cluster.
    pub(crate) cluster_domain: String,
    /// The client of the API server, for `live` and `apply`.
    pub(crate) client: Client,
    /// Writes statuses and publishes Events.
    pub(crate) reporter: JobReporter,
}

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

/// Returns the children of a new `job`: its DaskCluster with what the job adds to it, and its runner.
pub(crate) fn manifests(job: &DaskJob, cluster_domain: &str) -> Result<Vec<Value>, Rejection> {
    let valid = validate::validate(job, cluster_domain)?;
    let extras = Extra::all(job).into_iter().filter_map(|extra| build::build_extra(&valid, None, &extra));
    let cluster_and_runner = [build::build_cluster(&valid), build::build_runner(&valid, 0)];
    Ok(cluster_and_runner.into_iter().chain(extras).map(|child| child.manifest).collect())
}

/// Brings one DaskJob a step closer to its spec.
pub(crate) async fn reconcile(job: Arc<DaskJob>, context: Arc<Context>) -> Result<Action, Error> {
    if job.metadata.deletion_timestamp.is_some() {
        return Ok(Action::await_change()); // Kubernetes' garbage collector does the rest.
    }
    let restored = labels::restore(&context.client, &job, &context.caches).await.map_err(Error::Apply);
    let action = advance(job, context).await?;
    restored.map(|()| action)
}

async fn advance(job: Arc<DaskJob>, context: Arc<Context>) -> Result<Action, Error> {
    let decision = Decision::of(&job, observe::cached(&job, &context.caches), &context.cluster_domain);
    decision.report_problems(&job, &context.reporter).await;
    if decision.is_idle() {
        return Ok(decision.rest());
    }
    let live = live::live(&context.client, &job, &context.caches).await.map_err(Error::Observe)?;
    let Some(Live { job, children }) = live else { return Ok(Action::await_change()) };
    let decision = Decision::of(&job, children, &context.cluster_domain);
    if decision.is_idle() {
        labels::restore_unwatched(&context.client, &job, &context.caches).await.map_err(Error::Apply)?;
        return Ok(Action::requeue(CACHE_RETRY));
    }
    // The future of a pass would otherwise be large for all jobs that are idle.
    Box::pin(decision.execute(job, &context)).await
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
    fn of(job: &DaskJob, world: ObservedChildren, cluster_domain: &str) -> Self {
        let recorded = job.status.clone().unwrap_or_default();
        let (valid, invalid) = match validate::validate(job, cluster_domain) {
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
        self.wait().map_or_else(Action::await_change, Action::requeue)
    }

    /// Returns how long the next pass may wait if nothing changes before.
    fn wait(&self) -> Option<Duration> {
        let left = self.next.wake?.duration_since(Timestamp::now());
        Some(left.try_into().unwrap_or_default())
    }

    /// Reports what keeps the cluster or the runner of a job that has not ended from working.
    async fn report_problems(&self, job: &DaskJob, reporter: &JobReporter) {
        if cleanup::is_finished(&self.next.status) {
            reporter.forget_all(job);
            return;
        }
        reporter.report_problems(job, &self.world).await;
    }

    /// Carries out the decision. The status is written first, so that a job that has ended reports it even while its
    /// cluster cannot be deleted.
    async fn execute(self, mut job: DaskJob, context: &Context) -> Result<Action, Error> {
        let Self { terms, next, .. } = &self;
        let reporter = &context.reporter;
        reporter.write(&job, &next.status, next.reported.as_ref()).await.map_err(Error::Status)?;
        job.status = Some(next.status.clone());
        apply::delete(&context.client, &job, terms, next).await.map_err(Error::Apply)?;
        let made = match (&self.valid, self.world.standing_cluster()) {
            (Some(valid), Some(cluster)) if !next.make_extras.is_empty() => {
                apply::make_extras(&context.client, valid, &cluster, &next.make_extras).await
            }
            (Some(valid), _) if next.make => {
                let predecessors = next.status.failed_runners.unwrap_or(0);
                apply::make(&context.client, valid, &self.world, predecessors).await
            }
            _ => Ok(Made::default()),
        };
        match made {
            Ok(Made { blocked, warnings }) => {
                reporter.warn(&job, &warnings).await;
                match blocked {
                    None => self.made(&job, reporter).await,
                    Some(foreign) => Ok(self.blocked(&job, &foreign, reporter).await),
                }
            }
            Err(error) => self.failed(error, &job, reporter).await,
        }
    }

    async fn made(&self, job: &DaskJob, reporter: &JobReporter) -> Result<Action, Error> {
        if let Some(why) = &self.next.blocked {
            return Ok(self.blocked(job, why, reporter).await);
        }
        reporter.forget(job);
        if self.next.make {
            let made = phase::made(&self.next.status, &self.terms);
            reporter.write(job, &made, None).await.map_err(Error::Status)?;
        }
        Ok(self.rest())
    }

    async fn blocked(&self, job: &DaskJob, why: &Rejection, reporter: &JobReporter) -> Action {
        reporter.report_rejection(job, why).await;
        Action::requeue(self.wait().unwrap_or(BLOCKED_RETRY).min(BLOCKED_RETRY))
    }

    /// Handles a child that the API server refused.
    async fn failed(&self, error: k8s::Error, job: &DaskJob, reporter: &JobReporter) -> Result<Action, Error> {
        // The job itself is deleted next.
        if error.class() == Class::NamespaceEnding {
            return Ok(Action::await_change());
        }
        if apply::is_final(&error) {
            let refused = phase::refused(&self.next.status, Timestamp::now());
            let why = Rejection::new("Invalid", error.message());
            reporter.write(job, &refused, Some(&why)).await.map_err(Error::Status)?;
            return Ok(Action::await_change());
        }
        let why = Rejection::new(error.category(), error.message());
        reporter.report_rejection(job, &why).await;
        match self.wait() {
            // The delay after an error may grow beyond a deadline.
            Some(wait) => Ok(Action::requeue(wait.min(BLOCKED_RETRY))),
            None => Err(Error::Apply(error)),
        }
    }
}

#[cfg(test)]
mod tests;
