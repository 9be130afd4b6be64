//! Describes clusters that work, and what no other rule knows.

use dask_operator_api::conditions::{PLUGINS_SYNCED, SCALED, WORKERS_AVAILABLE};
use dask_operator_api::meta::SCALED_TO_ZERO;
use serde_json::Value;

use super::Finding;
use crate::{
    json::{annotation, condition, conditions, failed, name, number, text},
    snapshot::Snapshot,
};

/// Returns fields that the API server does not know.
pub(super) fn ignored_fields(seen: &Snapshot) -> Option<Finding> {
    let accepted = condition(seen.cluster.as_ref()?, "Accepted")?;
    (accepted.reason == "FieldsIgnored").then(|| {
        let cause = format!("the cluster runs without fields that the API server does not know: {}", accepted.message);
        Finding::broken("fields-ignored", cause, "correct the names of these fields in the spec")
    })
}

/// Returns what the operator says of a failure that no rule knows.
pub(super) fn other_failure(seen: &Snapshot) -> Option<Finding> {
    let cluster = seen.cluster.as_ref()?;
    let objects = std::iter::once(cluster).chain(&seen.groups).chain(&seen.autoscalers);
    let mut all = objects.flat_map(|object| conditions(object).map(move |condition| (object, condition)));
    let (object, bad) = all.find(|(_, condition)| {
        // A scheduler that is starting cannot be asked anything.
        let unasked = condition.reason.starts_with("Scheduler") && !seen.has_ready_scheduler();
        let counts =
            !["Stalled", PLUGINS_SYNCED].contains(&condition.type_) && condition.reason != "WaitingForDeletion";
        condition.is_false() && counts && !condition.may_pass() && !unasked
    })?;
    let cause =
        format!("{} {} is not {} ({}): {}", text(object, "/kind"), name(object), bad.type_, bad.reason, bad.message);
    let action = format!("look up {} in the page Troubleshooting", bad.reason);
    Some(Finding::broken("other", cause, action))
}

pub(super) fn progress(seen: &Snapshot) -> Option<Finding> {
    let cluster = seen.cluster.as_ref()?;
    let mut objects = std::iter::once(cluster).chain(&seen.groups);
    let (object, waits) = objects.find_map(|object| {
        let ready = failed(object, "Ready").or_else(|| failed(object, WORKERS_AVAILABLE));
        ready.or_else(|| failed(object, SCALED)).map(|condition| (object, condition))
    })?;
    Some(Finding::waiting("in-progress", format!("{} {}: {}", text(object, "/kind"), name(object), waits.message)))
}

pub(super) fn autoscaler(seen: &Snapshot) -> Option<Finding> {
    let full = seen
        .autoscalers
        .iter()
        .find(|autoscaler| text(autoscaler, "/status/decision").contains("more workers than maximum"))?;
    let maximum = number(full, "/spec/maximum").unwrap_or_default();
    let target = number(full, "/status/targetWorkers").unwrap_or_default();
    let cause = format!(
        "the cluster works, but the autoscaler {} is at its maximum of {maximum} workers, and the scheduler asks for {target}",
        name(full)
    );
    let raise = seen.kubectl(&format!(
        "patch daskautoscaler {} --type merge -p '{{\"spec\": {{\"maximum\": {target}}}}}'",
        name(full)
    ));
    Some(Finding::works("autoscaler-at-maximum", cause, format!("if that is too slow: {raise}")))
}

pub(super) fn idle(seen: &Snapshot) -> Option<Finding> {
    let wanted: i64 = seen.groups.iter().filter_map(|group| number(group, "/spec/worker/replicas")).sum();
    if wanted > 0 || seen.groups.is_empty() {
        return None;
    }
    let scale = seen.kubectl_dask(&format!("scale {} 2", seen.name));
    if annotation(seen.cluster.as_ref()?, SCALED_TO_ZERO).is_empty() {
        let cause = "the scheduler runs, and no workers are wanted: all groups have 0 replicas";
        return Some(Finding::works("no-workers-wanted", cause, scale));
    }
    let cause = "the cluster was idle and all its groups were scaled to zero, as spec.idleTimeout says: no fault";
    Some(Finding::works("idle", cause, scale))
}

/// Returns that nothing is wrong.
pub(super) fn well(seen: &Snapshot) -> Finding {
    if seen.cluster.is_none() {
        return Finding::works("unknown", "nothing wrong can be seen, but not all could be read", "");
    }
    let sum = |pointer: &str| -> i64 { seen.groups.iter().filter_map(|group: &Value| number(group, pointer)).sum() };
    let (connected, wanted) = (sum("/status/connectedReplicas"), sum("/spec/worker/replicas"));
    Finding::works(
        "works",
        format!("nothing is wrong: the scheduler is ready, and {connected} of {wanted} workers are connected"),
        "",
    )
}
