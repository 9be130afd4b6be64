//! Decides since when a cluster is idle, and whether that is long enough.
//!
//! The clocks of scheduler and controller may differ, so the controller's clock is used where possible: from the first
//! probe that found the scheduler idle after one that found it busy. The scheduler's own time is used where there was
//! no such probe, which is the case after a restart of the controller. The time that the controller has measured comes
//! from its steady clock: a wall clock that is set forward must not end a cluster early. If two probes return the same
//! time in `Since`, nothing happened between them, however far apart they are.

use std::time::Duration;

use dask_scheduler_client::Idleness;
use jiff::{SignedDuration, Timestamp};
use operator_runtime::moment::Moment;

/// How often the scheduler is asked.
pub(super) const PERIOD: Duration = Duration::from_secs(5);
/// The shortest wait, used when the time-out ends within the period.
const SHORTEST: Duration = Duration::from_millis(100);
/// The number of consecutive probes that must find the same idle period.
const PROBES: u32 = 2;
/// The number of consecutive failures from which on they are reported: a busy scheduler may miss one probe.
const TOLD_FAILURES: u32 = 2;

/// The idle settings of the cluster's spec, and the value of its annotation.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Rules {
    pub(super) timeout: SignedDuration,
    /// The idle period for which the groups were scaled to 0 already.
    pub(super) handled: Option<String>,
}

/// The result of asking the scheduler.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Probe {
    /// There is not exactly one scheduler that is ready, so none was asked.
    NotReady,
    /// The scheduler did not answer.
    Failed,
    /// The scheduler answered.
    Answered(Idleness),
}

/// What to do next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Decision {
    /// Ask again after this time.
    Wait(Duration),
    /// The cluster has been idle for long enough.
    Act {
        /// The identity of this idle period.
        period: String,
    },
}

/// The result of a probe.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct IdleDecision {
    pub(super) decision: Decision,
    /// Whether the scheduler has failed to answer often enough to report it.
    pub(super) unreachable: bool,
}

/// The state that is kept between probes.
#[derive(Clone, Debug, Default)]
pub(super) struct IdlePeriod {
    state: State,
    failures: u32,
    /// Whether the scheduler can report since when it is idle. If such a scheduler does not report it, it has worked
    /// since the last probe.
    tells_since: bool,
}

#[derive(Clone, Debug, Default)]
enum State {
    /// Nothing is known: the controller has just started, or it missed a probe that cannot be made up for.
    #[default]
    Unknown,
    Busy,
    Idle(Period),
}

#[derive(Clone, Debug)]
struct Period {
    /// The start of the idle period as reported; `None` if the scheduler can only report that it is idle now.
    since: Option<String>,
    /// When the idle period was first observed.
    seen: Moment,
    /// How long it had lasted at that time.
    before: SignedDuration,
    /// Consecutive probes that observed it.
    probes: u32,
}

impl IdlePeriod {
    /// Records `probe` and decides. The scheduler cannot have been idle before `not_before`.
    pub(super) fn take_in(&mut self, probe: &Probe, not_before: Timestamp, rules: &Rules, now: Moment) -> IdleDecision {
        self.failures = if *probe == Probe::Failed { self.failures.saturating_add(1) } else { 0 };
        match probe {
            Probe::NotReady | Probe::Failed => self.missed(),
            Probe::Answered(Idleness::Busy) => self.state = State::Busy,
            Probe::Answered(Idleness::Since(since)) => self.idle_since(*since, not_before, now),
            Probe::Answered(Idleness::Counted) if self.tells_since => self.state = State::Busy,
            Probe::Answered(Idleness::Counted) => self.idle(None, SignedDuration::ZERO, now),
        }
        let unreachable = self.failures >= TOLD_FAILURES;
        let answered = matches!(probe, Probe::Answered(_));
        IdleDecision {
            decision: if answered { self.decision(rules, now) } else { Decision::Wait(PERIOD) },
            unreachable,
        }
    }

    fn idle_since(&mut self, since: f64, not_before: Timestamp, now: Moment) {
        self.tells_since = true;
        let before = match &self.state {
            // Its start was not observed. A scheduler's clock that is ahead of the controller's cannot be used. One
            // that is behind cannot make a scheduler idle before its pod existed.
            State::Unknown => {
                let recorded = timestamp(since).filter(|since| *since <= now.wall).unwrap_or(now.wall);
                now.wall.duration_since(recorded.max(not_before.min(now.wall)))
            }
            // It has worked since the last probe.
            State::Busy | State::Idle(_) => SignedDuration::ZERO,
        };
        self.idle(Some(since.to_string()), before, now);
    }

    /// Continues the idle period that started at `since`, or starts one.
    fn idle(&mut self, since: Option<String>, before: SignedDuration, now: Moment) {
        match &mut self.state {
            State::Idle(period) if period.since == since => period.probes = period.probes.saturating_add(1),
            state => *state = State::Idle(Period { since, seen: now, before, probes: 1 }),
        }
    }

    /// Records a missed probe. It is unknown what happened meanwhile, unless the scheduler can report it later.
    fn missed(&mut self) {
        match &mut self.state {
            State::Idle(period) if period.since.is_some() => period.probes = 0,
            State::Idle(_) => self.state = State::Unknown,
            State::Unknown | State::Busy => {}
        }
    }

    fn decision(&self, rules: &Rules, now: Moment) -> Decision {
        let State::Idle(period) = &self.state else {
            return Decision::Wait(PERIOD);
        };
        let lasted = period.before.saturating_add(now.steady - period.seen.steady);
        let left = rules.timeout.saturating_sub(lasted);
        if left.is_positive() {
            let left = Duration::try_from(left).unwrap_or(PERIOD);
            return Decision::Wait(left.clamp(SHORTEST, PERIOD));
        }
        let name = period.since.clone().unwrap_or_else(|| format!("seen at {}", period.seen.wall));
        if period.probes < PROBES || rules.handled.as_ref() == Some(&name) {
            return Decision::Wait(PERIOD);
        }
        Decision::Act { period: name }
    }
}

fn timestamp(seconds: f64) -> Option<Timestamp> {
    Timestamp::from_duration(SignedDuration::try_from_secs_f64(seconds).ok()?).ok()
}

#[cfg(test)]
mod tests;
