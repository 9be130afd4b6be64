//! Explains why workers do not run, or do not register with the scheduler.

use dask_operator_api::conditions::{AVAILABLE, SCALED};
use dask_operator_api::meta::{self, component};
use jiff::SignedDuration;
use serde_json::Value;

use super::{Finding, acceptance, pods, refusal, scheduling};
use crate::{
    json::{Condition, age, condition, failed, list, name, number, text},
    snapshot::Snapshot,
};

/// How long a worker that runs takes at most to register.
const MAX_WAIT: SignedDuration = SignedDuration::from_secs(60);

pub(super) fn of(seen: &Snapshot) -> Option<Finding> {
    let found: Vec<Finding> = seen.groups().into_iter().filter_map(|group| of_group(seen, group)).collect();
    let broken = found.iter().find(|finding| finding.health == super::Health::Broken);
    broken.or_else(|| found.first()).cloned().or_else(|| {
        // The groups may be hidden by a missing right.
        seen.groups.is_empty().then(|| pods::of(seen, seen.pods_of(component::WORKER))).flatten()
    })
}

fn of_group(seen: &Snapshot, group: &Value) -> Option<Finding> {
    let what = format!("worker group {}", name(group));
    if let Some(rejected) = failed(group, "Accepted") {
        return Some(acceptance::rejected(seen, &what, &rejected));
    }
    let scaled = failed(group, SCALED).filter(|scaled| !scaled.may_pass());
    if let Some(scaled) = scaled {
        return Some(not_scaled(seen, group, &what, &scaled));
    }
    let troubled = refused(seen, group).or_else(|| pods::of(seen, seen.workers_of(name(group))));
    let available = failed(group, AVAILABLE);
    troubled.or_else(|| available.and_then(|available| unavailable(seen, group, &available)))
}

fn not_scaled(seen: &Snapshot, group: &Value, what: &str, scaled: &Condition<'_>) -> Finding {
    if scaled.reason == "RetirementRefused" {
        let cause = format!("workers of group {} cannot be removed: {}", name(group), scaled.message);
        return Finding::broken(
            "retirement-refused",
            cause,
            "wait until their tasks are done, or set worker.retireDeadlineSeconds",
        );
    }
    acceptance::rejected(seen, &format!("a worker of {what}"), scaled)
}

/// Returns why the API server refuses pods of workers.
fn refused(seen: &Snapshot, group: &Value) -> Option<Finding> {
    let of_group = |deployment: &&Value| crate::json::label(deployment, meta::WORKER_GROUP) == name(group);
    let messages = seen.deployments.iter().filter(of_group).filter_map(|deployment| {
        condition(deployment, "ReplicaFailure").filter(Condition::is_true).map(|failure| failure.message)
    });
    let mut found =
        messages.filter_map(|message| refusal::of(seen, &format!("workers of group {}", name(group)), message));
    found.next()
}

fn unavailable(seen: &Snapshot, group: &Value, available: &Condition<'_>) -> Option<Finding> {
    let Condition { reason, message, .. } = *available;
    let what = format!("workers of group {}", name(group));
    if let Some(found) = refusal::of(seen, &what, message) {
        return Some(found);
    }
    match reason {
        "Unschedulable" => Some(scheduling::of(&what, None, message)),
        reason if reason.starts_with("Scheduler") && !seen.has_ready_scheduler() => None,
        reason if reason.starts_with("Scheduler") => {
            let cause = format!("the scheduler does not answer the operator: {message}");
            let action = format!(
                "check that its pod runs and that no NetworkPolicy blocks port 8786: {}",
                seen.kubectl(&format!("logs deployment/{}-scheduler", seen.name))
            );
            Some(Finding::broken("scheduler-unreachable", cause, action))
        }
        "Connecting" => Some(not_registered(seen, group, available)),
        "Starting" => Some(Finding::waiting(
            "workers-starting",
            format!("workers of group {} are starting, for {}", name(group), age(available.since, seen.now)),
        )),
        _ if available.may_pass() => None,
        _ => Some(Finding::broken("workers-unavailable", format!("{what}: {message}"), "do what the message says")),
    }
}

/// Returns why workers run and the scheduler does not know them.
fn not_registered(seen: &Snapshot, group: &Value, available: &Condition<'_>) -> Finding {
    let (ready, connected) = (count(group, "/status/readyReplicas"), count(group, "/status/connectedReplicas"));
    let missing = format!(
        "{} of {ready} workers of group {} run, but never register with the scheduler",
        ready - connected,
        name(group)
    );
    if let Some(address) = foreign_address(seen, group) {
        let cause =
            format!("{missing}: they are configured with the address {address}, which is not this cluster's scheduler");
        let action =
            "remove the address from args or env of the worker's spec; the operator sets DASK_SCHEDULER_ADDRESS";
        return Finding::broken("wrong-scheduler-address", cause, action);
    }
    let images = (image(seen.cluster.as_ref(), "/spec/scheduler"), text(group, "/spec/worker/spec/containers/0/image"));
    if !images.0.is_empty() && !images.1.is_empty() && images.0 != images.1 {
        let cause = format!(
            "{missing}: the scheduler runs the image {} and the workers {}, perhaps of another version of Dask",
            images.0, images.1
        );
        return Finding::broken("version-mismatch", cause, "use the same image for scheduler and workers");
    }
    if available.since.is_some_and(|since| seen.now.duration_since(since) < MAX_WAIT) {
        return Finding::waiting(
            "workers-connecting",
            format!("workers of group {} are registering with the scheduler", name(group)),
        );
    }
    let of_group = || format!("logs -l {}={} --prefix", meta::WORKER_GROUP, name(group));
    let logs = seen.workers_of(name(group)).next().map_or_else(of_group, |pod| format!("logs {}", name(pod)));
    let action = format!("read what a worker says, and check NetworkPolicies: {}", seen.kubectl(&logs));
    Finding::broken("workers-not-registered", missing, action)
}

fn count(group: &Value, pointer: &str) -> i64 {
    number(group, pointer).unwrap_or_default()
}

fn image<'a>(cluster: Option<&'a Value>, part: &str) -> &'a str {
    cluster.map(|cluster| text(cluster, &format!("{part}/spec/containers/0/image"))).unwrap_or_default()
}

/// Returns an address in the workers' spec that is not that of the cluster's scheduler.
fn foreign_address<'a>(seen: &Snapshot, group: &'a Value) -> Option<&'a str> {
    let own = meta::scheduler_name(&seen.name);
    let containers = list(group, "/spec/worker/spec/containers").iter();
    let mut words = containers.flat_map(|container| {
        let words =
            ["/command", "/args"].into_iter().flat_map(|pointer| list(container, pointer)).filter_map(Value::as_str);
        let env = list(container, "/env").iter().filter(|env| text(env, "/name") == "DASK_SCHEDULER_ADDRESS");
        words.chain(env.map(|env| text(env, "/value")))
    });
    words.find(|word| {
        let host = ["tcp://", "tls://"].iter().find_map(|scheme| word.strip_prefix(scheme));
        let host = host.and_then(|host| host.split([':', '/', '.']).next());
        host.is_some_and(|host| !host.is_empty() && host != own && !host.starts_with('$'))
    })
}
