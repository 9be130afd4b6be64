//! Decides what is known about a cluster's scheduler: whether clients can connect to it, and whether it is as the spec
//! says. Pure.

use dask_operator_api::{
    DaskCluster, PodSpec,
    conditions::{SCHEDULER_READY, SCHEDULER_UP_TO_DATE},
};
use k8s_openapi::{api::core::v1::Service, apimachinery::pkg::util::intstr::IntOrString};
use kube::ResourceExt as _;
use operator_runtime::{
    conditions::{ConditionUpdate, NOT_OBSERVED},
    k8s::is_controlled_by,
    rejection::Rejection,
};
use serde_json::Value;

use super::{build, observe::Observed, status_input::StatusInput, validate::ValidatedCluster};
use crate::{
    diagnosis, scheduler,
    view::{ContainerView, DeploymentView, PodView},
};

/// Returns the condition `SchedulerReady`.
pub(super) fn ready(cluster: &DaskCluster, valid: &ValidatedCluster, seen: &StatusInput<'_>) -> ConditionUpdate {
    let observed = seen.observed;
    let Some(deployment) = deployment(valid, observed) else { return unobserved(SCHEDULER_READY) };
    // The pods of an older cluster of this name may still be shutting down.
    let born = cluster.metadata.creation_timestamp.as_ref();
    let is_ours = |pod: &&PodView| pod.metadata.creation_timestamp.as_ref().is_none_or(|made| Some(made) >= born);
    let pods = || observed.scheduler_pods.iter().map(AsRef::as_ref).filter(is_ours);
    if let Some(ready) = pods().find(|pod| pod.is_ready()) {
        let service = observed.service.as_deref().filter(|service| is_controlled_by(*service, &valid.uid));
        // An outdated Service is being updated.
        let service = service.filter(|service| !seen.built.service.is_outdated(&service.metadata));
        let is_current = !seen.built.scheduler.is_outdated(&deployment.metadata);
        let hindrance = service.and_then(|service| {
            not_selected(service, ready).or_else(|| no_port(service, is_current.then_some(&valid.scheduler.spec)))
        });
        return match hindrance {
            Some(hindrance) => ConditionUpdate::no(SCHEDULER_READY, hindrance.reason, hindrance.message),
            None => runs(ready),
        };
    }
    // Before a pod is ready, too: it is why the cluster does not become `Running`.
    if let Some(wrong) = wrong_selector(valid) {
        return ConditionUpdate::no(SCHEDULER_READY, wrong.reason, wrong.message);
    }
    match diagnosis::of(deployment, pods()) {
        Some(trouble) => ConditionUpdate::no(SCHEDULER_READY, trouble.reason, trouble.message),
        None => ConditionUpdate::no(SCHEDULER_READY, "Starting", starting(pods())),
    }
}

/// Returns what a scheduler without a ready pod waits for. A pod that runs and is not ready may need a moment, or its probe
/// fails for ever.
fn starting<'a>(mut pods: impl Iterator<Item = &'a PodView>) -> String {
    let is_running = |pod: &&PodView| pod.status.container_statuses.iter().any(ContainerView::is_running);
    let Some(pod) = pods.find(is_running) else { return "the scheduler is starting".to_owned() };
    let name = pod.name_any();
    format!("pod {name} runs and is not ready, so the Service leads to no pod; if it stays so, see its readinessProbe")
}

/// Returns the condition `SchedulerUpToDate`.
pub(super) fn up_to_date(valid: &ValidatedCluster, seen: &StatusInput<'_>) -> ConditionUpdate {
    let Some(live) = deployment(valid, seen.observed) else { return unobserved(SCHEDULER_UP_TO_DATE) };
    if !seen.built.scheduler.is_outdated(&live.metadata) {
        return ConditionUpdate::yes(SCHEDULER_UP_TO_DATE, "UpToDate", "the scheduler is as the spec says");
    }
    // A Deployment that is deleted in the foreground exists until its pod is gone.
    if seen.outcome.recreating || live.metadata.deletion_timestamp.is_some() {
        let message = "the scheduler is being replaced; its results are lost";
        return ConditionUpdate::no(SCHEDULER_UP_TO_DATE, "Recreating", message);
    }
    let message = "the scheduler differs from the spec; a new one would lose all results: delete its Deployment, \
                   or set scheduler.updatePolicy to Recreate";
    ConditionUpdate::no(SCHEDULER_UP_TO_DATE, "SpecDiffers", message)
}

