//! Stops calling a plugin that does not answer.

use std::time::{Duration, Instant};

/// Transport errors in a row that open the breaker.
const THRESHOLD: u32 = 5;
/// How long it stays open.
const OPEN_FOR: Duration = Duration::from_secs(30);

/// A circuit breaker for one plugin. Time is an argument: the state machine is pure.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Breaker {
    errors: u32,
    opened: Option<Instant>,
}

impl Breaker {
    /// Calls go through until this returns when they may be tried again.
    pub(super) fn open_until(&self, now: Instant) -> Option<Instant> {
        let until = self.opened? + OPEN_FOR;
        (now < until).then_some(until)
    }

    /// Any HTTP answer, even an error: the plugin can be reached.
    pub(super) fn answered(&mut self) {
        *self = Self::default();
    }

    /// No answer. Once open, a single further error opens it again.
    pub(super) fn failed(&mut self, now: Instant) {
        self.errors = self.errors.saturating_add(1);
        if self.errors >= THRESHOLD {
            self.opened = Some(now);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn broken(now: Instant) -> Breaker {
        let mut breaker = Breaker::default();
        (0..THRESHOLD).for_each(|_| breaker.failed(now));
        breaker
    }

    #[test]
    fn it_opens_after_five_errors_in_a_row_and_an_answer_closes_it() {
        let now = Instant::now();
        let mut breaker = Breaker::default();
        (1..THRESHOLD).for_each(|_| breaker.failed(now));
        assert_eq!(breaker.open_until(now), None);
        breaker.failed(now);
        assert_eq!(breaker.open_until(now), Some(now + OPEN_FOR));
        breaker.answered();
        assert_eq!(breaker.open_until(now), None);
    }

    #[test]
    fn after_its_time_one_call_decides() {
        let now = Instant::now();
        let mut breaker = broken(now);
        let later = now + OPEN_FOR;
        assert_eq!(breaker.open_until(later), None);
        breaker.failed(later);
        assert_eq!(breaker.open_until(later), Some(later + OPEN_FOR));
    }
}
