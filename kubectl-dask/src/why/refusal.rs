//! Explains why the API server refuses an object, by the words of its message.

use super::Finding;
use crate::{json::name, snapshot::Snapshot};

/// Returns why the API server refused `what`, if the message says that it did.
pub(super) fn of(seen: &Snapshot, what: &str, message: &str) -> Option<Finding> {
    quota(seen, what, message)
        .or_else(|| account(seen, what, message))
        .or_else(|| admission(what, message))
        .or_else(|| invalid(what, message))
        .or_else(|| operator_rights(what, message))
}

fn quota(seen: &Snapshot, what: &str, message: &str) -> Option<Finding> {
    if let Some((_, rest)) = message.split_once("exceeded quota: ") {
        let (quota, numbers) = rest.split_once(',').unwrap_or((rest, ""));
        let numbers = numbers.trim();
        let numbers = if numbers.is_empty() { used_up(seen, quota) } else { numbers.to_owned() };
        let details = if numbers.is_empty() { numbers } else { format!(": {numbers}") };
        let cause = format!("ResourceQuota {quota} leaves no room for {what}{details}");
        let action =
            format!("raise the quota, or delete what uses it up: {}", seen.kubectl(&format!("describe quota {quota}")));
        return Some(Finding::broken("quota-exceeded", cause, action));
    }
    let (_, rest) = message.split_once("failed quota: ")?;
    let cause = format!("ResourceQuota {rest}, which {what} does not");
    Some(Finding::broken(
        "quota-needs-resources",
        cause,
        "set the resources that the quota asks for in the containers of the cluster",
    ))
}

/// Returns what a quota has none left of.
fn used_up(seen: &Snapshot, quota: &str) -> String {
    let Some(quota) = seen.quotas.iter().find(|object| name(object) == quota) else { return String::new() };
    let (hard, used) = (&quota["status"]["hard"], &quota["status"]["used"]);
    let resources =
        hard.as_object().into_iter().flatten().filter(|(resource, limit)| used[resource.as_str()] == **limit);
    let texts =
        resources.map(|(resource, limit)| format!("{resource} {0} of {0} used", limit.as_str().unwrap_or_default()));
    texts.collect::<Vec<_>>().join(", ")
}

fn account(seen: &Snapshot, what: &str, message: &str) -> Option<Finding> {
    let (_, rest) = message.split_once("serviceaccount \"")?;
    let (account, rest) = rest.split_once('"')?;
    if !rest.contains("not found") {
        return None;
    }
    let cause = format!("ServiceAccount {account} does not exist, and {what} names it");
    let create = seen.kubectl(&format!("create serviceaccount {account}"));
    Some(Finding::broken(
        "service-account-missing",
        cause,
        format!("create it ({create}), or correct serviceAccountName"),
    ))
}

fn admission(what: &str, message: &str) -> Option<Finding> {
    let after = |start: &str| message.split_once(start).map(|(_, rest)| rest);
    if message.contains("because it is being terminated") {
        let cause = format!("the namespace is being deleted, so {what} cannot be created");
        return Some(Finding::broken("namespace-terminating", cause, "use another namespace"));
    }
    if let Some(rest) = after("failed calling webhook ") {
        let cause = format!("an admission webhook does not answer, so {what} cannot be created: {rest}");
        return Some(Finding::broken("webhook-unreachable", cause, "have the owner of the webhook repair it"));
    }
    let policies = [
        ("admission webhook ", "admission-denied", "admission webhook "),
        ("ValidatingAdmissionPolicy ", "admission-denied", "ValidatingAdmissionPolicy "),
        ("violates PodSecurity ", "pod-security", "Pod Security "),
    ];
    for (start, kind, called) in policies {
        if let Some(rest) = after(start) {
            let cause = format!("a policy denies {what}: {called}{rest}");
            return Some(Finding::broken(
                kind,
                cause,
                "change the spec as the policy asks for, or ask its owner for an exception",
            ));
        }
    }
    let limits = ["usage per Container is", "usage per Pod is", "limit to request ratio per"];
    let limit = message.split(": ").last().filter(|_| limits.iter().any(|limit| message.contains(limit)))?;
    let cause = format!("a LimitRange denies {what}: {limit}");
    Some(Finding::broken(
        "limit-range",
        cause,
        "change the resources of the containers so that they are within the limits",
    ))
}

fn invalid(what: &str, message: &str) -> Option<Finding> {
    let quantity = ["quantities must match", "unable to parse quantity", "must be greater than or equal to 0"];
    if quantity.iter().any(|words| message.contains(words)) {
        let cause = format!("a quantity of {what} is not valid: {}", details(message));
        return Some(Finding::broken(
            "invalid-quantity",
            cause,
            "write quantities such as 500m, 2 or 4Gi in resources",
        ));
    }
    let words =
        ["Invalid value", "Required value", "Unsupported value", "Duplicate value", "is invalid", "Forbidden: "];
    words.iter().any(|words| message.contains(words)).then(|| {
        let cause = format!("the spec of {what} is not valid: {}", details(message));
        Finding::broken("invalid-spec", cause, "correct the field that the message names")
    })
}

fn operator_rights(what: &str, message: &str) -> Option<Finding> {
    let is_rights = message.contains("forbidden: User ") && message.contains(" cannot ");
    is_rights.then(|| {
        let cause = format!("the operator lacks a right, so {what} cannot be created: {message}");
        Finding::broken(
            "operator-lacks-right",
            cause,
            "have the platform team compare the operator's roles with those of the chart",
        )
    })
}

/// Returns what follows the names of verb and object in a message of the operator.
fn details(message: &str) -> &str {
    message.strip_prefix("failed to ").and_then(|rest| rest.split_once(": ")).map_or(message, |(_, rest)| rest)
}