/// Returns a condition about a scheduler that does not exist.
pub(super) fn unobserved(type_: &'static str) -> ConditionUpdate {
    ConditionUpdate::unknown(type_, NOT_OBSERVED, "the cluster has no scheduler Deployment yet")
}

/// Returns the scheduler's Deployment, if it is this cluster's.
fn deployment<'a>(valid: &ValidatedCluster, observed: &'a Observed) -> Option<&'a DeploymentView> {
    observed.scheduler.as_deref().filter(|scheduler| is_controlled_by(*scheduler, &valid.uid))
}

/// Returns why the Service of the spec does not select the pods of the spec. A Service without a selector may have endpoints
/// that somebody else writes.
pub(super) fn wrong_selector(valid: &ValidatedCluster) -> Option<Rejection> {
    let selector = valid.scheduler.service.field("selector");
    let labels = build::scheduler_pod_labels(valid);
    let is_wrong = |(key, value): &(&String, &Value)| labels.get(*key).map(String::as_str) != value.as_str();
    let (key, value) = selector.as_object()?.iter().find(is_wrong)?;
    let value = value.as_str().unwrap_or_default();
    Some(selects_nothing(key, value))
}

fn selects_nothing(key: &str, value: &str) -> Rejection {
    let message = format!("the Service selects {key}={value}, which the scheduler's pod does not have");
    Rejection::new("ServiceSelectsNothing", message)
}

/// Returns why `service` has no endpoint in `pod`.
fn not_selected(service: &Service, pod: &PodView) -> Option<Rejection> {
    let spec = service.spec.as_ref()?;
    let refuse = |message: String| Some(Rejection::new("ServiceSelectsNothing", message));
    if spec.type_.as_deref() == Some("ExternalName") {
        return refuse("the Service is of type ExternalName, which has no pods".to_owned());
    }
    let Some(selector) = spec.selector.as_ref().filter(|selector| !selector.is_empty()) else {
        return refuse("the Service has no selector, so it has no pods".to_owned());
    };
    let (key, value) = selector.iter().find(|(key, value)| pod.labels().get(*key) != Some(*value))?;
    Some(selects_nothing(key, value))
}

/// Returns why the endpoint of `service` has no port that clients connect to. `pod` is the spec of the scheduler's pod, if
/// it is known.
fn no_port(service: &Service, pod: Option<&PodSpec>) -> Option<Rejection> {
    let Some(endpoint) = scheduler::endpoint_of(service, "", None) else {
        let message = "the Service has no port named tcp-comm, and none with the number 8786";
        return Some(Rejection::new("ServicePortNotFound", message));
    };
    let ports = service.spec.as_ref()?.ports.as_deref()?;
    let port = ports.iter().find(|port| port.port == i32::from(endpoint.port))?;
    let Some(IntOrString::String(target)) = &port.target_port else { return None };
    (!has_port(pod?, target)).then(|| {
        let message = format!("the Service's targetPort {target} is the name of no port of the scheduler's containers");
        Rejection::new("ServicePortNotFound", message)
    })
}

/// Returns whether a container in the spec of a pod has a port of this name.
fn has_port(pod: &PodSpec, name: &str) -> bool {
    ["containers", "initContainers"].into_iter().map(|field| pod.field(field)).any(|containers| {
        let ports = containers.as_array().into_iter().flatten().filter_map(|container| container["ports"].as_array());
        ports.flatten().any(|port| port["name"] == name)
    })
}

fn runs(pod: &PodView) -> ConditionUpdate {
    let restarts: i64 = pod.status.container_statuses.iter().map(|container| container.restart_count).sum();
    if restarts == 0 {
        return ConditionUpdate::yes(SCHEDULER_READY, "Ready", "the scheduler runs");
    }
    let message = format!("the scheduler runs again after {restarts} restarts; results from before the last are lost");
    ConditionUpdate::yes(SCHEDULER_READY, "Restarted", message)
}
