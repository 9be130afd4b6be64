//! What a worker remembers of a subject between passes, and how a pass changes it; pure.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use crate::{
    children::inventory::{Remembered, Written},
    client::{
        answer::Answer,
        memory_shares::{Reservation, Shares},
    },
    model::summary::SyncState,
};
use plugin_protocol::EventReason;

/// Children that could not be written are tried again after 10, 20, 40 … seconds.
const FIRST_REWRITE: Duration = Duration::from_secs(10);
const LAST_REWRITE: Duration = Duration::from_mins(5);

/// What is remembered of a subject between passes.
#[derive(Clone, Debug, Default)]
pub(crate) struct SubjectState {
    pub(crate) subject_uid: String,
    /// The question, without children, that `verdict` is about: before it or a child changes, or its date
    /// comes, there is no need to look again.
    pub(crate) settled: Option<String>,
    /// The question, with the children that stood then, that `answer` belongs to.
    pub(crate) asked: Option<String>,
    pub(crate) answer: Option<Arc<Answer>>,
    /// For the children of `answer`.
    kept: Option<Arc<Reservation>>,
    /// When the plugin is to be asked again although nothing changed.
    due: Option<Instant>,
    /// Passes in a row after which children were still to be written.
    rewrites: u32,
    /// Generation and version of a plugin that said it is gone for good.
    pub(crate) retired: Option<(i64, String)>,
    /// The question of the last pass.
    question: Option<String>,
    /// Passes in a row without a result for it.
    pub(crate) failures: u32,
    /// Whether the last pass was to finalize the subject.
    pub(crate) finalizing: bool,
    pub(crate) written: Written,
    pub(crate) verdict: Option<SyncState>,
}

/// When to look again although nothing changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Requeue {
    /// When it was decided before: this pass found nothing to do.
    Unchanged,
    /// Only on a change.
    Never,
    /// So soon; the plugin is asked again.
    After(Duration),
    /// Soon, to write children again; the plugin has answered.
    Rewrite,
    /// As [`Self::Rewrite`], so soon.
    RewriteAfter(Duration),
    /// When the plugin's resync period is over.
    Resync,
}

/// The result of a pass.
pub(crate) type Step = (SyncState, Requeue);

