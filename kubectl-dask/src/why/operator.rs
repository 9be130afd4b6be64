//! Finds out whether an operator looks after the cluster at all.

use jiff::{SignedDuration, Timestamp};
use serde_json::Value;

use super::Finding;
use crate::{
    json::{age, conditions, list, number, text, time},
    snapshot::Snapshot,
};

/// How long a running operator takes at most to look at an object.
const MAX_WAIT: SignedDuration = SignedDuration::from_secs(20);

/// Returns what to do if no operator looks at an object.
pub(super) fn action(seen: &Snapshot) -> String {
    let list = seen.kubectl_everywhere("get deployments -l app.kubernetes.io/name=dask-operator");
    format!("have the platform team check that dask-operator runs and watches this namespace: {list}")
}

pub(super) fn none(seen: &Snapshot) -> Option<Finding> {
    let cluster = seen.cluster.as_ref()?;
    let observed = number(cluster, "/status/observedGeneration").filter(|generation| *generation >= 0);
    if observed.is_some() || conditions(cluster).next().is_some() || !text(cluster, "/status/phase").is_empty() {
        return None;
    }
    let created = time(cluster, "/metadata/creationTimestamp");
    if created.is_some_and(|created| seen.now.duration_since(created) < MAX_WAIT) {
        return Some(Finding::waiting(
            "new",
            "the cluster was created a moment ago, and no operator has looked at it yet",
        ));
    }
    let since = created.map_or_else(String::new, |_| format!(" since it was created {} ago", age(created, seen.now)));
    let cause =
        format!("no operator has looked at the cluster{since}: none runs that watches namespace {}", seen.namespace);
    Some(Finding::broken("no-operator", cause, action(seen)))
}

pub(super) fn behind(seen: &Snapshot) -> Option<Finding> {
    let cluster = seen.cluster.as_ref()?;
    let (wanted, observed) = (number(cluster, "/metadata/generation")?, number(cluster, "/status/observedGeneration")?);
    if observed >= wanted {
        return None;
    }
    let changed = last_change(cluster);
    if changed.is_none_or(|changed| seen.now.duration_since(changed) < MAX_WAIT) {
        return Some(Finding::waiting("updating", "the operator has not looked at the last change of the cluster yet"));
    }
    let cause = format!("no operator has looked at the change of the cluster of {} ago", age(changed, seen.now));
    Some(Finding::broken("operator-behind", cause, action(seen)))
}

/// Returns when the spec was changed last, as far as managed fields say.
fn last_change(cluster: &Value) -> Option<Timestamp> {
    let of_spec = |entry: &&Value| text(entry, "/subresource").is_empty();
    list(cluster, "/metadata/managedFields").iter().filter(of_spec).filter_map(|entry| time(entry, "/time")).max()
}
