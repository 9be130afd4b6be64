//! Explains why clients cannot connect to the scheduler.

use dask_operator_api::conditions::{SCHEDULER_READY, SCHEDULER_UP_TO_DATE};
use dask_operator_api::meta::component;

use super::{Finding, container, pods, refusal, scheduling, volumes};
use crate::{
    json::{Condition, age, condition, failed},
    snapshot::Snapshot,
};

const WHAT: &str = "the scheduler";

pub(super) fn of(seen: &Snapshot) -> Option<Finding> {
    let ready = seen.cluster.as_ref().and_then(|cluster| condition(cluster, SCHEDULER_READY));
    if ready.is_some_and(|ready| ready.is_true()) {
        return None;
    }
    let unready = ready.filter(Condition::is_false);
    unready
        .and_then(|unready| service(seen, &unready))
        .or_else(|| refused(seen))
        .or_else(|| unready.and_then(|unready| refusal::of(seen, WHAT, unready.message)))
        .or_else(|| pods::of(seen, seen.pods_of(component::SCHEDULER)))
        .or_else(|| unready.and_then(|unready| as_said(seen, &unready)))
}

/// Returns why the API server refuses the scheduler's pod.
fn refused(seen: &Snapshot) -> Option<Finding> {
    let name = dask_operator_api::meta::scheduler_name(&seen.name);
    let deployment = seen.deployments.iter().find(|deployment| crate::json::name(deployment) == name)?;
    let failure = condition(deployment, "ReplicaFailure").filter(Condition::is_true)?;
    refusal::of(seen, WHAT, failure.message)
}

fn service(seen: &Snapshot, unready: &Condition<'_>) -> Option<Finding> {
    let Condition { reason, message, .. } = *unready;
    let action = |field: &str| {
        format!("correct spec.scheduler.service.{field}: {}", seen.kubectl(&format!("edit daskcluster {}", seen.name)))
    };
    match reason {
        "ServiceSelectsNothing" if message.contains("no selector") => {
            let cause = "the scheduler's Service has no selector, so no connection reaches the scheduler";
            Some(Finding::broken("service-without-selector", cause, action("selector")))
        }
        "ServiceSelectsNothing" => {
            let cause = format!("the scheduler's Service does not select the scheduler's pod: {message}");
            Some(Finding::broken("service-selects-nothing", cause, action("selector")))
        }
        "ServicePortNotFound" => {
            let cause = format!("the scheduler's Service has no usable port: {message}");
            Some(Finding::broken("service-port-unknown", cause, action("ports")))
        }
        _ => None,
    }
}

/// Returns what the operator said, if the pods themselves cannot be read or say nothing.
fn as_said(seen: &Snapshot, unready: &Condition<'_>) -> Option<Finding> {
    let Condition { reason, message, .. } = *unready;
    let see_log = seen.kubectl(&format!("logs deployment/{}-scheduler", seen.name));
    match reason {
        "Unschedulable" => Some(scheduling::of(WHAT, None, message)),
        "ImagePullFailed" => {
            let cause = format!("the image of the scheduler cannot be pulled: {message}");
            Some(Finding::broken("image-not-pulled", cause, "correct spec.scheduler.spec.containers[].image"))
        }
        "CrashLoopBackOff" if message.contains("OOMKilled") => Some(container::out_of_memory(WHAT, None)),
        "CrashLoopBackOff" => Some(Finding::broken("crash-loop", message, format!("read its log: {see_log}"))),
        "ContainerFailed" => volumes::missing_object(WHAT, message).or_else(|| {
            Some(Finding::broken("container-not-started", message, "correct what the message names in the spec"))
        }),
        "Starting" => Some(Finding::waiting(
            "scheduler-starting",
            format!("the scheduler is starting, for {}", age(unready.since, seen.now)),
        )),
        _ if unready.may_pass() => None,
        _ => Some(Finding::broken(
            "scheduler-not-ready",
            format!("the scheduler is not ready: {message}"),
            format!("read its log: {see_log}"),
        )),
    }
}

pub(super) fn differs(seen: &Snapshot) -> Option<Finding> {
    let differs =
        failed(seen.cluster.as_ref()?, SCHEDULER_UP_TO_DATE).filter(|condition| condition.reason == "SpecDiffers")?;
    let delete = seen.kubectl(&format!("delete deployment {}-scheduler", seen.name));
    let cause = format!("the scheduler was created from an older spec and keeps running: {}", differs.message);
    Some(Finding::broken("scheduler-outdated", cause, format!("if its results may be lost: {delete}")))
}

pub(super) fn load_balancer(seen: &Snapshot) -> Option<Finding> {
    let waits = failed(seen.cluster.as_ref()?, "Ready").filter(|ready| ready.reason == "WaitingForLoadBalancer")?;
    let service = format!("{}-scheduler", seen.name);
    let event = seen.event(&service, &["SyncLoadBalancerFailed", "EnsuringLoadBalancerFailed"]);
    let why = event.map(|event| format!(": {event}")).unwrap_or_default();
    let cause = format!("the scheduler's load balancer has no address, for {}{why}", age(waits.since, seen.now));
    let action = format!(
        "use type ClusterIP if the cluster has no load balancers, or see {}",
        seen.kubectl(&format!("describe service {service}"))
    );
    Some(Finding::broken("no-load-balancer", cause, action))
}
