//! Computes and writes a worker group's status: worker counts and conditions.

use dask_operator_api::{
    DaskWorkerGroup, DaskWorkerGroupStatus,
    conditions::{AVAILABLE, SCALED},
    meta,
};
use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::ResourceExt as _;
use operator_runtime::{
    conditions::{self, ACCEPTED, ConditionUpdate, NOT_OBSERVED, READY, STALLED},
    k8s,
    rejection::Rejection,
    report::StatusReporter,
};

use super::{
    apply, connected_workers::ConnectedWorkers, observe::Observed, removal::Removal, scale::Batch,
    validate::ValidatedGroup, worker_warnings,
};
use crate::{diagnosis, field_warnings};

/// Reasons of [`SCALED`] while workers are created, removed or replaced.
pub(crate) const IN_PROGRESS: &[&str] = &["Scaling", "RollingUpdate"];
/// All conditions of a group. Each status has them all.
pub(crate) const CONDITIONS: &[&str] = &[ACCEPTED, SCALED, AVAILABLE, READY, STALLED];
/// Reasons that last until the group, or an object that it names, is changed. A group may be created before its cluster.
const STALLING: &[&str] = &["Invalid", "InvalidMaxUnavailable", "InvalidName", "NameTaken"];

/// The values that a status is computed from.
pub(super) struct StatusInput<'a> {
    pub(super) valid: &'a ValidatedGroup,
    pub(super) observed: &'a Observed,
    pub(super) batch: &'a Batch,
    pub(super) removal: &'a Removal,
    pub(super) connected: &'a ConnectedWorkers,
}

pub(super) fn of_invalid(
    group: &DaskWorkerGroup,
    observed: &Observed,
    invalid: &Rejection,
    now: Timestamp,
) -> DaskWorkerGroupStatus {
    let verdicts = conditions::of_rejected(CONDITIONS, invalid, STALLING.contains(&invalid.reason));
    with(group, observed, verdicts, now)
}

pub(super) fn of_observed(
    group: &DaskWorkerGroup,
    seen: &StatusInput<'_>,
    error: Option<&apply::Error>,
    now: Timestamp,
) -> DaskWorkerGroupStatus {
    let refused = error.and_then(apply::Error::refusal);
    let warnings = worker_warnings::of(group, &seen.valid.template);
    let accepted = refused.unwrap_or_else(|| field_warnings::accepted(ACCEPTED, &warnings));
    let mut verdicts = vec![accepted, scaled(seen, error), available(group, seen)];
    let ready = conditions::ready(&verdicts, "the wanted workers run and are registered with the scheduler");
    let stalled = conditions::stalled(&ready, STALLING);
    verdicts.extend([ready, stalled]);
    let before = group.status.as_ref().and_then(|status| status.connected_replicas);
    DaskWorkerGroupStatus {
        // The count of the last answer stays if the scheduler does not answer: its workers are still connected.
        connected_replicas: seen.connected.connected.map_or(before, |count| i64::try_from(count).ok()),
        updated_replicas: i64::try_from(seen.observed.updated(&seen.valid.template)).ok(),
        ..with(group, seen.observed, verdicts, now)
    }
}

fn scaled(seen: &StatusInput<'_>, error: Option<&apply::Error>) -> ConditionUpdate {
    let StatusInput { valid, observed, batch, removal, .. } = seen;
    if let Some(error) = error {
        return ConditionUpdate::no(SCALED, error.category(), error.message());
    }
    if let Some(waiting) = &removal.waiting {
        return ConditionUpdate::no(SCALED, waiting.reason, waiting.message.as_str());
    }
    let count = observed.workers.names.len();
    if count > valid.replicas {
        return ConditionUpdate::no(SCALED, "Scaling", "workers are being removed");
    }
    if count < valid.replicas || !batch.create.is_empty() {
        return ConditionUpdate::no(SCALED, "Scaling", "workers are being created");
    }
    let outdated = observed.deployments.len() - observed.updated(&valid.template);
    if outdated > 0 && valid.rolling {
        let message = "workers are being replaced by such of the current template";
        return ConditionUpdate::no(SCALED, "RollingUpdate", message);
    }
    if outdated > 0 {
        let message = format!("{outdated} workers are of an older template and stay so: updateStrategy is OnDelete");
        return ConditionUpdate::yes(SCALED, "Outdated", message);
    }
    ConditionUpdate::yes(SCALED, "Scaled", "as many workers exist as are wanted")
}

