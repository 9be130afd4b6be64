//! Stops calling a plugin that does not answer.

use std::time::{Duration, Instant};

/// The number of consecutive transport errors that opens the breaker.
const THRESHOLD: u32 = 5;
/// How long the breaker stays open.
const OPEN_FOR: Duration = Duration::from_secs(30);

/// A circuit breaker for one plugin. The state machine is pure: the current time is an argument.
///
/// ```text
/// Closed ──5 errors in a row──> Open ──30 s──> Discovering ──answer──> Trying ──answer──> Closed
///                                 ^                 └──none──┐           └──error──┐
///                                 └──────────────────────────┴─────────────────────┘
/// ```
///
/// A plugin may answer the discovery and yet hang on each call. Therefore the first call after a discovery runs alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Breaker {
    /// Calls are allowed. The number counts consecutive errors.
    Closed(u32),
    /// No calls are allowed until this time.
    Open(Instant),
    /// A discovery is in progress.
    Discovering,
    /// The discovery was answered, and the next call decides.
    Trying,
}

/// The state of a breaker in statuses and metrics.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum State {
    Closed,
    Open,
    HalfOpen,
}

impl Default for Breaker {
    fn default() -> Self {
        Self::Closed(0)
    }
}

impl Breaker {
    /// Returns how many calls may be in flight, out of `most`.
    pub(crate) fn parallel(&self, most: usize) -> usize {
        match self {
            Self::Closed(_) => most,
            Self::Open(_) | Self::Discovering => 0,
            Self::Trying => 1.min(most),
        }
    }

    /// Returns when to call the discovery, if the breaker is open.
    pub(crate) fn open_until(&self) -> Option<Instant> {
        match self {
            Self::Open(until) => Some(*until),
            _ => None,
        }
    }

    /// Records that a discovery has started because the open period is over.
    pub(crate) fn discovering(&mut self) {
        if matches!(self, Self::Open(_)) {
            *self = Self::Discovering;
        }
    }

    /// Records the result of a discovery, regardless of what triggered it and when.
    pub(crate) fn discovered(&mut self, answered: bool, now: Instant) {
        match (&self, answered) {
            (Self::Closed(_), true) => *self = Self::Closed(0),
            (Self::Open(_) | Self::Discovering, true) => *self = Self::Trying,
            (Self::Discovering, false) => *self = Self::Open(now + OPEN_FOR),
            _ => {}
        }
    }

    /// Records any HTTP response to a call, even an error, since it proves that the plugin can be reached. A response
    /// to a call from before the breaker opened is ignored, because it says nothing about the present.
    pub(crate) fn answered(&mut self) {
        if matches!(self, Self::Closed(_) | Self::Trying) {
            *self = Self::Closed(0);
        }
    }

    /// Records that a call got no response.
    pub(crate) fn failed(&mut self, now: Instant) {
        match self {
            Self::Closed(errors) if *errors + 1 < THRESHOLD => *errors += 1,
            Self::Closed(_) | Self::Trying => *self = Self::Open(now + OPEN_FOR),
            Self::Open(_) | Self::Discovering => {}
        }
    }

    /// Returns the state for statuses and metrics.
    pub(crate) fn state(&self) -> State {
        match self {
            Self::Closed(_) => State::Closed,
            Self::Open(_) => State::Open,
            Self::Discovering | Self::Trying => State::HalfOpen,
        }
    }
}

impl State {
    /// Returns the state as one word.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Closed => "Closed",
            Self::Open => "Open",
            Self::HalfOpen => "HalfOpen",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MOST: usize = 8;

    #[derive(Clone, Copy, Debug)]
    enum Event {
        Answered,
        Failed,
        Discovering,
        Discovered(bool),
    }

    fn after(mut breaker: Breaker, events: &[Event], now: Instant) -> Breaker {
        for event in events {
            match event {
                Event::Answered => breaker.answered(),
                Event::Failed => breaker.failed(now),
                Event::Discovering => breaker.discovering(),
                Event::Discovered(answered) => breaker.discovered(*answered, now),
            }
        }
        breaker
    }

    #[test]
    fn each_event_leads_from_each_state_where_the_picture_says() {
        use Event::{Answered, Discovered, Discovering, Failed};
        let now = Instant::now();
        let (early, open) = (Breaker::Open(now), Breaker::Open(now + OPEN_FOR));
        let (closed, asking, trying) = (Breaker::Closed(0), Breaker::Discovering, Breaker::Trying);
        let table = [
            (closed, Failed, Breaker::Closed(1)),
            (Breaker::Closed(THRESHOLD - 1), Failed, open),
            (Breaker::Closed(THRESHOLD - 1), Answered, closed),
            (Breaker::Closed(2), Discovering, Breaker::Closed(2)),
            (Breaker::Closed(2), Discovered(true), closed),
            (Breaker::Closed(2), Discovered(false), Breaker::Closed(2)),
            // Calls that began before the breaker opened end late. They neither close it nor extend its open period.
            (early, Failed, early),
            (early, Answered, early),
            (early, Discovering, asking),
            // The probe of the plugin resource may be quicker.
            (early, Discovered(true), trying),
            (early, Discovered(false), early),
            (asking, Failed, asking),
            (asking, Answered, asking),
            (asking, Discovered(true), trying),
            (asking, Discovered(false), open),
            (trying, Answered, closed),
            (trying, Failed, open),
            (trying, Discovered(true), trying),
            (trying, Discovered(false), trying),
        ];
        for (from, event, to) in table {
            assert_eq!(after(from, &[event], now), to, "{from:?} and {event:?}");
        }
    }

    #[test]
    fn each_state_lets_so_many_calls_through() {
        let now = Instant::now();
        let table = [
            (Breaker::default(), MOST, State::Closed, None),
            (Breaker::Open(now), 0, State::Open, Some(now)),
            (Breaker::Discovering, 0, State::HalfOpen, None),
            (Breaker::Trying, 1, State::HalfOpen, None),
        ];
        for (breaker, parallel, state, until) in table {
            assert_eq!(breaker.parallel(MOST), parallel, "{breaker:?}");
            assert_eq!((breaker.state(), breaker.open_until()), (state, until), "{breaker:?}");
        }
    }

    /// Eight subjects wait. The plugin answers the discovery, but no call.
    #[test]
    fn a_plugin_that_is_half_dead_gets_one_call_each_time() {
        let mut now = Instant::now();
        let mut breaker = after(Breaker::default(), &[Event::Failed; THRESHOLD as usize], now);
        for _ in 0..10 {
            assert_eq!((breaker.parallel(MOST), breaker.open_until()), (0, Some(now + OPEN_FOR)));
            now += OPEN_FOR;
            breaker = after(breaker, &[Event::Discovering, Event::Discovered(true)], now);
            assert_eq!(breaker.parallel(MOST), 1);
            breaker.failed(now);
        }
    }
}
