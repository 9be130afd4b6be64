//! Computes and writes a cluster's status: phase, worker counts and conditions.

use dask_operator_api::{
    ClusterPhase, DaskCluster, DaskClusterStatus,
    conditions::{COMPONENTS_CREATED, SCHEDULER_READY, SCHEDULER_UP_TO_DATE, WORKERS_AVAILABLE},
    meta,
};
use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use operator_runtime::{
    conditions::{self, ACCEPTED, ConditionUpdate, READY, STALLED},
    k8s::{self, Warnings},
    rejection::Rejection,
    report::StatusReporter,
};

use super::{
    apply::Outcome,
    observe::Observed,
    phase::{components_exist, phase},
    scheduler_status,
    status_input::StatusInput,
    summary,
    validate::ValidatedCluster,
    warnings, workers,
};
use crate::{field_warnings, pod};

/// All conditions of a cluster that this reconciler writes. Each status has them all.
pub(crate) const CONDITIONS: &[&str] =
    &[ACCEPTED, COMPONENTS_CREATED, SCHEDULER_READY, SCHEDULER_UP_TO_DATE, WORKERS_AVAILABLE, READY, STALLED];

pub(super) fn of_invalid(cluster: &DaskCluster, invalid: &Rejection, now: Timestamp) -> DaskClusterStatus {
    let verdicts = conditions::of_rejected(CONDITIONS, invalid, true);
    let old = cluster.status.as_ref().map(|status| status.conditions.as_slice()).unwrap_or_default();
    DaskClusterStatus {
        phase: Some(ClusterPhase::Error),
        message: conditions::cut(invalid.message.clone()),
        ..with_conditions(cluster, old, verdicts, now)
    }
}

pub(super) fn of_created(cluster: &DaskCluster, valid: &ValidatedCluster, now: Timestamp) -> DaskClusterStatus {
    let mut verdicts = vec![
        accepted(cluster, &Warnings::default()),
        ConditionUpdate::no(COMPONENTS_CREATED, "Creating", "the components are being created"),
        scheduler_status::unobserved(SCHEDULER_READY),
        scheduler_status::unobserved(SCHEDULER_UP_TO_DATE),
        summary::no_group(),
    ];
    verdicts.extend(summary::of(&verdicts, None));
    DaskClusterStatus {
        phase: Some(ClusterPhase::Created),
        message: workers::first_failure(cluster, &verdicts, &Observed::default()),
        replicas: Some(0),
        workers: Some(workers::counts(valid, &Observed::default())),
        selector: Some(meta::worker_selector(&meta::default_group_name(&valid.name))),
        ..with_conditions(cluster, &[], verdicts, now)
    }
}

pub(super) fn of_observed(
    cluster: &DaskCluster,
    valid: &ValidatedCluster,
    seen: &StatusInput<'_>,
    now: Timestamp,
) -> DaskClusterStatus {
    let StatusInput { current, observed, outcome, .. } = seen;
    let refused = outcome.error.as_ref().and_then(k8s::Error::refusal);
    let mut verdicts = vec![
        refused.unwrap_or_else(|| accepted(cluster, &warnings::of(valid, observed, seen.built))),
        components_created(valid, observed, outcome),
        scheduler_status::ready(cluster, valid, seen),
        scheduler_status::up_to_date(valid, seen),
        summary::workers_available(cluster, valid, seen),
    ];
    verdicts.extend(summary::of(&verdicts, Some(seen)));
    let message = workers::first_failure(cluster, &verdicts, observed);
    let group = observed.group.as_ref().and_then(|group| group.status.as_ref());
    DaskClusterStatus {
        phase: Some(phase(valid, seen)),
        message,
        replicas: Some(group.and_then(|status| status.replicas).unwrap_or(0)),
        ready_replicas: group.and_then(|status| status.ready_replicas),
        connected_replicas: group.and_then(|status| status.connected_replicas),
        workers: Some(workers::counts(valid, observed)),
        selector: Some(meta::worker_selector(&meta::default_group_name(&valid.name))),
        ..with_conditions(cluster, &current.conditions, verdicts, now)
    }
}