fn available(group: &DaskWorkerGroup, seen: &StatusInput<'_>) -> ConditionUpdate {
    let StatusInput { valid, observed, connected, .. } = seen;
    let trouble = observed
        .deployments
        .iter()
        .find_map(|worker| diagnosis::of(worker, observed.pods_of(&worker.name_any()).iter().map(AsRef::as_ref)));
    if let Some(trouble) = trouble {
        return ConditionUpdate::no(AVAILABLE, trouble.reason, trouble.message);
    }
    if observed.ready() < valid.replicas {
        return ConditionUpdate::no(AVAILABLE, "Starting", "not all workers run yet");
    }
    match (connected.connected, &connected.error) {
        (_, Some(_)) if connected.starting => {
            ConditionUpdate::no(AVAILABLE, "Connecting", "the scheduler has just started and does not answer yet")
        }
        (_, Some(error)) => ConditionUpdate::no(AVAILABLE, "SchedulerUnreachable", error.to_string()),
        (Some(connected), _) if connected < valid.replicas => {
            ConditionUpdate::no(AVAILABLE, "Connecting", "not all workers are registered with the scheduler yet")
        }
        (Some(_), None) => {
            ConditionUpdate::yes(AVAILABLE, "Available", "all workers run and are registered with the scheduler")
        }
        // Too many schedulers are being asked at this moment, as after a start of the controller.
        (None, None) => not_asked(group),
    }
}

/// Returns the condition `Available` for workers that run while the scheduler has not been asked about them: what was
/// known about the same spec, if there is anything.
fn not_asked(group: &DaskWorkerGroup) -> ConditionUpdate {
    let status = group.status.as_ref().filter(|status| status.observed_generation == group.metadata.generation);
    let before = status.and_then(|status| conditions::find(&status.conditions, AVAILABLE));
    let before = before.filter(|before| ["Available", "Connecting", "SchedulerUnreachable"].contains(&&*before.reason));
    let message = "the scheduler has not been asked yet whether the workers are registered";
    before.map_or_else(
        || ConditionUpdate::unknown(AVAILABLE, NOT_OBSERVED, message),
        |before| ConditionUpdate::copied(AVAILABLE, before),
    )
}

fn with(
    group: &DaskWorkerGroup,
    observed: &Observed,
    verdicts: Vec<ConditionUpdate>,
    now: Timestamp,
) -> DaskWorkerGroupStatus {
    let old = group.status.as_ref().map(|status| status.conditions.as_slice()).unwrap_or_default();
    let generation = group.metadata.generation;
    let selector = meta::worker_selector(&group.name_any());
    DaskWorkerGroupStatus {
        observed_generation: generation,
        replicas: i64::try_from(observed.workers.names.len()).ok(),
        ready_replicas: i64::try_from(observed.ready()).ok(),
        connected_replicas: None,
        updated_replicas: None,
        workers_created: Some(i64::from(observed.workers.created)),
        selector: Some(selector),
        conditions: conditions::updated(old, verdicts, generation, now),
        plugins: Vec::new(),
    }
}

/// Writes `desired` if it differs from the group's current status.
pub(super) async fn write(
    reporter: &StatusReporter,
    group: &DaskWorkerGroup,
    desired: DaskWorkerGroupStatus,
) -> Result<(), k8s::Error> {
    let old = group.status.clone().unwrap_or_default();
    let ours = |condition: &Condition| CONDITIONS.contains(&condition.type_.as_str());
    let comparable = DaskWorkerGroupStatus {
        conditions: old.conditions.iter().filter(|condition| ours(condition)).cloned().collect(),
        plugins: Vec::new(),
        ..old.clone()
    };
    if comparable == desired {
        return Ok(());
    }
    if reporter.apply(k8s::FIELD_MANAGER, group, &desired).await? {
        reporter.condition_changes(group, &old.conditions, &reported(&desired.conditions)).await;
    }
    Ok(())
}

/// Returns the conditions whose changes emit Events. The others repeat one of them.
fn reported(conditions: &[Condition]) -> Vec<Condition> {
    let scaled = conditions::find(conditions, SCALED);
    let repeats = |condition: &Condition| match condition.type_.as_str() {
        ACCEPTED => scaled.is_some_and(|scaled| scaled.reason == condition.reason),
        type_ => type_ == READY,
    };
    conditions.iter().filter(|condition| !repeats(condition)).cloned().collect()
}

#[cfg(test)]
mod health;
