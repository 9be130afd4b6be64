//! Computes and writes an autoscaler's status.

use dask_operator_api::{DaskAutoscaler, DaskAutoscalerStatus};
use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use operator_runtime::{
    conditions::{self, ACCEPTED, ConditionUpdate, READY, STALLED, whole_seconds},
    k8s,
    rejection::Rejection,
    report::StatusReporter,
};

use super::decide::{Decision, ScalingInput};

/// The condition that the scheduler reports how many workers it needs.
const ACTIVE: &str = "Active";
const NOT_READY: &str = "SchedulerNotReady";
/// All conditions of an autoscaler. Each status has them all.
pub(crate) const CONDITIONS: &[&str] = &[ACCEPTED, ACTIVE, READY, STALLED];
/// Reasons that last until the autoscaler, or an object that it names, is changed. An autoscaler may be created before its
/// cluster.
const STALLING: &[&str] = &["AlreadyAutoscaled", "Invalid", "InvalidBounds"];

/// The outcome of a pass, which the status is computed from.
pub(super) enum StatusInput<'a> {
    Refused(&'a Rejection),
    NotReady,
    Unreachable(&'a dask_scheduler_client::Error),
    /// The group could not be scaled.
    Failed(&'a k8s::Error),
    Decided {
        situation: &'a ScalingInput,
        decision: &'a Decision,
        /// The time of scaling, if the group was scaled in this pass.
        scaled: Option<Timestamp>,
    },
}

pub(super) fn of(autoscaler: &DaskAutoscaler, seen: &StatusInput<'_>, now: Timestamp) -> DaskAutoscalerStatus {
    let old = ours(autoscaler);
    let generation = autoscaler.metadata.generation;
    let status = match seen {
        StatusInput::Refused(_) => DaskAutoscalerStatus { last_scale_time: old.last_scale_time, ..Default::default() },
        StatusInput::NotReady | StatusInput::Unreachable(_) | StatusInput::Failed(_) => old.clone(),
        StatusInput::Decided { situation, decision, scaled } => decided(&old, situation, decision, *scaled),
    };
    DaskAutoscalerStatus {
        observed_generation: generation,
        conditions: conditions::updated(&old.conditions, verdicts(&old.conditions, seen), generation, now),
        ..status
    }
}

/// Returns the part of the status that this reconciler wrote. The rest belongs to the plugin engine.
fn ours(autoscaler: &DaskAutoscaler) -> DaskAutoscalerStatus {
    let mut status = autoscaler.status.clone().unwrap_or_default();
    status.conditions.retain(|condition| CONDITIONS.contains(&condition.type_.as_str()));
    status.plugins.clear();
    status
}

fn decided(
    old: &DaskAutoscalerStatus,
    situation: &ScalingInput,
    decision: &Decision,
    scaled: Option<Timestamp>,
) -> DaskAutoscalerStatus {
    let mut status = DaskAutoscalerStatus {
        desired_replicas: Some(decision.desired),
        target_workers: old.target_workers,
        connected_replicas: Some(situation.connected),
        pending_replicas: Some((decision.desired - situation.connected).max(0)),
        last_scale_time: scaled.map(|time| Time(whole_seconds(time))).or_else(|| old.last_scale_time.clone()),
        decision: decision.why.text().to_owned(),
        ..DaskAutoscalerStatus::default()
    };
    // The target of a busy scheduler changes all the time. A change that affects nothing else, such as one above
    // maximum, is not worth a write.
    let comparable = DaskAutoscalerStatus { observed_generation: None, conditions: Vec::new(), ..old.clone() };
    if status != comparable || old.target_workers.is_none() {
        status.target_workers = Some(situation.target);
    }
    status
}

fn verdicts(old: &[Condition], seen: &StatusInput<'_>) -> Vec<ConditionUpdate> {
    let says_what_it_needs = ConditionUpdate::yes(ACTIVE, "Active", "the scheduler says what it needs");
    let active = match seen {
        StatusInput::Refused(invalid) => {
            return conditions::of_rejected(CONDITIONS, invalid, STALLING.contains(&invalid.reason));
        }
        StatusInput::NotReady => {
            ConditionUpdate::no(ACTIVE, NOT_READY, "there is not exactly one scheduler pod that is ready")
        }
        StatusInput::Unreachable(error) => unreachable(old, error),
        StatusInput::Failed(_) | StatusInput::Decided { .. } => says_what_it_needs,
    };
    let mut verdicts = vec![ConditionUpdate::yes(ACCEPTED, "Valid", "the spec is valid"), active];
    let failed = match seen {
        StatusInput::Failed(error) => Some(ConditionUpdate::no(READY, error.category(), error.message())),
        _ => None,
    };
    let ready = conditions::ready(verdicts.iter().chain(&failed), "the group is scaled as the scheduler asks for");
    let stalled = conditions::stalled(&ready, STALLING);
    verdicts.extend([ready, stalled]);
    verdicts
}

/// Keeps the message of the first failure of a kind: messages may differ from one failure to the next.
fn unreachable(old: &[Condition], error: &dask_scheduler_client::Error) -> ConditionUpdate {
    let reason = error.reason();
    let before = old.iter().find(|condition| condition.type_ == ACTIVE && condition.reason == reason);
    let message = before.map_or_else(|| error.to_string(), |condition| condition.message.clone());
    ConditionUpdate::no(ACTIVE, reason, message)
}

/// Writes `desired` if it differs from the autoscaler's current status.
pub(super) async fn write(
    reporter: &StatusReporter,
    autoscaler: &DaskAutoscaler,
    desired: &DaskAutoscalerStatus,
) -> Result<(), k8s::Error> {
    let old = ours(autoscaler);
    if old == *desired {
        return Ok(());
    }
    match reporter.apply(k8s::FIELD_MANAGER, autoscaler, desired).await {
        // It was deleted in the meantime, as `KubeCluster.scale()` does.
        Err(error) if matches!(error.class(), k8s::Class::NotFound | k8s::Class::Conflict) => return Ok(()),
        Ok(false) => return Ok(()),
        result => result?,
    };
    reporter.condition_changes(autoscaler, &reported(&old.conditions), &reported(&desired.conditions)).await;
    Ok(())
}

/// Returns the conditions whose changes emit Events. In every new cluster the scheduler is not ready at first, so that
/// reason emits none. `Ready` has one if it does not repeat another condition.
fn reported(conditions: &[Condition]) -> Vec<Condition> {
    let repeats = |ready: &Condition| {
        ready.status == "True" || conditions.iter().any(|other| other.type_ != READY && other.reason == ready.reason)
    };
    let is_told =
        |condition: &&Condition| condition.reason != NOT_READY && (condition.type_ != READY || !repeats(condition));
    conditions.iter().filter(is_told).cloned().collect()
}

#[cfg(test)]
mod tests;