/// Writes `desired` if it differs from the current status.
pub(super) async fn write(
    reporter: &StatusReporter,
    cluster: &DaskCluster,
    current: &DaskClusterStatus,
    desired: &DaskClusterStatus,
) -> Result<(), k8s::Error> {
    if same(current, desired) {
        return Ok(());
    }
    if !reporter.apply(k8s::FIELD_MANAGER, cluster, desired).await? {
        return Ok(());
    }
    // The others repeat a condition of the group or of the cluster, for which an Event is emitted already.
    let created = conditions::find(&desired.conditions, COMPONENTS_CREATED);
    let own = |condition: &&Condition| match condition.type_.as_str() {
        WORKERS_AVAILABLE | READY => false,
        ACCEPTED => created.is_none_or(|created| created.reason != condition.reason),
        _ => true,
    };
    let own: Vec<Condition> = desired.conditions.iter().filter(own).cloned().collect();
    reporter.condition_changes(cluster, &current.conditions, &own).await;
    Ok(())
}

/// Compares what this reconciler writes. Entries of plugins belong to the plugin engine.
fn same(old: &DaskClusterStatus, desired: &DaskClusterStatus) -> bool {
    let ours = |condition: &&Condition| CONDITIONS.contains(&condition.type_.as_str());
    old.phase == desired.phase
        && old.observed_generation == desired.observed_generation
        && old.replicas == desired.replicas
        && old.ready_replicas == desired.ready_replicas
        && old.connected_replicas == desired.connected_replicas
        && old.workers == desired.workers
        && old.message == desired.message
        && old.selector == desired.selector
        && old.conditions.iter().filter(ours).eq(desired.conditions.iter())
}

fn with_conditions(
    cluster: &DaskCluster,
    old: &[Condition],
    verdicts: Vec<ConditionUpdate>,
    now: Timestamp,
) -> DaskClusterStatus {
    let generation = cluster.metadata.generation;
    DaskClusterStatus {
        observed_generation: generation,
        conditions: conditions::updated(old, verdicts, generation, now),
        ..DaskClusterStatus::default()
    }
}

fn accepted(cluster: &DaskCluster, warnings: &Warnings) -> ConditionUpdate {
    let spec = &cluster.spec;
    let overridden: Vec<&str> = [("scheduler", &spec.scheduler.spec), ("worker", &spec.worker.spec)]
        .into_iter()
        .filter(|(_, pod)| pod::overrides_restart_policy(&pod.0))
        .map(|(part, _)| part)
        .collect();
    let accepted = field_warnings::accepted(ACCEPTED, warnings);
    if overridden.is_empty() {
        return accepted;
    }
    let parts = overridden.join(" and ");
    let message = format!("restartPolicy of {parts} is ignored: the pods of a Deployment are always restarted");
    if warnings.is_empty() {
        return ConditionUpdate::yes(ACCEPTED, "RestartPolicyIgnored", message);
    }
    ConditionUpdate { message: format!("{message}; {}", accepted.message), ..accepted }
}

fn components_created(valid: &ValidatedCluster, observed: &Observed, outcome: &Outcome) -> ConditionUpdate {
    if let Some(error) = &outcome.error {
        return ConditionUpdate::no(COMPONENTS_CREATED, error.category(), error.message());
    }
    if let Some(blocked) = outcome.blocked.first() {
        return ConditionUpdate::no(COMPONENTS_CREATED, blocked.reason, blocked.message.as_str());
    }
    if components_exist(valid, observed) {
        return ConditionUpdate::yes(
            COMPONENTS_CREATED,
            "Created",
            "scheduler, Service and default worker group exist",
        );
    }
    ConditionUpdate::no(COMPONENTS_CREATED, "Creating", "the components are being created")
}

#[cfg(test)]
mod health;
#[cfg(test)]
pub(super) mod tests;
