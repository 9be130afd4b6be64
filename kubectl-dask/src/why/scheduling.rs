//! Explains why no node takes a pod, by the message of Kubernetes' scheduler.

use std::collections::BTreeSet;

use serde_json::Value;

use super::Finding;
use crate::json::list;

/// Returns that `what` waits until somebody removes its scheduling gates, as a queue does when it admits a pod.
pub(super) fn gated(what: &str, pod: &Value) -> Finding {
    let gates: Vec<&str> = list(pod, "/spec/schedulingGates").iter().filter_map(|gate| gate["name"].as_str()).collect();
    Finding::waiting("waits-for-admission", format!("{what} waits for admission by {}", gates.join(" and ")))
}

/// Returns why no node takes `what`.
pub(super) fn of(what: &str, pod: Option<&Value>, message: &str) -> Finding {
    let broken = |kind, cause: String, action: &str| Finding::broken(kind, cause, action);
    let missing = insufficient(message);
    if let Some(resource) = missing.iter().next() {
        let requested = pod.map(|pod| requests(pod, resource)).filter(|requested| !requested.is_empty());
        let requested = requested.map(|requested| format!(", and it requests {requested}")).unwrap_or_default();
        let all = missing.iter().copied().collect::<Vec<_>>().join(" and ");
        let cause = format!("no node has enough {} for {what}{requested}: {message}", called(&all));
        let kind = match *resource {
            "cpu" => "not-enough-cpu",
            "memory" => "not-enough-memory",
            gpu if gpu.contains("gpu") => "not-enough-gpu",
            _ => "not-enough-resources",
        };
        return broken(kind, cause, "request less in resources of the spec, or add nodes that have it");
    }
    let table = [
        ("no nodes available", "no-nodes", "the cluster has no nodes at all for", "add nodes"),
        (
            "node affinity/selector",
            "node-selector",
            "no node has the labels that the nodeSelector or affinity asks for, for",
            "correct nodeSelector or affinity of the spec",
        ),
        (
            "node selector",
            "node-selector",
            "no node has the labels that the nodeSelector asks for, for",
            "correct nodeSelector of the spec",
        ),
        (
            "taint",
            "taints",
            "all nodes that could take it have a taint that is not tolerated by",
            "add the toleration to the spec, or use other nodes",
        ),
        (
            "free ports",
            "host-port",
            "a host port is in use on all nodes, for",
            "remove hostPort or hostNetwork from the spec",
        ),
        ("Too many pods", "too-many-pods", "all nodes have as many pods as they may, for", "add nodes"),
        ("unschedulable", "nodes-cordoned", "all nodes are cordoned, for", "uncordon nodes, or add some"),
    ];
    match table.into_iter().find(|(words, ..)| message.contains(words)) {
        Some((_, kind, cause, action)) => broken(kind, format!("{cause} {what}: {message}"), action),
        None => broken(
            "unschedulable",
            format!("no node takes {what}: {message}"),
            "change the spec, or add nodes, as the message says",
        ),
    }
}

/// Returns the resources that some node has not enough of, GPUs first: they are the scarcest.
fn insufficient(message: &str) -> BTreeSet<&str> {
    let words = message.split("Insufficient ").skip(1);
    let resources: BTreeSet<&str> =
        words.filter_map(|rest| rest.split([',', '.', ' ']).next().map(|_| resource(rest))).collect();
    let gpus: BTreeSet<&str> = resources.iter().copied().filter(|resource| resource.contains("gpu")).collect();
    if gpus.is_empty() { resources } else { gpus }
}

/// Names of extended resources contain dots; a sentence ends with one as well.
fn resource(rest: &str) -> &str {
    let end = rest.find([',', ' ']).unwrap_or(rest.len());
    rest[..end].trim_end_matches('.')
}

fn called(resources: &str) -> String {
    if resources.contains("gpu") { format!("GPUs ({resources})") } else { resources.to_owned() }
}

/// Returns what the containers of a pod request of a resource.
fn requests(pod: &Value, resource: &str) -> String {
    let amount = |container: &Value| {
        let resources = &container["resources"];
        let amount = [&resources["requests"][resource], &resources["limits"][resource]];
        amount
            .into_iter()
            .find_map(|amount| amount.as_str().map(str::to_owned).or_else(|| amount.as_i64().map(|n| n.to_string())))
    };
    list(pod, "/spec/containers").iter().filter_map(amount).collect::<Vec<_>>().join(" + ")
}
