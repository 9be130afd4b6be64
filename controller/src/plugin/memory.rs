//! What a worker remembers of a subject between passes, and how a pass changes it; pure.

use std::time::{Duration, Instant};

use plugin_protocol::PluginResponse;

use super::{children::Written, summary::Verdict};

/// What is remembered of a subject between passes.
#[derive(Clone, Debug, Default)]
pub(super) struct Memory {
    pub(super) subject_uid: String,
    /// The question, without children, that `verdict` settles: it need not be looked at again before it,
    /// or a child, changes.
    pub(super) settled: Option<String>,
    /// The question, with the children that stood then, that `answer` belongs to.
    pub(super) asked: Option<String>,
    pub(super) answer: Option<PluginResponse>,
    /// When the plugin is to be asked again although nothing changed.
    due: Option<Instant>,
    /// Generation and version of a plugin that said it is gone for good.
    pub(super) retired: Option<(i64, String)>,
    /// The question of the last pass.
    question: Option<String>,
    /// Passes in a row without a result for it.
    pub(super) failures: u32,
    pub(super) written: Written,
    pub(super) verdict: Option<Verdict>,
}

/// When to look again although nothing changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Again {
    /// When it was decided before: this pass found nothing to do.
    Unchanged,
    /// Only on a change.
    Never,
    /// So soon.
    After(Duration),
    /// When the plugin's resync period is over.
    Resync,
}

/// The result of a pass.
pub(super) type Step = (Verdict, Again);

impl Memory {
    /// Nothing but the subject's uid.
    pub(super) fn of(subject_uid: &str) -> Self {
        Self { subject_uid: subject_uid.to_owned(), ..Self::default() }
    }

    /// Which attempt at the question with `uid` this is; attempts are counted for each question.
    pub(super) fn attempt_at(&mut self, uid: &str) -> u32 {
        if self.question.as_deref() != Some(uid) {
            self.question = Some(uid.to_owned());
            self.failures = 0;
        }
        self.failures + 1
    }

    /// Takes in the result of a pass; how long to wait before the next one.
    pub(super) fn conclude(&mut self, (verdict, again): Step, resync: Duration, now: Instant) -> Option<Duration> {
        match again {
            Again::Unchanged => {}
            Again::Never => self.due = None,
            Again::After(delay) => self.due = Some(now + delay),
            Again::Resync => self.due = Some(now + resync),
        }
        if matches!((&verdict, again), (Verdict::Failing { .. }, Again::After(_))) {
            self.settled = None;
        }
        self.verdict = Some(verdict);
        self.due.map(|due| due.saturating_duration_since(now))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RESYNC: Duration = Duration::from_hours(10);

    /// A queue keeps one date for each subject, so a pass that finds nothing must name the old one again.
    #[test]
    fn a_pass_that_finds_nothing_to_do_does_not_lose_the_date_of_the_next_resync() {
        let (mut memory, now) = (Memory::default(), Instant::now());
        assert_eq!(memory.conclude((Verdict::Synced, Again::Resync), RESYNC, now), Some(RESYNC));
        let later = now + Duration::from_hours(1);
        let left = memory.conclude((Verdict::Synced, Again::Unchanged), RESYNC, later);
        assert_eq!(left, Some(Duration::from_hours(9)));
    }

    /// A date in the past would have the subject looked at without end.
    #[test]
    fn a_subject_that_matches_no_longer_has_no_date() {
        let (mut memory, now) = (Memory::default(), Instant::now());
        memory.conclude((Verdict::Synced, Again::Resync), RESYNC, now);
        assert_eq!(memory.conclude((Verdict::Unmatched, Again::Never), RESYNC, now), None);
        assert_eq!(memory.conclude((Verdict::Unmatched, Again::Unchanged), RESYNC, now), None);
    }

    #[test]
    fn a_failure_that_is_tried_again_settles_nothing() {
        let failing = || Verdict::Failing { reason: "ServerError", message: String::new() };
        let settled = || Memory { settled: Some("question".to_owned()), ..Memory::default() };
        let (mut memory, now) = (settled(), Instant::now());
        memory.conclude((failing(), Again::Resync), RESYNC, now);
        assert!(memory.settled.is_some());
        let mut memory = settled();
        memory.conclude((failing(), Again::After(Duration::from_secs(1))), RESYNC, now);
        assert!(memory.settled.is_none());
    }

    #[test]
    fn attempts_are_counted_for_each_question() {
        let mut memory = Memory::default();
        assert_eq!(memory.attempt_at("a"), 1);
        memory.failures += 1;
        assert_eq!(memory.attempt_at("a"), 2);
        assert_eq!(memory.attempt_at("b"), 1);
    }
}
