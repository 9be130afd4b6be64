//! Summarizes the state of a plugin's subjects for the plugin's status.

use std::collections::BTreeMap;

use dask_operator_api::{PluginFailure, SubjectCounts};
use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use operator_runtime::conditions::whole_seconds;

use crate::model::subject::SubjectKey;
use plugin_protocol::{Hook, limits};

/// The reason of a subject whose deletions the prune guard holds back.
pub(crate) const PRUNE_HELD: &str = "PruneHeld";
/// The reasons of a subject that needs a name which an object still has.
const NAME_IN_USE: [&str; 2] = ["BeingDeleted", "Conflict"];
/// The maximum number of failures that the status shows.
const MAX_FAILURES: usize = 5;

/// The state of one subject.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum SyncState {
    /// The plugin wants nothing for the subject.
    Unmatched,
    /// Everything that the plugin requested has been applied.
    Synced,
    /// The plugin has not answered yet.
    Waiting,
    /// The plugin answered that it has no result yet.
    Pending { message: String },
    /// Something failed.
    Failing { reason: &'static str, message: String },
}

impl SyncState {
    /// Returns a failure. The message is cut, because messages of plugins may have any length and are kept and logged.
    pub(crate) fn failing(reason: &'static str, message: &str) -> Self {
        Self::Failing { reason, message: limits::shorten_message(message).into_owned() }
    }

    /// Returns whether another object has the name of a child, or the child itself is still being deleted.
    pub(crate) fn waits_for_name(&self) -> bool {
        matches!(self, Self::Failing { reason, .. } if NAME_IN_USE.contains(reason))
    }

    /// Returns the state after an answer without a result. The message is cut, too.
    pub(crate) fn pending(message: &str) -> Self {
        let message = if message.is_empty() { "no result yet" } else { limits::cut_message(message) };
        Self::Pending { message: message.to_owned() }
    }
}

/// The state of all subjects.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Summary {
    pub(crate) counts: SubjectCounts,
    pub(crate) failures: Vec<PluginFailure>,
    pub(crate) subjects: SubjectStates,
}

/// The number of subjects in each state, for metrics. Subjects that do not match are left out.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct SubjectStates {
    pub(crate) synced: i64,
    /// The plugin has not answered about them yet.
    pub(crate) waiting: i64,
    /// The plugin has answered that it has no result yet.
    pub(crate) pending: i64,
    /// Deletions wait for a person to approve them.
    pub(crate) held: i64,
    /// Those that fail, by reason.
    pub(crate) failing: BTreeMap<&'static str, i64>,
}

impl SubjectStates {
    fn count(&mut self, state: &SyncState, by: i64) {
        let count = match state {
            SyncState::Unmatched => return,
            SyncState::Synced => &mut self.synced,
            SyncState::Waiting => &mut self.waiting,
            SyncState::Pending { .. } => &mut self.pending,
            SyncState::Failing { reason: PRUNE_HELD, .. } => &mut self.held,
            SyncState::Failing { reason, .. } => self.failing.entry(reason).or_default(),
        };
        *count += by;
        self.failing.retain(|_, count| *count != 0);
    }
}

/// Keeps a [`Summary`] up to date at a cost that does not grow with the number of subjects.
#[derive(Debug, Default)]
pub(crate) struct SyncCounter {
    counts: SubjectCounts,
    states: SubjectStates,
    failing: BTreeMap<SubjectKey, PluginFailure>,
}

impl SyncCounter {
    /// Replaces the state of a subject. A failure with the same reason keeps its time.
    pub(crate) fn update(&mut self, key: &SubjectKey, old: Option<&SyncState>, new: &SyncState, now: Timestamp) {
        if let Some(old) = old {
            self.count(old, -1);
        }
        self.count(new, 1);
        let before = self.failing.remove(key);
        if let SyncState::Failing { reason, message } = new {
            let same = before.filter(|failure| failure.reason == *reason);
            let since = same.map_or_else(|| whole_seconds(now), |failure| failure.since.0);
            let failure = PluginFailure {
                subject: key.to_string(),
                hook: "Sync".to_owned(),
                reason: (*reason).to_owned(),
                message: message.clone(),
                since: Time(since),
            };
            self.failing.insert(key.clone(), failure);
        }
    }

    /// Records that the failure of a subject is a failure to finalize it.
    pub(crate) fn finalizing(&mut self, key: &SubjectKey) {
        if let Some(failure) = self.failing.get_mut(key) {
            Hook::Finalize.as_str().clone_into(&mut failure.hook);
        }
    }

