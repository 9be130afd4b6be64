//! Stops calling a plugin that does not answer.

use std::time::{Duration, Instant};

/// Transport errors in a row that open the breaker.
const THRESHOLD: u32 = 5;
/// How long it stays open.
const OPEN_FOR: Duration = Duration::from_secs(30);

/// A circuit breaker for one plugin. Time is an argument: the state machine is pure.
///
/// ```text
/// Closed ──5 errors in a row──> Open ──30 s──> Discovering ──answer──> Trying ──answer──> Closed
///                                 ^                 └──none──┐           └──error──┐
///                                 └──────────────────────────┴─────────────────────┘
/// ```
///
/// A plugin may answer the discovery and yet hang on each call, so that the first call after it goes alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Breaker {
    /// Calls go through; so many errors in a row there were.
    Closed(u32),
    /// No calls until then.
    Open(Instant),
    /// Discovery is asked.
    Discovering,
    /// Discovery was answered: one call decides.
    Trying,
}

/// What people and metrics are told of a breaker.
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
    /// How many calls may be under way, out of `most`.
    pub(crate) fn parallel(&self, most: usize) -> usize {
        match self {
            Self::Closed(_) => most,
            Self::Open(_) | Self::Discovering => 0,
            Self::Trying => 1.min(most),
        }
    }

    /// When to ask for discovery, while it is open.
    pub(crate) fn open_until(&self) -> Option<Instant> {
        match self {
            Self::Open(until) => Some(*until),
            _ => None,
        }
    }

    /// Discovery is being asked, since its time has come.
    pub(crate) fn discovering(&mut self) {
        if matches!(self, Self::Open(_)) {
            *self = Self::Discovering;
        }
    }

    /// Discovery was asked, by whomever and whenever.
    pub(crate) fn discovered(&mut self, answered: bool, now: Instant) {
        match (&self, answered) {
            (Self::Closed(_), true) => *self = Self::Closed(0),
            (Self::Open(_) | Self::Discovering, true) => *self = Self::Trying,
            (Self::Discovering, false) => *self = Self::Open(now + OPEN_FOR),
            _ => {}
        }
    }

    /// Any HTTP answer to a call, even an error: the plugin can be reached. One from before the breaker opened
    /// says nothing about now.
    pub(crate) fn answered(&mut self) {
        if matches!(self, Self::Closed(_) | Self::Trying) {
            *self = Self::Closed(0);
        }
    }

    /// No answer to a call.
    pub(crate) fn failed(&mut self, now: Instant) {
        match self {
            Self::Closed(errors) if *errors + 1 < THRESHOLD => *errors += 1,
            Self::Closed(_) | Self::Trying => *self = Self::Open(now + OPEN_FOR),
            Self::Open(_) | Self::Discovering => {}
        }
    }

    /// The state, for people and metrics.
    pub(crate) fn state(&self) -> State {
        match self {
            Self::Closed(_) => State::Closed,
            Self::Open(_) => State::Open,
            Self::Discovering | Self::Trying => State::HalfOpen,
        }
    }
}

impl State {
    /// One word.
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
            // Calls from before it opened end late: they neither close it nor keep it open for longer.
            (early, Failed, early),
            (early, Answered, early),
            (early, Discovering, asking),
            // The probe of the resource may be quicker.
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

    /// Eight subjects wait; the plugin answers discovery and nothing else.
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
