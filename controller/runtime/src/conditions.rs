//! Status conditions, as the Kubernetes API conventions define them.

use std::borrow::Cow;

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};

use crate::rejection::Rejection;

/// The longest message, in bytes. Conditions are read in tables.
const MAX_MESSAGE: usize = 1024;

/// The condition that the spec is valid.
pub const ACCEPTED: &str = "Accepted";
/// The condition that summarizes the others, for `kubectl wait`, kstatus and tools that deploy.
pub const READY: &str = "Ready";
/// The condition that the controller cannot continue until the resource, or an object that it names, is changed. kstatus
/// takes `True` for a failure.
pub const STALLED: &str = "Stalled";
/// The reason of conditions about an object that does not exist, or that has not been observed since the spec changed.
pub const NOT_OBSERVED: &str = "NotObserved";
/// The reason of conditions that were not determined, because an earlier check failed.
pub const NOT_TRIED: &str = "NotTried";

/// The current state of a condition, without its times, which [`updated`] adds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConditionUpdate {
    /// The condition's type.
    pub type_: Cow<'static, str>,
    /// The status; `None` means `Unknown`.
    pub status: Option<bool>,
    /// The reason: one `CamelCase` word.
    pub reason: String,
    /// The message: one sentence.
    pub message: String,
}

impl ConditionUpdate {
    /// Returns a condition with the status `True`.
    pub fn yes(type_: impl Into<Cow<'static, str>>, reason: impl Into<String>, message: impl Into<String>) -> Self {
        Self { type_: type_.into(), status: Some(true), reason: reason.into(), message: message.into() }
    }

    /// Returns a condition with the status `False`.
    pub fn no(type_: impl Into<Cow<'static, str>>, reason: impl Into<String>, message: impl Into<String>) -> Self {
        Self { type_: type_.into(), status: Some(false), reason: reason.into(), message: message.into() }
    }

    /// Returns a condition with the status `Unknown`.
    pub fn unknown(type_: impl Into<Cow<'static, str>>, reason: impl Into<String>, message: impl Into<String>) -> Self {
        Self { type_: type_.into(), status: None, reason: reason.into(), message: message.into() }
    }

    /// Returns the condition with status, reason and message of `other`.
    pub fn copied(type_: impl Into<Cow<'static, str>>, other: &Condition) -> Self {
        let status = match other.status.as_str() {
            "True" => Some(true),
            "False" => Some(false),
            _ => None,
        };
        Self { type_: type_.into(), status, reason: other.reason.clone(), message: other.message.clone() }
    }

    /// Returns whether the status is `True`.
    pub fn holds(&self) -> bool {
        self.status == Some(true)
    }
}

/// Returns the condition [`READY`]: like the first of `verdicts` that does not hold, or `True` with `message`.
pub fn ready<'a>(verdicts: impl IntoIterator<Item = &'a ConditionUpdate>, message: &'static str) -> ConditionUpdate {
    match verdicts.into_iter().find(|verdict| !verdict.holds()) {
        Some(verdict) => ConditionUpdate { type_: READY.into(), ..verdict.clone() },
        None => ConditionUpdate::yes(READY, "Ready", message),
    }
}

/// Returns the condition [`STALLED`] of a resource with the condition [`READY`] of `ready`. It is `True` if the reason is
/// one of `reasons`, which no retry of the controller can end.
pub fn stalled(ready: &ConditionUpdate, reasons: &[&str]) -> ConditionUpdate {
    if !ready.holds() && reasons.contains(&ready.reason.as_str()) {
        return ConditionUpdate { type_: STALLED.into(), status: Some(true), ..ready.clone() };
    }
    ConditionUpdate::no(STALLED, "NotStalled", "the controller continues by itself")
}

/// Returns the conditions of `types` for a resource that is rejected: nothing else is known about it. `is_stalled` tells
/// whether it has to be changed. Otherwise it waits for another object.
pub fn of_rejected(types: &[&'static str], rejection: &Rejection, is_stalled: bool) -> Vec<ConditionUpdate> {
    let Rejection { reason, message } = rejection;
    let rejected = ConditionUpdate::no(ACCEPTED, *reason, message.as_str());
    let verdict = |condition: &&'static str| match *condition {
        summary @ (ACCEPTED | READY) => ConditionUpdate { type_: summary.into(), ..rejected.clone() },
        STALLED => stalled(&rejected, if is_stalled { std::slice::from_ref(reason) } else { &[] }),
        other => ConditionUpdate::unknown(other, NOT_TRIED, "the resource is not accepted"),
    };
    types.iter().map(verdict).collect()
}