    /// Removes a subject that is gone.
    pub(crate) fn forget(&mut self, key: &SubjectKey, old: &SyncState) {
        self.count(old, -1);
        self.failing.remove(key);
    }

    fn count(&mut self, state: &SyncState, by: i64) {
        count(&mut self.counts, state, by);
        self.states.count(state, by);
    }

    pub(crate) fn summary(&self) -> Summary {
        let mut failures: Vec<PluginFailure> = self.failing.values().cloned().collect();
        failures.sort_by(|a, b| b.since.0.cmp(&a.since.0).then_with(|| a.subject.cmp(&b.subject)));
        failures.truncate(MAX_FAILURES);
        Summary { counts: self.counts, failures, subjects: self.states.clone() }
    }

    /// Returns whether any subject waits for the name of a child, see [`SyncState::waits_for_name`].
    pub(crate) fn waits_for_name(&self) -> bool {
        NAME_IN_USE.iter().any(|reason| self.states.failing.contains_key(reason))
    }

    /// Returns the subjects to retry when the plugin recovers.
    pub(crate) fn failing(&self) -> impl Iterator<Item = &SubjectKey> {
        self.failing.keys()
    }
}

fn count(counts: &mut SubjectCounts, verdict: &SyncState, by: i64) {
    match verdict {
        SyncState::Unmatched => return,
        SyncState::Synced => counts.synced += by,
        SyncState::Waiting | SyncState::Pending { .. } => {}
        SyncState::Failing { .. } => counts.failing += by,
    }
    counts.matched += by;
}

#[cfg(test)]
mod tests {
    use dask_operator_api::SubjectKind;

    use super::*;

    fn key(name: &str) -> SubjectKey {
        SubjectKey { kind: SubjectKind::Service, namespace: "ns".to_owned(), name: name.to_owned() }
    }

    fn failing(reason: &'static str) -> SyncState {
        SyncState::Failing { reason, message: "m".to_owned() }
    }

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    #[test]
    fn counts_follow_each_change() {
        let mut counter = SyncCounter::default();
        counter.update(&key("a"), None, &SyncState::Waiting, at(1));
        counter.update(&key("b"), None, &failing("X"), at(1));
        counter.update(&key("a"), Some(&SyncState::Waiting), &SyncState::Synced, at(2));
        assert_eq!(counter.summary().counts, SubjectCounts { matched: 2, synced: 1, failing: 1 });
        counter.forget(&key("b"), &failing("X"));
        counter.update(&key("a"), Some(&SyncState::Synced), &SyncState::Unmatched, at(3));
        assert_eq!(counter.summary(), Summary::default());
    }

    /// Failures are counted by their reason, and a reason without subjects is left out.
    #[test]
    fn each_state_is_counted_apart() {
        let mut counter = SyncCounter::default();
        let pending = SyncState::pending("");
        let states = [SyncState::Synced, SyncState::Waiting, pending, failing(PRUNE_HELD), failing("Conflict")];
        for (number, state) in states.iter().enumerate() {
            counter.update(&key(&number.to_string()), None, state, at(1));
        }
        counter.update(&key("unmatched"), None, &SyncState::Unmatched, at(1));
        let failing_one = BTreeMap::from([("Conflict", 1)]);
        let expected = SubjectStates { synced: 1, waiting: 1, pending: 1, held: 1, failing: failing_one };
        assert_eq!(counter.summary().subjects, expected);
        counter.forget(&key("4"), &failing("Conflict"));
        assert_eq!(counter.summary().subjects.failing, BTreeMap::new());
    }

    #[test]
    fn a_failure_names_the_hook_that_failed() {
        let mut counter = SyncCounter::default();
        counter.update(&key("a"), None, &failing("X"), at(1));
        assert_eq!(counter.summary().failures[0].hook, "Sync");
        counter.finalizing(&key("a"));
        assert_eq!(counter.summary().failures[0].hook, "Finalize");
    }

    #[test]
    fn a_failure_keeps_its_time_while_its_reason_stays() {
        let mut counter = SyncCounter::default();
        counter.update(&key("a"), None, &failing("X"), at(1));
        counter.update(&key("a"), Some(&failing("X")), &failing("X"), at(9));
        assert_eq!(counter.summary().failures[0].since, Time(at(1)));
        counter.update(&key("a"), Some(&failing("X")), &failing("Y"), at(10));
        assert_eq!(counter.summary().failures[0].since, Time(at(10)));
    }
}
