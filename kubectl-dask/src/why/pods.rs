//! Explains why pods do not run.

use jiff::SignedDuration;
use serde_json::Value;

use super::{
    Finding,
    container::{Container, memory_limit, out_of_memory},
    scheduling, volumes,
};
use crate::{
    json::{condition, is_being_deleted, label, list, name, text, time},
    snapshot::Snapshot,
};
use dask_operator_api::meta;

/// How long it matters that a container that runs again was killed.
const RECENT: SignedDuration = SignedDuration::from_mins(15);

/// Returns how a pod is called in messages.
pub(super) fn called(pod: &Value) -> String {
    match label(pod, meta::COMPONENT) {
        "scheduler" => "the scheduler".to_owned(),
        "worker" => format!("worker {}", name(pod)),
        "job-runner" => format!("the runner {}", name(pod)),
        _ => format!("pod {}", name(pod)),
    }
}

/// Returns why some of `pods` do not run: the first cause, and how many others have the same.
pub(super) fn of<'a>(seen: &Snapshot, pods: impl IntoIterator<Item = &'a Value>) -> Option<Finding> {
    let mut found = pods.into_iter().filter_map(|pod| of_pod(seen, pod));
    let mut first = found.next()?;
    let same = found.filter(|other| other.kind == first.kind).count();
    if same > 0 {
        first.cause = format!("{} (and {same} more)", first.cause);
    }
    Some(first)
}

/// Returns why a pod does not run, or `None` if it runs or only needs more time.
pub(super) fn of_pod(seen: &Snapshot, pod: &Value) -> Option<Finding> {
    if is_being_deleted(pod) || condition(pod, "Ready").is_some_and(|ready| ready.is_true()) {
        return None;
    }
    let what = called(pod);
    let containers = ["/status/initContainerStatuses", "/status/containerStatuses"];
    let mut statuses = containers.into_iter().flat_map(|pointer| list(pod, pointer)).peekable();
    // Only a node reports containers.
    let is_placed = statuses.peek().is_some();
    if let Some(scheduled) = condition(pod, "PodScheduled").filter(|scheduled| scheduled.is_false() && !is_placed) {
        return volumes::unbound_claim(seen, &what, pod).or_else(|| match scheduled.reason {
            "Unschedulable" => Some(scheduling::of(&what, Some(pod), scheduled.message)),
            "SchedulingGated" => Some(scheduling::gated(&what, pod)),
            _ => None,
        });
    }
    if text(pod, "/status/reason") == "Evicted" {
        let cause = format!("{what} was evicted from its node: {}", text(pod, "/status/message"));
        return Some(Finding::broken("evicted", cause, "request what it uses in resources of the spec"));
    }
    statuses
        .find_map(|status| Container { what: &what, pod, status }.trouble(seen))
        .or_else(|| volumes::not_mounted(seen, &what, pod))
        .or_else(|| not_ready(seen, &what, pod))
}

/// Returns that a container runs and does not pass its probe, by the pod's Events.
fn not_ready(seen: &Snapshot, what: &str, pod: &Value) -> Option<Finding> {
    if let Some(message) = seen.event(name(pod), &["FailedCreatePodSandBox", "NetworkNotReady"]) {
        let cause = format!("the node cannot start {what}: {message}");
        return Some(Finding::broken("node-trouble", cause, "have the platform team check the node"));
    }
    let running =
        list(pod, "/status/containerStatuses").iter().any(|status| status.pointer("/state/running").is_some());
    let message = seen.event(name(pod), &["Unhealthy"]).filter(|_| running)?;
    let cause = format!("{what} runs, but does not pass its probe: {message}");
    Some(Finding::broken(
        "probe-fails",
        cause,
        "read its log, and compare the probe's port and path in the spec with it",
    ))
}

/// Returns that a container was killed for its memory a short time ago. It may run again.
pub(super) fn killed(seen: &Snapshot) -> Option<Finding> {
    seen.pods.iter().filter(|pod| !is_being_deleted(pod)).find_map(|pod| {
        let status = list(pod, "/status/containerStatuses").iter().find(|status| {
            let recent = time(status, "/lastState/terminated/finishedAt")
                .is_none_or(|finished| seen.now.duration_since(finished) < RECENT);
            text(status, "/lastState/terminated/reason") == "OOMKilled" && recent
        })?;
        Some(out_of_memory(&called(pod), memory_limit(pod, text(status, "/name"))))
    })
}
