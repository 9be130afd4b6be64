//! Finds what keeps a job's cluster or runner from working. Pure.
//!
//! A DaskJob has no conditions, because clients compare the keys of its status. Its author sees an Event instead.

use dask_operator_api::{
    ClusterPhase, DaskClusterStatus,
    conditions::{self, COMPONENTS_CREATED, PLUGINS_SYNCED, SCHEDULER_READY, WORKERS_AVAILABLE},
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use operator_runtime::{
    conditions::{ACCEPTED, READY},
    rejection::Rejection,
};

use super::container::State;
use crate::{diagnosis, view::PodView};

/// The conditions of a cluster that works, the most basic first.
const CONDITIONS: [&str; 4] = [ACCEPTED, COMPONENTS_CREATED, SCHEDULER_READY, WORKERS_AVAILABLE];

/// A problem of the cluster or the runner, in the words of its condition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Trouble {
    pub(super) reason: String,
    pub(super) message: String,
}

impl From<Rejection> for Trouble {
    fn from(why: Rejection) -> Self {
        Self { reason: why.reason.to_owned(), message: why.message }
    }
}

/// How a cluster or a runner is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) enum Health {
    /// It may still be starting.
    #[default]
    Unknown,
    Good,
    Bad(Trouble),
}

impl Health {
    /// Returns the problem, if there is one.
    pub(super) fn trouble(&self) -> Option<&Trouble> {
        match self {
            Self::Bad(trouble) => Some(trouble),
            Self::Unknown | Self::Good => None,
        }
    }
}

/// Returns how the cluster with this status is. A problem is its first condition that is false and will not become true
/// just by waiting.
pub(super) fn of_cluster(status: Option<&DaskClusterStatus>) -> Health {
    let Some(status) = status else { return Health::Unknown };
    let find = |type_: &str| status.conditions.iter().find(|condition| condition.type_ == type_);
    // Only plugins with `failurePolicy: Fail` keep a cluster `Pending`.
    let plugins = (status.phase == Some(ClusterPhase::Pending)).then_some(PLUGINS_SYNCED);
    let ordered = CONDITIONS.into_iter().chain(plugins).chain([READY]);
    if let Some(condition) = ordered.filter_map(find).find(|condition| is_bad(condition)) {
        return Health::Bad(Trouble { reason: condition.reason.clone(), message: condition.message.clone() });
    }
    let is_good = CONDITIONS.into_iter().all(|type_| find(type_).is_some_and(|condition| condition.status == "True"));
    if is_good { Health::Good } else { Health::Unknown }
}

fn is_bad(condition: &Condition) -> bool {
    condition.status == "False" && !conditions::may_pass(&condition.reason)
}

/// Returns how the runner in this pod is, unless it has ended.
pub(super) fn of_runner(pod: &PodView, state: State) -> Health {
    if matches!(state, State::Succeeded(_) | State::Failed(_)) {
        return Health::Unknown;
    }
    match diagnosis::of_pod(pod).filter(|trouble| !conditions::is_progress(trouble.reason)) {
        Some(trouble) => Health::Bad(trouble.into()),
        None if state == State::Running => Health::Good,
        None => Health::Unknown,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn health(phase: &str, conditions: &[(&str, &str, &str)]) -> Health {
        let conditions: Vec<Value> = conditions
            .iter()
            .map(|(type_, status, reason)| {
                json!({
                    "type": type_, "status": status, "reason": reason, "message": format!("why {reason}"),
                    "lastTransitionTime": "2026-01-01T00:00:00Z",
                })
            })
            .collect();
        of_cluster(Some(&serde_json::from_value(json!({"phase": phase, "conditions": conditions})).unwrap()))
    }

    fn bad(reason: &str) -> Health {
        Health::Bad(Trouble { reason: reason.to_owned(), message: format!("why {reason}") })
    }

    #[test]
    fn the_most_basic_condition_that_is_false_is_the_problem() {
        let (accepted, created) = (("Accepted", "True", "Valid"), ("ComponentsCreated", "True", "Created"));
        let (ready, available) = (("SchedulerReady", "True", "Ready"), ("WorkersAvailable", "True", "Available"));
        let selects_nothing = ("SchedulerReady", "False", "ServiceSelectsNothing");
        let unschedulable = ("WorkersAvailable", "False", "Unschedulable");
        let unsynced = ("PluginsSynced", "False", "NotSynced");
        let table: [(&str, &str, &[_], Health); 13] = [
            ("new", "Created", &[], Health::Unknown),
            ("good", "Running", &[available, ready, created, accepted], Health::Good),
            ("not all is seen", "Running", &[ready, created, accepted], Health::Unknown),
            ("invalid", "Error", &[("Accepted", "False", "InvalidName")], bad("InvalidName")),
            ("name taken", "Created", &[accepted, ("ComponentsCreated", "False", "NameTaken")], bad("NameTaken")),
            ("starts", "Created", &[accepted, created, ("SchedulerReady", "False", "Starting")], Health::Unknown),
            ("nothing is known", "Created", &[accepted, ("SchedulerReady", "Unknown", "NotSeen")], Health::Unknown),
            ("in any order", "Running", &[unschedulable, selects_nothing], bad("ServiceSelectsNothing")),
            ("workers", "Running", &[accepted, created, ready, unschedulable], bad("Unschedulable")),
            ("of no interest", "Running", &[("SchedulerUpToDate", "False", "SpecDiffers")], Health::Unknown),
            ("plugins", "Pending", &[unsynced], bad("NotSynced")),
            ("plugins that delay nothing", "Running", &[unsynced], Health::Unknown),
            ("the summary", "Running", &[("Ready", "False", "SchedulerFailed")], bad("SchedulerFailed")),
        ];
        for (what, phase, conditions, expected) in table {
            assert_eq!(health(phase, conditions), expected, "{what}");
        }
        assert_eq!(of_cluster(None), Health::Unknown);
    }

    #[test]
    fn a_runner_that_waits_for_its_image_or_a_node_is_in_trouble_until_it_has_ended() {
        let waits =
            json!({"containerStatuses": [{"name": "job", "state": {"waiting": {"reason": "ImagePullBackOff"}}}]});
        let unschedulable =
            json!({"conditions": [{"type": "PodScheduled", "status": "False", "reason": "Unschedulable"}]});
        let reason = |status: &Value, state| {
            let pod = serde_json::from_value(json!({"metadata": {"name": "p"}, "status": status})).unwrap();
            of_runner(&pod, state).trouble().map(|trouble| trouble.reason.clone())
        };
        assert_eq!(reason(&waits, State::Waiting).as_deref(), Some("ImagePullFailed"));
        assert_eq!(reason(&unschedulable, State::Waiting).as_deref(), Some("Unschedulable"));
        let gated = json!({"conditions": [{"type": "PodScheduled", "status": "False", "reason": "SchedulingGated"}]});
        assert_eq!(reason(&gated, State::Waiting), None, "a queue will admit it");
        assert_eq!(reason(&waits, State::Failed(None)), None);
        assert_eq!(reason(&json!({}), State::Waiting), None);
    }
}
