//! Remembers the running passes that may find a name in use although its object is gone meanwhile.
//!
//! Without this, such a subject would be synced again only after the backoff of failed writes, 10 seconds or more.

use std::collections::HashSet;

use crate::model::subject::SubjectKey;

/// The subjects whose pass was running when a child in their namespace was deleted.
#[derive(Debug, Default)]
pub(super) struct NameWaiters {
    overtaken: HashSet<SubjectKey>,
}

impl NameWaiters {
    /// Records that a child in `namespace` is gone, while the subjects in `in_flight` have a running pass.
    pub(super) fn freed(&mut self, namespace: &str, in_flight: &HashSet<SubjectKey>) {
        self.overtaken.extend(in_flight.iter().filter(|subject| subject.namespace == namespace).cloned());
    }

    /// Returns whether a subject whose pass has ended has to be synced again, because the name that it waits for may
    /// have been freed during the pass. `waits_for_name` is its state after the pass.
    pub(super) fn ended(&mut self, subject: &SubjectKey, waits_for_name: bool) -> bool {
        self.overtaken.remove(subject) && waits_for_name
    }
}

#[cfg(test)]
mod tests {
    use dask_operator_api::SubjectKind;

    use super::*;

    fn subject(namespace: &str) -> SubjectKey {
        SubjectKey { kind: SubjectKind::Service, namespace: namespace.to_owned(), name: "demo-scheduler".to_owned() }
    }

    #[test]
    fn a_name_that_is_freed_during_a_pass_leads_to_one_more_pass() {
        let (mut waiters, subject) = (NameWaiters::default(), subject("team"));
        waiters.freed("team", &HashSet::from([subject.clone()]));
        assert!(waiters.ended(&subject, true));
        assert!(!waiters.ended(&subject, true), "one more pass only");
    }

    #[test]
    fn a_pass_that_does_not_wait_for_a_name_is_not_repeated() {
        let (mut waiters, subject) = (NameWaiters::default(), subject("team"));
        waiters.freed("team", &HashSet::from([subject.clone()]));
        assert!(!waiters.ended(&subject, false));
    }

    #[test]
    fn a_name_that_is_freed_in_another_namespace_does_not_repeat_a_pass() {
        let (mut waiters, subject) = (NameWaiters::default(), subject("team"));
        waiters.freed("other", &HashSet::from([subject.clone()]));
        assert!(!waiters.ended(&subject, true));
    }
}
