//! Explains why the pods of a Deployment do not run, in messages that users can act on.

use k8s_openapi::api::core::v1::ContainerState;
use kube::ResourceExt as _;
use operator_runtime::rejection::Rejection;

use crate::view::{ContainerView, DeploymentView, PodView};

/// Waiting reasons of a container that is starting normally.
const STARTING: [&str; 2] = ["ContainerCreating", "PodInitializing"];

/// Returns the reason why `deployment` has no ready pod, or `None` if it only needs more time.
pub(crate) fn of<'a>(deployment: &DeploymentView, pods: impl IntoIterator<Item = &'a PodView>) -> Option<Rejection> {
    let refused = deployment.holds("ReplicaFailure").map(|condition| {
        let message = condition.message.clone().unwrap_or_default();
        Rejection::new(refusal(&message), message)
    });
    refused.or_else(|| pods.into_iter().filter(|pod| !pod.is_ready()).find_map(of_pod))
}

/// Returns the reason for a refusal by the API server. The ReplicaSet controller has only one, `FailedCreate`, so the
/// message is searched.
fn refusal(message: &str) -> &'static str {
    if message.contains("exceeded quota") {
        "QuotaExceeded"
    } else if message.contains("serviceaccount") && message.contains("not found") {
        "ServiceAccountNotFound"
    } else {
        "PodsRefused"
    }
}

/// Returns the reason why the containers of `pod` do not run, or `None` if they only need more time.
pub(crate) fn of_pod(pod: &PodView) -> Option<Rejection> {
    if pod.metadata.deletion_timestamp.is_some() {
        return None;
    }
    let name = pod.name_any();
    if let Some(rejection) = of_scheduling(&name, pod) {
        return Some(rejection);
    }
    let containers = pod.status.init_container_statuses.iter().chain(&pod.status.container_statuses);
    containers.into_iter().find_map(|container| of_container(&name, container))
}

/// Returns the reason why `pod` has no node, unless Kubernetes' scheduler has not seen it yet.
fn of_scheduling(name: &str, pod: &PodView) -> Option<Rejection> {
    let condition = pod.condition("PodScheduled").filter(|condition| condition.status == "False")?;
    match condition.reason.as_deref()? {
        "Unschedulable" => {
            let why = condition.message.as_deref().unwrap_or("no node fits");
            Some(Rejection::new("Unschedulable", format!("pod {name}: {why}")))
        }
        "SchedulingGated" => {
            let gates = &pod.spec.scheduling_gates;
            let gates: Vec<_> = gates.iter().map(|gate| gate.name.as_str()).collect();
            let message = format!("pod {name} waits for admission by {}", gates.join(" and "));
            Some(Rejection::new("SchedulingGated", message))
        }
        _ => None,
    }
}

fn of_container(pod: &str, container: &ContainerView) -> Option<Rejection> {
    let waiting = container.state.as_ref()?.waiting.as_ref()?;
    let reason = waiting.reason.as_deref().filter(|reason| !STARTING.contains(reason))?;
    let place = format!("container {} of pod {pod}", container.name);
    match reason {
        "CrashLoopBackOff" => {
            let ended = container.last_state.as_ref().map(ending).unwrap_or_default();
            Some(Rejection::new("CrashLoopBackOff", format!("{place} ends again and again{ended}; see its log")))
        }
        "ErrImagePull" | "ImagePullBackOff" | "InvalidImageName" | "ErrImageNeverPull" => {
            let why = waiting.message.as_deref().unwrap_or(reason);
            Some(Rejection::new("ImagePullFailed", format!("{place}: {why}")))
        }
        other => {
            let why = waiting.message.as_deref().unwrap_or(other);
            Some(Rejection::new("ContainerFailed", format!("{place}: {why}")))
        }
    }
}

fn ending(state: &ContainerState) -> String {
    let Some(ended) = &state.terminated else { return String::new() };
    let reason = ended.reason.as_deref().unwrap_or("Error");
    format!(", last with exit code {} ({reason})", ended.exit_code)
}

#[cfg(test)]
#[expect(clippy::needless_pass_by_value, reason = "literals read better at the call without a reference")]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn deployment(conditions: Value) -> DeploymentView {
        serde_json::from_value(json!({"metadata": {"name": "d"}, "status": {"conditions": conditions}})).unwrap()
    }

    fn pod(status: Value) -> PodView {
        serde_json::from_value(json!({"metadata": {"name": "p"}, "status": status})).unwrap()
    }

    fn reason(status: Value) -> Option<&'static str> {
        of(&deployment(json!([])), [&pod(status)]).map(|found| found.reason)
    }

    fn waiting(reason: &str) -> Value {
        json!({"containerStatuses": [{"name": "worker", "state": {"waiting": {"reason": reason}}}]})
    }

    #[test]
    fn each_trouble_has_a_reason_of_its_own() {
        let unschedulable =
            json!({"conditions": [{"type": "PodScheduled", "status": "False", "reason": "Unschedulable"}]});
        let table = [
            (waiting("ImagePullBackOff"), Some("ImagePullFailed")),
            (waiting("ErrImagePull"), Some("ImagePullFailed")),
            (waiting("CrashLoopBackOff"), Some("CrashLoopBackOff")),
            (waiting("CreateContainerConfigError"), Some("ContainerFailed")),
            (waiting("ContainerCreating"), None),
            (waiting("PodInitializing"), None),
            (unschedulable, Some("Unschedulable")),
            (json!({}), None),
        ];
        for (status, expected) in table {
            assert_eq!(reason(status.clone()), expected, "{status}");
        }
    }

    #[test]
    fn a_pod_in_a_queue_names_who_has_to_admit_it() {
        let gated: PodView = serde_json::from_value(json!({
            "metadata": {"name": "p"},
            "spec": {"schedulingGates": [{"name": "kueue.x-k8s.io/admission"}, {"name": "example.org/other"}]},
            "status": {"conditions": [{"type": "PodScheduled", "status": "False", "reason": "SchedulingGated"}]},
        }))
        .unwrap();
        let found = of(&deployment(json!([])), [&gated]).unwrap();
        assert_eq!(found.reason, "SchedulingGated");
        assert_eq!(found.message, "pod p waits for admission by kueue.x-k8s.io/admission and example.org/other");
    }

    #[test]
    fn refusals_are_distinguished_by_the_message_of_the_api_server() {
        let table = [
            ("pods \"a\" is forbidden: exceeded quota: q, requested: pods=1", "QuotaExceeded"),
            (
                "pods \"a\" is forbidden: error looking up service account ns/x: serviceaccount \"x\" not found",
                "ServiceAccountNotFound",
            ),
            ("pods \"a\" is forbidden: violates PodSecurity", "PodsRefused"),
        ];
        for (message, expected) in table {
            let failed =
                json!([{"type": "ReplicaFailure", "status": "True", "reason": "FailedCreate", "message": message}]);
            let found = of(&deployment(failed), []).unwrap();
            assert_eq!((found.reason, found.message.as_str()), (expected, message));
        }
    }

    #[test]
    fn a_crash_is_described_with_its_exit_code() {
        let status = json!({"containerStatuses": [{"name": "worker",
            "state": {"waiting": {"reason": "CrashLoopBackOff"}},
            "lastState": {"terminated": {"exitCode": 137, "reason": "OOMKilled"}}}]});
        let found = of(&deployment(json!([])), [&pod(status)]).unwrap();
        assert!(found.message.contains("exit code 137 (OOMKilled)"), "{}", found.message);
    }
}
