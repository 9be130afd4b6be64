//! Decides the phase of a cluster. Pure.
//!
//! dask-kubernetes' Python client reads nothing else before the scheduler's pod exists: `KubeCluster` waits until the phase
//! is `Running`, and deletes the cluster and raises an exception when `resource_timeout` is over (60 seconds, if nothing
//! else is set). Afterwards it waits for a pod that runs, without a limit.

use dask_operator_api::ClusterPhase;
use k8s_openapi::api::core::v1::Service;
use operator_runtime::k8s::{self, Class};

use super::{
    apply::{NAME_TAKEN, Outcome},
    observe::Observed,
    scheduler_status,
    status_input::StatusInput,
    validate::ValidatedCluster,
};

/// Returns the phase.
///
/// `Running` says that the components and a pod of the scheduler exist and that the Service can be used. It does not say
/// that the pod runs, because clients give up waiting for this phase long before a large image is pulled. A cluster that is
/// `Running` stays so while a lost component or pod is replaced, and regardless of failing plugins.
///
/// `Pending` says that the components exist and that the Service cannot be used. This includes a selector that does not match
/// the scheduler, for which the tests of dask-kubernetes do not accept `Error`.
///
/// `Error` says that somebody has to act before the scheduler can start. It is not final: the phase changes when the cause
/// is gone.
pub(super) fn phase(valid: &ValidatedCluster, seen: &StatusInput<'_>) -> ClusterPhase {
    let (current, observed) = (seen.current.phase, seen.observed);
    let was_running = current == Some(ClusterPhase::Running);
    if !was_running && cannot_start(valid, observed, seen.outcome) {
        return ClusterPhase::Error;
    }
    let waiting = match current {
        Some(phase @ (ClusterPhase::Pending | ClusterPhase::Running)) => phase,
        _ => ClusterPhase::Created,
    };
    if !components_exist(valid, observed) {
        return waiting;
    }
    match &observed.service {
        Some(service) if waits_for_load_balancer(service) => ClusterPhase::Pending,
        _ if was_running => ClusterPhase::Running,
        _ if seen.held || scheduler_status::wrong_selector(valid).is_some() => ClusterPhase::Pending,
        _ if !has_scheduler_pod(observed) => waiting,
        _ => ClusterPhase::Running,
    }
}

/// Returns whether something keeps the scheduler from starting that does not end by itself.
fn cannot_start(valid: &ValidatedCluster, observed: &Observed, outcome: &Outcome) -> bool {
    outcome.error.as_ref().is_some_and(is_refusal)
        || outcome.blocked.iter().any(|blocked| blocked.reason == NAME_TAKEN)
        || pods_are_refused(valid, observed)
}

/// Returns whether the API server refuses what the spec asks for: it is invalid or denied, or a quota is exceeded. A token
/// that is not accepted says nothing about the spec.
fn is_refusal(error: &k8s::Error) -> bool {
    matches!(error.class(), Class::Rejection | Class::Forbidden) && error.code() != Some(401)
}

/// Returns whether the API server refuses the scheduler's pod, which the Deployment reports.
fn pods_are_refused(valid: &ValidatedCluster, observed: &Observed) -> bool {
    let scheduler =
        observed.scheduler.as_ref().filter(|scheduler| k8s::is_controlled_by(scheduler.as_ref(), &valid.uid));
    scheduler.is_some_and(|scheduler| scheduler.holds("ReplicaFailure").is_some()) && !has_scheduler_pod(observed)
}

fn has_scheduler_pod(observed: &Observed) -> bool {
    observed.scheduler_pods.iter().any(|pod| pod.metadata.deletion_timestamp.is_none())
}

/// Returns whether all components exist and are this cluster's, and Kubernetes has begun to act on the Deployment.
pub(super) fn components_exist(valid: &ValidatedCluster, observed: &Observed) -> bool {
    let (Some(scheduler), Some(service), Some(group)) = (&observed.scheduler, &observed.service, &observed.group)
    else {
        return false;
    };
    k8s::is_controlled_by(scheduler.as_ref(), &valid.uid)
        && k8s::is_controlled_by(service.as_ref(), &valid.uid)
        && k8s::is_controlled_by(group.as_ref(), &valid.uid)
        && scheduler.status.observed_generation.is_some()
}

/// Returns whether the Service has no address yet.
pub(super) fn waits_for_load_balancer(service: &Service) -> bool {
    let is_load_balancer = service.spec.as_ref().and_then(|spec| spec.type_.as_deref()) == Some("LoadBalancer");
    let ingress = service.status.as_ref().and_then(|status| status.load_balancer.as_ref()?.ingress.as_ref());
    is_load_balancer && ingress.is_none_or(Vec::is_empty)
}

#[cfg(test)]
mod tests;
