//! The record of the workers that are being retired, kept in an annotation of the group, so that a controller that
//! continues after a crash continues with the same workers.

use std::collections::{BTreeMap, BTreeSet};

use dask_operator_api::{DaskWorkerGroup, meta::RETIRING};
use jiff::Timestamp;
use kube::ResourceExt as _;
use serde::{Deserialize, Serialize};

/// The most workers whose failed retirement is recorded, so that the annotation stays within the API server's limit.
/// The others are tried again, and their deadlines start when there is room.
const MAX_KEPT: usize = 1000;

/// The workers that are being retired.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct RetirementRecord {
    /// Names of workers that the scheduler is asked to retire at present.
    #[serde(skip_serializing_if = "BTreeSet::is_empty")]
    pub(super) workers: BTreeSet<String>,
    /// Workers that could not be retired, because the scheduler refused or did not answer, with the time of the first
    /// failure.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub(super) kept: BTreeMap<String, Timestamp>,
}

impl RetirementRecord {
    /// Reads the record from `group`. A malformed record counts as empty: then workers are chosen again.
    pub(super) fn of(group: &DaskWorkerGroup) -> Self {
        group.annotations().get(RETIRING).and_then(|text| serde_json::from_str(text).ok()).unwrap_or_default()
    }

    /// Returns the annotation's value; `None` if nothing is being retired.
    pub(super) fn annotation(&self) -> Option<String> {
        if *self == Self::default() { None } else { serde_json::to_string(self).ok() }
    }

    /// Returns the record for a request to retire `names`. Workers in `kept` stay there, so that repeated requests
    /// write nothing.
    pub(super) fn asking(&self, names: impl Iterator<Item = String>) -> Self {
        let workers = names.filter(|name| !self.kept.contains_key(name)).collect();
        Self { workers, kept: self.kept.clone() }
    }

    /// Returns the record after `names` could not be retired.
    pub(super) fn refused(&self, names: &BTreeSet<String>, now: Timestamp) -> Self {
        let mut kept = self.kept.clone();
        let new: Vec<&String> = names.iter().filter(|name| !kept.contains_key(*name)).collect();
        let room = MAX_KEPT.saturating_sub(kept.len());
        kept.extend(new.into_iter().take(room).map(|name| (name.clone(), now)));
        Self { workers: BTreeSet::new(), kept }
    }

    /// Returns the record without workers that are gone.
    pub(super) fn only(mut self, exists: impl Fn(&str) -> bool) -> Self {
        self.workers.retain(|name| exists(name));
        self.kept.retain(|name, _| exists(name));
        self
    }

    /// Returns whether the first failure to retire the worker `name` was at least `seconds` ago.
    pub(super) fn is_overdue(&self, name: &str, seconds: Option<i64>, now: Timestamp) -> bool {
        let (Some(since), Some(seconds)) = (self.kept.get(name), seconds) else { return false };
        now.duration_since(*since).as_secs() >= seconds
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::test_fixtures::mk_group;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(1_790_000_000 + second).unwrap()
    }

    fn names(names: &[&str]) -> BTreeSet<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    #[test]
    fn what_was_recorded_is_read_again() {
        let retiring = RetirementRecord { workers: names(&["a"]), kept: BTreeMap::from([("b".to_owned(), at(0))]) };
        let mut group = mk_group("demo-default", "demo");
        group.annotations_mut().insert(RETIRING.to_owned(), retiring.annotation().unwrap());
        assert_eq!(RetirementRecord::of(&group), retiring);
        assert_eq!(RetirementRecord::default().annotation(), None);
    }

    #[test]
    fn garbage_counts_as_nothing() {
        let mut group = mk_group("demo-default", "demo");
        group.annotations_mut().insert(RETIRING.to_owned(), "garbage".to_owned());
        assert_eq!(RetirementRecord::of(&group), RetirementRecord::default());
    }

    #[test]
    fn asking_again_for_what_was_refused_changes_nothing() {
        let refused = RetirementRecord::default().refused(&names(&["a", "b"]), at(0));
        assert_eq!(refused.asking(["a".to_owned()].into_iter()), refused);
        assert_eq!(refused.refused(&names(&["a"]), at(60)), refused);
        assert_eq!(refused.clone().only(|name| name == "a").kept.len(), 1);
    }

    /// The API server accepts at most 256 KiB of annotations. With a larger one it would reject all other changes of
    /// the group too.
    #[test]
    fn the_record_stays_small_however_many_workers_are_not_let_go() {
        let longest = |number: usize| format!("{}-worker-abcde{number:05x}", "a".repeat(63));
        let all: BTreeSet<String> = (0..10_000).map(longest).collect();
        let refused = RetirementRecord::default().refused(&all, at(0));
        assert!(refused.annotation().unwrap().len() < 128 * 1024);
        assert_eq!(refused.refused(&all, at(60)), refused);
    }

    /// A worker whose retirement failed a moment ago is not overdue because another one is.
    #[test]
    fn each_worker_has_a_deadline_of_its_own() {
        let retiring = RetirementRecord::default().refused(&names(&["a"]), at(0)).refused(&names(&["b"]), at(50));
        assert!(retiring.is_overdue("a", Some(60), at(60)));
        assert!(!retiring.is_overdue("a", Some(61), at(60)));
        assert!(!retiring.is_overdue("b", Some(60), at(60)));
        assert!(!retiring.is_overdue("a", None, at(60)));
        assert!(!retiring.is_overdue("c", Some(60), at(60)));
    }
}
