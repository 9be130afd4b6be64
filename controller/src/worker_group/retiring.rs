//! The record, on the group itself, of which workers are being retired: whoever goes on after a crash goes on
//! with the same ones.

use std::collections::BTreeSet;

use jiff::Timestamp;
use kube::ResourceExt as _;
use serde::{Deserialize, Serialize};

use crate::{crd::DaskWorkerGroup, meta::RETIRING};

/// What is being retired.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct Retiring {
    /// Since when workers are to go that have not gone.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) since: Option<Timestamp>,
    /// Their names.
    #[serde(skip_serializing_if = "BTreeSet::is_empty")]
    pub(super) workers: BTreeSet<String>,
}

impl Retiring {
    /// What `group` says. What cannot be read counts as nothing: then workers are chosen anew.
    pub(super) fn of(group: &DaskWorkerGroup) -> Self {
        group.annotations().get(RETIRING).and_then(|text| serde_json::from_str(text).ok()).unwrap_or_default()
    }

    /// The annotation's value; `None` if nothing is being retired.
    pub(super) fn annotation(&self) -> Option<String> {
        self.since?;
        serde_json::to_string(self).ok()
    }

    /// Whether the deadline of `seconds` has passed.
    pub(super) fn is_overdue(&self, seconds: Option<i64>, now: Timestamp) -> bool {
        let (Some(since), Some(seconds)) = (self.since, seconds) else { return false };
        now.duration_since(since).as_secs() >= seconds
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::test_fixtures::mk_group;

    #[test]
    fn what_was_recorded_is_read_again() {
        let retiring = Retiring {
            since: Some(Timestamp::from_second(1_790_000_000).unwrap()),
            workers: BTreeSet::from(["a".to_owned(), "b".to_owned()]),
        };
        let mut group = mk_group("demo-default", "demo");
        group.annotations_mut().insert(RETIRING.to_owned(), retiring.annotation().unwrap());
        assert_eq!(Retiring::of(&group), retiring);
        assert_eq!(Retiring::default().annotation(), None);
    }

    #[test]
    fn garbage_counts_as_nothing() {
        let mut group = mk_group("demo-default", "demo");
        group.annotations_mut().insert(RETIRING.to_owned(), "garbage".to_owned());
        assert_eq!(Retiring::of(&group), Retiring::default());
    }

    #[test]
    fn without_a_deadline_nothing_is_overdue() {
        let since = Timestamp::from_second(1_790_000_000).unwrap();
        let retiring = Retiring { since: Some(since), workers: BTreeSet::new() };
        let later = Timestamp::from_second(1_790_000_060).unwrap();
        assert!(!retiring.is_overdue(None, later));
        assert!(!retiring.is_overdue(Some(61), later));
        assert!(retiring.is_overdue(Some(60), later));
    }
}
