//! The DaskAutoscaler reconciler: scales a worker group to the number of workers that the scheduler asks for.
//!
//! observe → validate → ask → decide → apply → status; `observe` sees the caches, and only `ask`, `apply` and `status` do
//! I/O.

mod apply;
mod ask;
mod count;
mod decide;
#[cfg(feature = "fuzzing")]
pub(crate) mod fuzzing;
mod history;
mod observe;
mod status;
mod survey;
mod validate;

use std::{sync::Arc, time::Duration};

use jiff::Timestamp;
use kube::{Client, ResourceExt as _};

pub(crate) use history::ScalingHistory;
pub(crate) use status::CONDITIONS;
pub(crate) use survey::Surveys;

use crate::{caches::Caches, kopf_finalizer, outcome::Outcome, scheduler::SchedulerClients};
use apply::ScalingDecision;
use dask_operator_api::DaskAutoscaler;
use decide::{Decision, ScalingInput};
use operator_runtime::{k8s, moment::Moment, reconciler::Action, report::StatusReporter};
use status::StatusInput;
use validate::Validated;

/// How often the scheduler is asked: the same interval as in dask-kubernetes.
const PERIOD: Duration = Duration::from_secs(5);
/// How soon the reconciler retries after another client changed an object in the meantime.
const SOON: Duration = Duration::from_secs(1);

/// What this reconciler works with.
pub(crate) struct Context {
    /// The caches, for `observe`.
    pub(crate) caches: Caches,
    /// The surveys that decide which autoscalers may scale, for `observe`.
    pub(crate) surveys: Surveys,
    /// The clients of schedulers, for `ask`.
    pub(crate) schedulers: SchedulerClients,
    /// The recent targets that schedulers requested.
    pub(crate) history: ScalingHistory,
    /// The client of the API server, for `apply`.
    pub(crate) client: Client,
    /// Writes statuses and publishes Events.
    pub(crate) reporter: StatusReporter,
}

/// Why a pass ended early. Each variant is retried with growing delays.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// The group could not be scaled, or the cluster not be set as the autoscaler's owner.
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

/// Brings the group of one DaskAutoscaler a step closer to the number that the scheduler asks for.
pub(crate) async fn reconcile(autoscaler: Arc<DaskAutoscaler>, context: Arc<Context>) -> Result<Action, Error> {
    kopf_finalizer::release(&context.client, autoscaler.as_ref()).await.map_err(Error::Apply)?;
    if autoscaler.metadata.deletion_timestamp.is_some() {
        return Ok(Action::await_change());
    }
    let observed = observe::observe(&autoscaler, &context.caches, &context.surveys, Moment::now());
    if let Some(owner) = validate::adoption(&autoscaler, observed.cluster.as_deref()) {
        apply::adopt(&context.client, &autoscaler, &owner).await.map_err(Error::Apply)?;
        return Ok(Action::requeue(SOON));
    }
    let valid = match validate::validate(&autoscaler, &observed) {
        Ok(valid) => valid,
        // Not everything that a rejected autoscaler waits for triggers a pass (a group does not), so it is requeued.
        // Reading the caches costs little.
        Err(invalid) => return report(&context, &autoscaler, &StatusInput::Refused(&invalid)).await,
    };
    if !observed.scheduler_ready {
        return report(&context, &autoscaler, &StatusInput::NotReady).await;
    }
    match ask::ask(&context.schedulers, &context.caches, &valid, Timestamp::now()).await {
        Ok(situation) => act(&context, &autoscaler, &valid, &situation).await,
        Err(error) if observed.scheduler_starting && error.is_unreachable() => {
            report(&context, &autoscaler, &StatusInput::NotReady).await
        }
        Err(error) => unreachable(&context, &autoscaler, &error).await,
    }
}

async fn act(
    context: &Context,
    autoscaler: &DaskAutoscaler,
    valid: &Validated,
    situation: &ScalingInput,
) -> Result<Action, Error> {
    let now = Moment::now();
    let decision = context.history.decide(&valid.uid, situation, &valid.rules, now);
    let mut scaled = None;
    if decision.desired != situation.current {
        let desired = decision.desired;
        let scaling = ScalingDecision { autoscaler, group: &valid.group, desired, now: now.wall };
        match apply::scale(&context.client, scaling).await {
            Ok(Outcome::Done) => {
                log_scaled(autoscaler, valid, &decision, situation.current);
                scaled = Some(now.wall);
            }
            Ok(Outcome::Outdated) => return Ok(Action::requeue(SOON)),
            Err(error) => {
                report(context, autoscaler, &StatusInput::Failed(&error)).await?;
                return Err(Error::Apply(error));
            }
        }
    }
    report(context, autoscaler, &StatusInput::Decided { situation, decision: &decision, scaled }).await
}

/// Reports that the scheduler is unreachable. The first failure is not reported: a busy scheduler may miss one
/// request.
async fn unreachable(
    context: &Context,
    autoscaler: &DaskAutoscaler,
    error: &dask_scheduler_client::Error,
) -> Result<Action, Error> {
    if context.history.failed(&autoscaler.uid().unwrap_or_default(), Moment::now()) {
        return report(context, autoscaler, &StatusInput::Unreachable(error)).await;
    }
    Ok(Action::requeue(PERIOD))
}

async fn report(context: &Context, autoscaler: &DaskAutoscaler, seen: &StatusInput<'_>) -> Result<Action, Error> {
    let desired = status::of(autoscaler, seen, Timestamp::now());
    status::write(&context.reporter, autoscaler, &desired).await.map_err(Error::Status)?;
    Ok(Action::requeue(PERIOD))
}

fn log_scaled(autoscaler: &DaskAutoscaler, valid: &Validated, decision: &Decision, from: i64) {
    tracing::info!(
        namespace = valid.namespace,
        autoscaler = autoscaler.name_any(),
        group = valid.group.name_any(),
        from,
        to = decision.desired,
        why = decision.why.text(),
        "scaled a worker group"
    );
}
