//! Explains why the operator does not accept a cluster, or cannot create its components.

use super::{Finding, refusal};
use crate::{
    json::{Condition, failed},
    snapshot::Snapshot,
};
use dask_operator_api::conditions::COMPONENTS_CREATED;

/// Reasons of an object that the API server accepts and the operator cannot parse.
const UNREADABLE: [&str; 5] = ["InvalidField", "TooDeep", "TooLarge", "TooManyValues", "Unreadable"];

pub(super) fn of(seen: &Snapshot) -> Option<Finding> {
    let accepted = failed(seen.cluster.as_ref()?, "Accepted")?;
    Some(rejected(seen, "the cluster", &accepted))
}

pub(super) fn components(seen: &Snapshot) -> Option<Finding> {
    let created = failed(seen.cluster.as_ref()?, COMPONENTS_CREATED).filter(|created| !created.may_pass())?;
    Some(rejected(seen, "the cluster's scheduler, Service or worker group", &created))
}

/// Returns why `what` is rejected.
pub(super) fn rejected(seen: &Snapshot, what: &str, condition: &Condition<'_>) -> Finding {
    let Condition { reason, message, .. } = *condition;
    if reason == "InvalidName" {
        let cause = format!("the name of {what} is not valid: {message}");
        return Finding::broken("invalid-name", cause, "create it again with another name; names cannot be changed");
    }
    if UNREADABLE.contains(&reason) {
        let cause = format!("the operator cannot read {what}: {message}");
        return Finding::broken("unreadable", cause, "correct the field that the message names");
    }
    if reason == "NameTaken" {
        let cause = format!("a name that {what} needs is taken: {message}");
        return Finding::broken("name-taken", cause, "delete the other object, or use another name for the cluster");
    }
    if reason == "WaitingForDeletion" {
        return Finding::waiting(
            "waiting-for-deletion",
            format!("{what} waits until an older object is gone: {message}"),
        );
    }
    if reason == "NamespaceTerminating" {
        let cause = format!("the namespace {} is being deleted, so {what} cannot be created", seen.namespace);
        return Finding::broken("namespace-terminating", cause, "use another namespace");
    }
    refusal::of(seen, what, message).unwrap_or_else(|| other(what, condition))
}

fn other(what: &str, condition: &Condition<'_>) -> Finding {
    let Condition { reason, message, .. } = *condition;
    if ["ApiServerError", "Throttled"].contains(&reason) {
        let cause = format!("the API server fails while the operator creates {what}: {message}");
        return Finding::broken("api-server", cause, "wait; if it lasts, have the platform team check the API server");
    }
    Finding::broken("refused", format!("{what} is refused ({reason}): {message}"), "correct what the message names")
}
