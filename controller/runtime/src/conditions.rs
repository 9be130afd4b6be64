//! Status conditions, as the Kubernetes API conventions define them.

use std::borrow::Cow;

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};

/// The longest message, in bytes. Conditions are read in tables.
const MAX_MESSAGE: usize = 1024;

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
    fn fractions_of_a_second_do_not_survive() {
        let now = at(10).checked_add(jiff::SignedDuration::from_millis(500)).unwrap();
        assert_eq!(
            updated(&[], vec![ConditionUpdate::yes("Ready", "A", "")], None, now)[0].last_transition_time,
            Time(at(10))
        );
    }
}