/// Returns the condition of type `type_`.
pub fn find<'a>(conditions: &'a [Condition], type_: &str) -> Option<&'a Condition> {
    conditions.iter().find(|condition| condition.type_ == type_)
}

/// Returns `verdicts` as conditions. `lastTransitionTime` changes only when the status does. The same verdicts
/// therefore always give the same conditions, and nothing is written in a steady state.
pub fn updated(
    old: &[Condition],
    verdicts: Vec<ConditionUpdate>,
    generation: Option<i64>,
    now: Timestamp,
) -> Vec<Condition> {
    verdicts
        .into_iter()
        .map(|verdict| {
            let status = match verdict.status {
                Some(true) => "True",
                Some(false) => "False",
                None => "Unknown",
            };
            let since = old
                .iter()
                .find(|condition| condition.type_ == verdict.type_ && condition.status == status)
                .map_or_else(|| Time(whole_seconds(now)), |condition| condition.last_transition_time.clone());
            Condition {
                type_: verdict.type_.into_owned(),
                status: status.to_owned(),
                reason: verdict.reason,
                message: cut(verdict.message),
                last_transition_time: since,
                observed_generation: generation,
            }
        })
        .collect()
}

/// Truncates `time` to whole seconds, which is the precision that Kubernetes stores. Otherwise a time would differ from
/// the same time that was read back.
pub fn whole_seconds(time: Timestamp) -> Timestamp {
    Timestamp::from_second(time.as_second()).unwrap_or(time)
}

/// Truncates `message` to the length that conditions and Events can hold.
pub fn cut(mut message: String) -> String {
    if message.len() > MAX_MESSAGE {
        let mut end = MAX_MESSAGE;
        while !message.is_char_boundary(end) {
            end -= 1;
        }
        message.truncate(end);
    }
    message
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    #[test]
    fn the_transition_time_stays_until_the_status_changes() {
        let first = updated(&[], vec![ConditionUpdate::yes("Ready", "A", "")], Some(1), at(10));
        let second = updated(&first, vec![ConditionUpdate::yes("Ready", "B", "other words")], Some(2), at(20));
        assert_eq!(second[0].last_transition_time, Time(at(10)));
        let third = updated(&second, vec![ConditionUpdate::no("Ready", "C", "")], Some(2), at(30));
        assert_eq!(third[0].last_transition_time, Time(at(30)));
    }

    #[test]
    fn a_resource_is_ready_if_all_that_counts_holds_and_stalled_if_no_retry_can_help() {
        let (yes, no) = (ConditionUpdate::yes("A", "A", ""), ConditionUpdate::no("B", "Starting", "b"));
        let unknown = ConditionUpdate::unknown("C", NOT_OBSERVED, "c");
        let table = [
            (vec![&yes], Some(true), "Ready"),
            (vec![&yes, &no, &unknown], Some(false), "Starting"),
            (vec![&yes, &unknown, &no], None, NOT_OBSERVED),
        ];
        for (verdicts, status, reason) in table {
            let ready = ready(verdicts, "all is well");
            assert_eq!((ready.type_.as_ref(), ready.status, ready.reason.as_str()), (READY, status, reason));
        }
        assert_eq!(stalled(&no, &["Starting"]).status, Some(true));
        assert_eq!(stalled(&no, &["NameTaken"]).status, Some(false));
        assert_eq!(stalled(&yes, &["A"]).status, Some(false));
    }

    #[test]
    fn of_a_rejected_resource_nothing_is_claimed_that_was_not_observed() {
        let rejection = Rejection::new("InvalidName", "too long");
        for is_stalled in [false, true] {
            let verdicts = of_rejected(&[ACCEPTED, "Available", READY, STALLED], &rejection, is_stalled);
            let statuses: Vec<_> = verdicts.iter().map(|verdict| verdict.status).collect();
            assert_eq!(statuses, [Some(false), None, Some(false), Some(is_stalled)]);
        }
    }

    #[test]
    fn fractions_of_a_second_do_not_survive() {
        let now = at(10).checked_add(jiff::SignedDuration::from_millis(500)).unwrap();
        assert_eq!(
            updated(&[], vec![ConditionUpdate::yes("Ready", "A", "")], None, now)[0].last_transition_time,
            Time(at(10))
        );
    }
}
