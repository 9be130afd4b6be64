//! Computes and writes a cluster's status: phase, worker counts and conditions.

use std::sync::Arc;

use dask_operator_api::{ClusterPhase, DaskCluster, DaskClusterStatus, meta};
use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::{Api, ResourceExt as _};
use operator_runtime::{
    conditions::{self, ConditionUpdate},
    k8s::{self, Warnings},
    rejection::Rejection,
    report,
};

use super::{
    apply::Outcome,
    build::{self, Desired},
    observe::Observed,
    phase::{components_exist, phase},
    validate::ValidatedCluster,
    warnings,
};
use crate::{
    context::Context,
    diagnosis, field_warnings, pod,
    view::{DeploymentView, PodView},
    worker_group,
};

/// The condition that the spec is valid.
const ACCEPTED: &str = "Accepted";
/// The condition that scheduler Deployment, Service and default group exist.
const COMPONENTS_CREATED: &str = "ComponentsCreated";
/// The condition that the scheduler runs.
pub(crate) const SCHEDULER_READY: &str = "SchedulerReady";
/// The condition that the running scheduler matches the spec.
const SCHEDULER_UP_TO_DATE: &str = "SchedulerUpToDate";
/// The condition that the default group's workers run and are connected.
const WORKERS_AVAILABLE: &str = "WorkersAvailable";
const OURS: [&str; 5] = [ACCEPTED, COMPONENTS_CREATED, SCHEDULER_READY, SCHEDULER_UP_TO_DATE, WORKERS_AVAILABLE];

pub(super) fn of_invalid(cluster: &DaskCluster, invalid: &Rejection, now: Timestamp) -> DaskClusterStatus {
    let verdicts = vec![ConditionUpdate::no(ACCEPTED, invalid.reason, invalid.message.as_str())];
    let old = cluster.status.as_ref().map(|status| status.conditions.as_slice()).unwrap_or_default();
    DaskClusterStatus { phase: Some(ClusterPhase::Error), ..with_conditions(cluster, old, verdicts, now) }
}

pub(super) fn of_created(cluster: &DaskCluster, valid: &ValidatedCluster, now: Timestamp) -> DaskClusterStatus {
    let verdicts = vec![
        accepted(cluster, &Warnings::default()),
        ConditionUpdate::no(COMPONENTS_CREATED, "Creating", "the components are being created"),
        scheduler_ready(valid, &Observed::default()),
        ConditionUpdate::yes(SCHEDULER_UP_TO_DATE, "UpToDate", "the scheduler is as the spec says"),
        workers_available(&Observed::default()),
    ];
    DaskClusterStatus {
        phase: Some(ClusterPhase::Created),
        replicas: Some(0),
        selector: Some(meta::worker_selector(&meta::default_group_name(&valid.name))),
        ..with_conditions(cluster, &[], verdicts, now)
    }
}

/// The values that a status is computed from.
pub(super) struct StatusInput<'a> {
    /// The status that was written last, which the cache may not contain yet.
    pub(super) current: &'a DaskClusterStatus,
    pub(super) observed: &'a Observed,
    pub(super) built: &'a Desired,
    pub(super) outcome: &'a Outcome,
    /// Whether a plugin keeps the cluster from becoming `Running`.
    pub(super) held: bool,
}

pub(super) fn of_observed(
    cluster: &DaskCluster,
    valid: &ValidatedCluster,
    seen: &StatusInput<'_>,
    now: Timestamp,
) -> DaskClusterStatus {
    let StatusInput { current, observed, outcome, .. } = seen;
    let verdicts = vec![
        accepted(cluster, &warnings::of(valid, observed, seen.built)),
        components_created(valid, observed, outcome),
        scheduler_ready(valid, observed),
        scheduler_up_to_date(seen),
        workers_available(observed),
    ];
    let group = observed.group.as_ref().and_then(|group| group.status.as_ref());
    DaskClusterStatus {
        phase: Some(phase(valid, seen)),
        replicas: Some(group.and_then(|status| status.replicas).unwrap_or(0)),
        ready_replicas: group.and_then(|status| status.ready_replicas),
        connected_replicas: group.and_then(|status| status.connected_replicas),
        selector: Some(meta::worker_selector(&meta::default_group_name(&valid.name))),
        ..with_conditions(cluster, &current.conditions, verdicts, now)
    }
}

