//! Decides what is known about a cluster's workers, and sums up its conditions. Pure.

use dask_operator_api::{
    DaskCluster,
    conditions::{AVAILABLE, COMPONENTS_CREATED, SCHEDULER_READY, SCHEDULER_UP_TO_DATE, WORKERS_AVAILABLE},
    meta,
};
use operator_runtime::{
    conditions::{self, ACCEPTED, ConditionUpdate, NOT_OBSERVED, READY},
    k8s::{Class, is_controlled_by},
};

use super::{phase::waits_for_load_balancer, status_input::StatusInput, validate::ValidatedCluster};

/// What has to hold for the cluster to be ready, in the order in which a user would fix it. Workers do not count: clients
/// connect to the scheduler, and a cluster may have none.
const COUNTING: [&str; 4] = [ACCEPTED, COMPONENTS_CREATED, SCHEDULER_UP_TO_DATE, SCHEDULER_READY];
/// Reasons that last until the cluster, or an object that it names, is changed.
const STALLING: &[&str] = &["Invalid", "NameTaken", "ServicePortNotFound", "ServiceSelectsNothing", "SpecDiffers"];

/// Returns the condition `WorkersAvailable`: that of the default group, if it is about the current spec.
pub(super) fn workers_available(
    cluster: &DaskCluster,
    valid: &ValidatedCluster,
    seen: &StatusInput<'_>,
) -> ConditionUpdate {
    let Some(group) = seen.observed.group.as_deref().filter(|group| is_controlled_by(*group, &valid.uid)) else {
        return no_group();
    };
    let status = group.status.as_ref().filter(|status| status.observed_generation == group.metadata.generation);
    let reported = status.and_then(|status| conditions::find(&status.conditions, AVAILABLE));
    let earlier = conditions::find(&seen.current.conditions, WORKERS_AVAILABLE);
    let earlier = earlier.filter(|condition| condition.status != "Unknown");
    // A change of the group alone, as by an autoscaler, does not make what is known of the workers unknown.
    let is_current = seen.current.observed_generation == cluster.metadata.generation;
    match (reported, earlier) {
        (Some(reported), _) if !is_updating_group(seen) => ConditionUpdate::copied(WORKERS_AVAILABLE, reported),
        (_, Some(earlier)) if is_current => ConditionUpdate::copied(WORKERS_AVAILABLE, earlier),
        _ => {
            let message = "the default worker group has not reported on its workers since the spec changed";
            ConditionUpdate::unknown(WORKERS_AVAILABLE, NOT_OBSERVED, message)
        }
    }
}

/// Returns the condition `WorkersAvailable` of a cluster without a default group.
pub(super) fn no_group() -> ConditionUpdate {
    ConditionUpdate::unknown(WORKERS_AVAILABLE, NOT_OBSERVED, "the cluster has no default worker group yet")
}

/// Returns the conditions `Ready` and `Stalled`, which sum up `verdicts`.
pub(super) fn of(verdicts: &[ConditionUpdate], seen: Option<&StatusInput<'_>>) -> [ConditionUpdate; 2] {
    let counting = |type_: &str| verdicts.iter().find(|verdict| verdict.type_ == type_);
    let [spec @ .., scheduler] = &COUNTING;
    let (updating, waiting) = (seen.and_then(updating), seen.and_then(waiting));
    let counting =
        spec.iter().filter_map(|type_| counting(type_)).chain(&updating).chain(counting(scheduler)).chain(&waiting);
    let ready = conditions::ready(counting, "the spec is applied, and clients can connect to the scheduler");
    // An object of this name may have been deleted during the attempt to create one.
    let is_race =
        |seen: &StatusInput<'_>| seen.outcome.error.as_ref().is_some_and(|error| error.class() == Class::AlreadyExists);
    let reasons = if seen.is_some_and(is_race) { &[] } else { STALLING };
    let stalled = conditions::stalled(&ready, reasons);
    [ready, stalled]
}

/// Returns a condition if a component does not have the current spec yet.
fn updating(seen: &StatusInput<'_>) -> Option<ConditionUpdate> {
    let service = seen.observed.service.as_ref();
    let is_outdated = service.is_some_and(|live| seen.built.service.is_outdated(&live.metadata));
    (is_outdated || is_updating_group(seen))
        .then(|| ConditionUpdate::no(READY, "Updating", "the Service or the default worker group is being updated"))
}

fn is_updating_group(seen: &StatusInput<'_>) -> bool {
    let Some(live) = seen.observed.group.as_ref() else { return false };
    seen.built.group.is_outdated(&live.metadata) || seen.built.group.differs_in(&live.metadata, meta::CLUSTER_REPLICAS)
}

/// Returns a condition if clients are to wait although the scheduler is ready.
fn waiting(seen: &StatusInput<'_>) -> Option<ConditionUpdate> {
    if seen.observed.service.as_deref().is_some_and(waits_for_load_balancer) {
        let message = "the Service's load balancer has no address yet";
        return Some(ConditionUpdate::no(READY, "WaitingForLoadBalancer", message));
    }
    seen.held.then(|| {
        let message = "a plugin with failurePolicy Fail is not synced; see PluginsSynced";
        ConditionUpdate::no(READY, "WaitingForPlugins", message)
    })
}
