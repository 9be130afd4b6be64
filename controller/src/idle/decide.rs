//! Since when a cluster is idle, and whether that is long enough.
//!
//! The clocks of scheduler and controller may differ, so the controller's counts where it can: from the probe
//! that first saw the idleness after one that saw work. The scheduler's word counts where there was no
//! such probe, which is after a restart of the controller. Time that the controller has seen pass is told by its steady
//! clock: one that is set forward must not end a cluster early. `Since` the same moment in two probes says that
//! nothing happened between them, however long that was.

use std::time::Duration;

use dask_scheduler_client::Idleness;
use jiff::{SignedDuration, Timestamp};
use operator_runtime::moment::Moment;

/// How often the scheduler is asked.
pub(super) const PERIOD: Duration = Duration::from_secs(5);
/// The shortest wait, when the time-out ends within the period.
const SHORTEST: Duration = Duration::from_millis(100);
/// So many probes in a row must have seen the same idleness.
const PROBES: u32 = 2;
/// So many failures in a row are told: a scheduler that is busy may miss one probe.
const TOLD_FAILURES: u32 = 2;

/// What the cluster's spec and its annotation say.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Rules {
    pub(super) timeout: SignedDuration,
    /// The idle period for which something was done already.
    pub(super) handled: Option<String>,
}

/// What came of asking.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Probe {
    /// There is not exactly one scheduler that is ready, and nobody was asked.
    NotReady,
    /// No answer came.
    Failed,
    /// The scheduler answered.
    Answered(Idleness),
}

/// What to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Decision {
    /// Ask again after this time.
    Wait(Duration),
    /// The cluster has been idle for long enough.
    Act {
        /// Tells this idle period from others.
        period: String,
    },
}

/// What follows from a probe.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct IdleDecision {
    pub(super) decision: Decision,
    /// The scheduler has not answered often enough to tell.
    pub(super) unreachable: bool,
}

/// What is remembered of earlier probes.
#[derive(Clone, Debug, Default)]
pub(super) struct IdlePeriod {
    state: State,
    failures: u32,
    /// The scheduler can tell since when it is idle. Where it does not, it has worked since it was last asked.
    tells_since: bool,
}

#[derive(Clone, Debug, Default)]
enum State {
    /// The controller has just begun to look.
    #[default]
    Unknown,
    Busy,
    Idle(Period),
}

#[derive(Clone, Debug)]
struct Period {
    /// What the scheduler says; `None` if it can only say that it is idle now.
    since: Option<String>,
    /// When it was first seen.
    seen: Moment,
    /// How long it had lasted then.
    before: SignedDuration,
    /// Probes in a row that saw it.
    probes: u32,
}

impl IdlePeriod {
    /// Takes in `probe`. The scheduler cannot have been idle before `not_before`.
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
            // Nobody saw it begin. A clock that is ahead of ours says nothing; one that is behind cannot
            // make a scheduler idle before it was there.
            State::Unknown => {
                let told = timestamp(since).filter(|since| *since <= now.wall).unwrap_or(now.wall);
                now.wall.duration_since(told.max(not_before.min(now.wall)))
            }
            // It worked since it was last asked.
            State::Busy | State::Idle(_) => SignedDuration::ZERO,
        };
        self.idle(Some(since.to_string()), before, now);
    }

    /// Goes on with the idle period that `since` is of, or begins one.
    fn idle(&mut self, since: Option<String>, before: SignedDuration, now: Moment) {
        match &mut self.state {
            State::Idle(period) if period.since == since => period.probes = period.probes.saturating_add(1),
            state => *state = State::Idle(Period { since, seen: now, before, probes: 1 }),
        }
    }

    /// Nobody knows what happened meanwhile, unless the scheduler can tell later.
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
