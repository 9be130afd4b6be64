//! The state that a worker keeps of a subject between passes, and how a pass changes it; pure.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use crate::{
    children::{drift::Written, inventory::Remembered},
    client::{answer::Answer, memory_shares::Reservation},
    model::summary::SyncState,
};
use plugin_protocol::EventReason;

/// Children that could not be written are retried after 10, 20, 40 … seconds.
const FIRST_REWRITE: Duration = Duration::from_secs(10);
const LAST_REWRITE: Duration = Duration::from_mins(5);

/// The state of a subject between passes.
#[derive(Clone, Debug, Default)]
pub(crate) struct SubjectState {
    pub(crate) subject_uid: String,
    /// The digest of the request (without children) that `verdict` answers. The subject is skipped until this digest or
    /// a child changes, or the requeue is due.
    pub(crate) settled: Option<String>,
    /// The digest of the request (with the children at that time) that `answer` belongs to.
    pub(crate) request_uid: Option<String>,
    pub(crate) answer: Option<Arc<Answer>>,
    /// The memory that is reserved for the children of `answer`.
    kept: Option<Arc<Reservation>>,
    /// When the next pass is due if nothing changes.
    due: Option<Instant>,
    /// The number of consecutive passes that left children to be written.
    rewrites: u32,
    /// The version of the plugin that reported that it is gone for good.
    pub(crate) retired: Option<PluginVersion>,
    /// The digest of the last request.
    question: Option<String>,
    /// The number of consecutive passes without a result for `question`.
    pub(crate) failures: u32,
    /// Whether the last pass was a finalization of the subject.
    pub(crate) finalizing: bool,
    pub(crate) written: Written,
    pub(crate) verdict: Option<SyncState>,
}

/// When the next pass happens if nothing changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Requeue {
    /// At the time that was set before, because this pass found nothing to do.
    Unchanged,
    /// Only on a change.
    Never,
    /// After this delay. The plugin is called again.
    After(Duration),
    /// After a backoff, to write children again. The plugin is not called again, because it has answered.
    Rewrite,
    /// Like [`Self::Rewrite`], but after this delay.
    RewriteAfter(Duration),
    /// At the end of the plugin's resync period.
    Resync,
}

/// The result of a pass.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Step {
    pub(crate) state: SyncState,
    pub(crate) requeue: Requeue,
}

impl Step {
    pub(crate) const fn new(state: SyncState, requeue: Requeue) -> Self {
        Self { state, requeue }
    }
}

/// The version of a plugin and of its resource. A plugin that is gone for good is called again when one of them changes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct PluginVersion {
    pub(crate) generation: i64,
    pub(crate) version: String,
}