impl SubjectState {
    /// Returns what is remembered of the children.
    pub(crate) fn remembered(&self) -> Remembered<'_> {
        Remembered { subject_uid: &self.subject_uid, written: &self.written }
    }

    /// Nothing but the subject's uid.
    pub(crate) fn of(subject_uid: &str) -> Self {
        Self { subject_uid: subject_uid.to_owned(), ..Self::default() }
    }

    /// Keeps the answer to the question with `uid`, so that children can be written again without another call. Where
    /// `kept` has no room for its children in `namespace`, only what it says is kept, and the plugin is asked again;
    /// whether there is room.
    pub(crate) fn keep(&mut self, uid: &str, answer: &Arc<Answer>, (kept, namespace): (&Shares, &str)) -> bool {
        // What is kept of the answer before does not count twice.
        self.kept = None;
        let mut reservation = kept.of(namespace);
        if reservation.grow(answer.bytes()).is_ok() {
            self.kept = Some(Arc::new(reservation));
            self.asked = Some(uid.to_owned());
            self.answer = Some(Arc::clone(answer));
            return true;
        }
        self.asked = None;
        self.answer = Some(Arc::new(Answer { children: None, ..Answer::clone(answer) }));
        false
    }

    /// Which attempt at the question with `uid` this is; attempts are counted for each question.
    pub(crate) fn attempt_at(&mut self, uid: &str) -> u32 {
        if self.question.as_deref() != Some(uid) {
            self.question = Some(uid.to_owned());
            self.failures = 0;
        }
        self.failures + 1
    }

    /// Why the subject is looked at when its date comes.
    pub(crate) fn reason_of_date(&self) -> EventReason {
        if self.rewrites > 0 { EventReason::ChildDrift } else { EventReason::Resync }
    }

    /// Takes in the result of a pass; how long to wait before the next one.
    pub(crate) fn conclude(&mut self, (verdict, again): Step, resync: Duration, now: Instant) -> Option<Duration> {
        let rewrites = std::mem::take(&mut self.rewrites);
        match again {
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
        self.verdict = Some(verdict);
        self.due.map(|due| due.saturating_duration_since(now))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::client::response;

    const RESYNC: Duration = Duration::from_hours(10);

    fn answer(letters: usize) -> Arc<Answer> {
        let body = json!({
            "apiVersion": "plugin.kubernetes.dask.org/v1alpha1", "kind": "PluginReview",
            "response": {"uid": "u", "status": "Success", "warnings": ["soon"],
                "children": [{"key": "a", "manifest": {"x": "x".repeat(letters)}}]},
        });
        Arc::new(response::answered(body.to_string().as_bytes()).unwrap())
    }

    /// The others' answers stay, and so does what a plugin says.
    #[test]
    fn answers_of_a_namespace_that_has_used_its_share_are_not_kept_and_the_plugin_is_asked_again() {
        let (shares, long) = (Shares::new(100_000, 1000), answer(40_000));
        let keep = |namespace: &str| {
            let mut memory = SubjectState::of("u");
            let has_room = memory.keep("uid", &long, (&shares, namespace));
            assert_eq!((memory.asked.is_some(), has_room), (has_room, has_room));
            assert_eq!(memory.answer.as_ref().unwrap().children.is_some(), has_room);
            assert_eq!(memory.answer.as_ref().unwrap().warnings, ["soon"]);
            memory
        };
        let flood: Vec<SubjectState> = (0..10).map(|_| keep("flood")).collect();
        assert_eq!(flood.iter().filter(|memory| memory.asked.is_some()).count(), 2);
        assert!(keep("other").asked.is_some());
        drop(flood);
        assert!(keep("flood").asked.is_some());
    }

    #[test]
    fn an_answer_that_replaces_another_one_needs_no_room_for_both() {
        let (shares, mut memory) = (Shares::new(100_000, 1000), SubjectState::of("u"));
        for _ in 0..10 {
            assert!(memory.keep("uid", &answer(80_000), (&shares, "ns")));
        }
    }

    /// A queue keeps one date for each subject, so a pass that finds nothing must name the old one again.
    #[test]
    fn a_pass_that_finds_nothing_to_do_does_not_lose_the_date_of_the_next_resync() {
        let (mut memory, now) = (SubjectState::default(), Instant::now());
        assert_eq!(memory.conclude((SyncState::Synced, Requeue::Resync), RESYNC, now), Some(RESYNC));
        let later = now + Duration::from_hours(1);
        let left = memory.conclude((SyncState::Synced, Requeue::Unchanged), RESYNC, later);
        assert_eq!(left, Some(Duration::from_hours(9)));
    }

    /// A date in the past would have the subject looked at without end.
    #[test]
    fn a_subject_that_matches_no_longer_has_no_date() {
        let (mut memory, now) = (SubjectState::default(), Instant::now());
        memory.conclude((SyncState::Synced, Requeue::Resync), RESYNC, now);
        assert_eq!(memory.conclude((SyncState::Unmatched, Requeue::Never), RESYNC, now), None);
        assert_eq!(memory.conclude((SyncState::Unmatched, Requeue::Unchanged), RESYNC, now), None);
    }

    /// Asking the plugin again would not change what the API server refuses.
    #[test]
    fn children_are_written_again_ever_more_slowly_without_asking_the_plugin() {
        let failing = || SyncState::Failing { reason: "Conflict", message: String::new() };
        let (mut memory, now) = (SubjectState::default(), Instant::now());
        let delays: Vec<u64> = (0..7)
            .filter_map(|_| memory.conclude((failing(), Requeue::Rewrite), RESYNC, now))
            .map(|delay| delay.as_secs())
            .collect();
        assert_eq!(delays, [10, 20, 40, 80, 160, 300, 300]);
        assert_eq!(memory.reason_of_date(), EventReason::ChildDrift);
        memory.conclude((SyncState::Synced, Requeue::Resync), RESYNC, now);
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