/// Writes `desired` if it differs from the current status.
pub(super) async fn write(
    context: &Context,
    cluster: &DaskCluster,
    current: &DaskClusterStatus,
    desired: &DaskClusterStatus,
) -> Result<(), k8s::Error> {
    if same(current, desired) {
        return Ok(());
    }
    let api: Api<DaskCluster> = Api::namespaced(context.client.clone(), &cluster.namespace().unwrap_or_default());
    if !k8s::apply_status(&api, k8s::FIELD_MANAGER, cluster, desired).await? {
        return Ok(());
    }
    // This condition is a copy of the group's, for which an Event was emitted already.
    let own = |condition: &&Condition| condition.type_ != WORKERS_AVAILABLE;
    let own: Vec<Condition> = desired.conditions.iter().filter(own).cloned().collect();
    report::condition_changes(&context.recorder, cluster, &current.conditions, &own).await;
    Ok(())
}

/// Compares what this reconciler writes. Entries of plugins belong to the plugin engine.
fn same(old: &DaskClusterStatus, desired: &DaskClusterStatus) -> bool {
    let ours = |condition: &&Condition| OURS.contains(&condition.type_.as_str());
    old.phase == desired.phase
        && old.observed_generation == desired.observed_generation
        && old.replicas == desired.replicas
        && old.ready_replicas == desired.ready_replicas
        && old.connected_replicas == desired.connected_replicas
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

fn scheduler_ready(valid: &ValidatedCluster, observed: &Observed) -> ConditionUpdate {
    // Before the pod is ready, too: it is why the cluster does not become `Running`.
    if let Some(wrong_selector) = selected(valid) {
        return wrong_selector;
    }
    if let Some(ready) = observed.scheduler_pods.iter().find(|pod| pod.is_ready()) {
        return runs(ready);
    }
    let pods = observed.scheduler_pods.iter().map(AsRef::as_ref);
    match observed.scheduler.as_ref().and_then(|scheduler| diagnosis::of(scheduler, pods)) {
        Some(trouble) => ConditionUpdate::no(SCHEDULER_READY, trouble.reason, trouble.message),
        None => ConditionUpdate::no(SCHEDULER_READY, "Starting", "the scheduler is starting"),
    }
}

/// Returns a condition if the Service's selector does not match the scheduler's pod, so that no client can connect.
pub(super) fn selected(valid: &ValidatedCluster) -> Option<ConditionUpdate> {
    let selector = valid.scheduler.service.field("selector");
    let selector = selector.as_object()?;
    let labels = build::scheduler_pod_labels(valid);
    let (key, value) = selector.iter().find(|(key, value)| labels.get(*key).map(String::as_str) != value.as_str())?;
    let message = format!("the Service selects {key}={value}, which the scheduler's pod does not have");
    Some(ConditionUpdate::no(SCHEDULER_READY, "ServiceSelectsNothing", message))
}

fn runs(pod: &PodView) -> ConditionUpdate {
    let restarts: i64 = pod.status.container_statuses.iter().map(|container| container.restart_count).sum();
    if restarts == 0 {
        return ConditionUpdate::yes(SCHEDULER_READY, "Ready", "the scheduler runs");
    }
    let message = format!("the scheduler runs again after {restarts} restarts; results from before the last are lost");
    ConditionUpdate::yes(SCHEDULER_READY, "Restarted", message)
}

fn scheduler_up_to_date(seen: &StatusInput<'_>) -> ConditionUpdate {
    let StatusInput { observed, built, .. } = seen;
    let is_outdated = |live: &&Arc<DeploymentView>| built.scheduler.is_outdated(&live.metadata);
    let Some(outdated) = observed.scheduler.as_ref().filter(is_outdated) else {
        return ConditionUpdate::yes(SCHEDULER_UP_TO_DATE, "UpToDate", "the scheduler is as the spec says");
    };
    // A Deployment that is deleted in the foreground exists until its pod is gone.
    if seen.outcome.recreating || outdated.metadata.deletion_timestamp.is_some() {
        let message = "the scheduler is being replaced; its results are lost";
        return ConditionUpdate::no(SCHEDULER_UP_TO_DATE, "Recreating", message);
    }
    let message = "the scheduler differs from the spec; a new one would lose all results: delete its Deployment, \
                   or set scheduler.updatePolicy to Recreate";
    ConditionUpdate::no(SCHEDULER_UP_TO_DATE, "SpecDiffers", message)
}

fn workers_available(observed: &Observed) -> ConditionUpdate {
    let status = observed.group.as_ref().and_then(|group| group.status.as_ref());
    let condition =
        status.and_then(|status| status.conditions.iter().find(|condition| condition.type_ == worker_group::AVAILABLE));
    let Some(condition) = condition else {
        return ConditionUpdate::no(WORKERS_AVAILABLE, "Starting", "the workers are being created");
    };
    let (reason, message) = (condition.reason.as_str(), condition.message.as_str());
    if condition.status == "True" {
        ConditionUpdate::yes(WORKERS_AVAILABLE, reason, message)
    } else {
        ConditionUpdate::no(WORKERS_AVAILABLE, reason, message)
    }
}

#[cfg(test)]
pub(super) mod tests;