impl SubjectState {
    /// Returns what is remembered of the children.
    pub(crate) fn remembered(&self) -> Remembered<'_> {
        Remembered { subject_uid: &self.subject_uid, written: &self.written }
    }

    /// Returns the initial state of the subject with this uid.
    pub(crate) fn of(subject_uid: &str) -> Self {
        Self { subject_uid: subject_uid.to_owned(), ..Self::default() }
    }

    /// Keeps the response to the request with the digest `uid`, so that children can be written again without another
    /// call. If the children exceed what `reservation` may grow to, keeps the response without them, and the plugin is
    /// called again. Returns whether there was room.
    pub(crate) fn keep(&mut self, uid: &str, answer: &Arc<Answer>, mut reservation: Reservation) -> bool {
        // Releases the memory of the previous response, which would otherwise count twice.
        self.kept = None;
        if reservation.grow(answer.bytes()).is_ok() {
            self.kept = Some(Arc::new(reservation));
            self.request_uid = Some(uid.to_owned());
            self.answer = Some(Arc::clone(answer));
            return true;
        }
        self.request_uid = None;
        self.answer = Some(Arc::new(Answer { children: None, ..Answer::clone(answer) }));
        false
    }

    /// Returns the number of this attempt at the request with the digest `uid`. Attempts are counted per request.
    pub(crate) fn attempt_at(&mut self, uid: &str) -> u32 {
        if self.question.as_deref() != Some(uid) {
            self.question = Some(uid.to_owned());
            self.failures = 0;
        }
        self.failures + 1
    }

    /// Returns the reason of a pass that was started by the timer.
    pub(crate) fn reason_of_date(&self) -> EventReason {
        if self.rewrites > 0 { EventReason::ChildDrift } else { EventReason::Resync }
    }

    /// Records the result of a pass. Returns how long to wait before the next one.
    pub(crate) fn conclude(&mut self, step: Step, resync: Duration, now: Instant) -> Option<Duration> {
        let rewrites = std::mem::take(&mut self.rewrites);
        match step.requeue {
            Requeue::Unchanged => self.rewrites = rewrites,
            Requeue::Never => self.due = None,
            Requeue::After(delay) => self.due = Some(now + delay),
            Requeue::Rewrite => {
                self.due = Some(now + (FIRST_REWRITE * 2_u32.pow(rewrites.min(5))).min(LAST_REWRITE));
                self.rewrites = rewrites.saturating_add(1);
            }
            Requeue::RewriteAfter(delay) => {
                self.due = Some(now + delay);
                self.rewrites = rewrites.max(1);
            }
            Requeue::Resync => self.due = Some(now + resync),
        }
        self.verdict = Some(step.state);
        self.due.map(|due| due.saturating_duration_since(now))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::client::{memory_shares::Shares, response};

    const RESYNC: Duration = Duration::from_hours(10);

    fn answer(letters: usize) -> Arc<Answer> {
        let body = json!({
            "apiVersion": "plugin.kubernetes.dask.org/v1alpha1", "kind": "PluginReview",
            "response": {"uid": "u", "status": "Success", "warnings": ["soon"],
                "children": [{"key": "a", "manifest": {"x": "x".repeat(letters)}}]},
        });
        Arc::new(response::parse_response(body.to_string().as_bytes()).unwrap())
    }

    /// Responses for other namespaces are kept. Warnings are kept in any case.
    #[test]
    fn responses_of_a_namespace_that_exhausted_its_share_are_not_kept() {
        let (shares, long) = (Shares::new(100_000, 1000), answer(40_000));
        let keep = |namespace: &str| {
            let mut memory = SubjectState::of("u");
            let has_room = memory.keep("uid", &long, shares.of(namespace));
            assert_eq!((memory.request_uid.is_some(), has_room), (has_room, has_room));
            assert_eq!(memory.answer.as_ref().unwrap().children.is_some(), has_room);
            assert_eq!(memory.answer.as_ref().unwrap().warnings, ["soon"]);
            memory
        };
        let flood: Vec<SubjectState> = (0..10).map(|_| keep("flood")).collect();
        assert_eq!(flood.iter().filter(|memory| memory.request_uid.is_some()).count(), 2);
        assert!(keep("other").request_uid.is_some());
        drop(flood);
        assert!(keep("flood").request_uid.is_some());
    }

    #[test]
    fn a_response_that_replaces_another_one_needs_no_room_for_both() {
        let (shares, mut memory) = (Shares::new(100_000, 1000), SubjectState::of("u"));
        for _ in 0..10 {
            assert!(memory.keep("uid", &answer(80_000), shares.of("ns")));
        }
    }

    /// A queue keeps one time per subject, so a pass that finds nothing to do must return the old one again.
    #[test]
    fn a_pass_that_finds_nothing_to_do_does_not_lose_the_date_of_the_next_resync() {
        let (mut memory, now) = (SubjectState::default(), Instant::now());
        assert_eq!(memory.conclude(Step::new(SyncState::Synced, Requeue::Resync), RESYNC, now), Some(RESYNC));
        let later = now + Duration::from_hours(1);
        let left = memory.conclude(Step::new(SyncState::Synced, Requeue::Unchanged), RESYNC, later);
        assert_eq!(left, Some(Duration::from_hours(9)));
    }

    /// A time in the past would requeue the subject endlessly.
    #[test]
    fn a_subject_that_matches_no_longer_has_no_date() {
        let (mut memory, now) = (SubjectState::default(), Instant::now());
        memory.conclude(Step::new(SyncState::Synced, Requeue::Resync), RESYNC, now);
        assert_eq!(memory.conclude(Step::new(SyncState::Unmatched, Requeue::Never), RESYNC, now), None);
        assert_eq!(memory.conclude(Step::new(SyncState::Unmatched, Requeue::Unchanged), RESYNC, now), None);
    }

    /// Another call of the plugin would not change what the API server refuses.
    #[test]
    fn children_are_written_again_with_backoff_without_another_call() {
        let failing = || SyncState::Failing { reason: "Conflict", message: String::new() };
        let (mut memory, now) = (SubjectState::default(), Instant::now());
        let delays: Vec<u64> = (0..7)
            .filter_map(|_| memory.conclude(Step::new(failing(), Requeue::Rewrite), RESYNC, now))
            .map(|delay| delay.as_secs())
            .collect();
        assert_eq!(delays, [10, 20, 40, 80, 160, 300, 300]);
        assert_eq!(memory.reason_of_date(), EventReason::ChildDrift);
        memory.conclude(Step::new(SyncState::Synced, Requeue::Resync), RESYNC, now);
        assert_eq!(memory.reason_of_date(), EventReason::Resync);
    }

    #[test]
    fn attempts_are_counted_for_each_question() {
        let mut memory = SubjectState::default();
        assert_eq!(memory.attempt_at("a"), 1);
        memory.failures += 1;
        assert_eq!(memory.attempt_at("a"), 2);
        assert_eq!(memory.attempt_at("b"), 1);
    }
}
