//! Decides how many workers a group should have: dask-kubernetes' rule, preceded by the steps that it lacks.
//!
//! 1. The scheduler asks for a number of Dask processes in the whole cluster. The processes of other groups are
//!    subtracted, and the rest is converted into workers of this group.
//! 2. Stabilization windows apply, if the user configured any.
//! 3. The scheduler does not know of workers that are starting, and its target follows the connected ones. So no
//!    worker is removed while there are any.
//! 4. `minimum` applies, then `maximum`. At most a quarter is removed at a time. No change is made within the
//!    cool-down.
//!
//! Elapsed time is measured by the steady clock: groups must keep growing when the time of day is set back.

use std::collections::VecDeque;

use jiff::{SignedDuration, Timestamp};
use operator_runtime::moment::Moment;

/// How long after a change the number stays unchanged.
pub(super) const COOL_DOWN: SignedDuration = SignedDuration::from_secs(15);
/// How long the scheduler must ask for fewer workers than are connected before workers may be removed while others are
/// starting. It applies where the user configured no window.
const STARTING_WINDOW: SignedDuration = SignedDuration::from_mins(1);
/// After this long without an answer of the scheduler, its earlier targets are discarded.
const GAP: SignedDuration = SignedDuration::from_secs(30);
/// The number of consecutive failures to ask the scheduler from which on they are reported.
const TOLD_FAILURES: u32 = 2;

/// The settings of the autoscaler's spec, and the cool-down from its annotation.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Rules {
    pub(super) minimum: i64,
    pub(super) maximum: i64,
    /// How long the scheduler must ask for more workers before some are created.
    pub(super) up: SignedDuration,
    /// How long the scheduler must ask for fewer workers before some are removed.
    pub(super) down: SignedDuration,
    /// The end of the cool-down, in epoch seconds.
    pub(super) cool_down_until: Option<f64>,
}

/// A group, its cluster and its scheduler at one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct ScalingInput {
    /// The number of workers in the group's spec.
    pub(super) current: i64,
    /// Workers that are registered with the scheduler.
    pub(super) connected: i64,
    /// Workers that exist, are not registered, and may yet be.
    pub(super) starting: i64,
    /// Number of Dask processes of one worker, if any is registered.
    pub(super) per_worker: Option<i64>,
    /// Number of Dask processes that the rest of the cluster has or will have.
    pub(super) elsewhere: i64,
    /// Number of Dask processes that the scheduler asks for.
    pub(super) target: i64,
}

/// The result of a decision.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Decision {
    /// The number of workers that the group should have now.
    pub(super) desired: i64,
    pub(super) why: Why,
}

/// The reason for a decision. It contains no numbers, because they change while the decision stays the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Why {
    Enough,
    More,
    Fewer,
    AboveMaximum,
    AtMaximum,
    BelowMinimum,
    AtMinimum,
    CoolDown,
    Starting,
    MoreNotLongEnough,
    FewerNotLongEnough,
}

impl Why {
    pub(super) fn text(self) -> &'static str {
        match self {
            Self::Enough => "the group has as many workers as the scheduler asks for",
            Self::More => "the scheduler asks for more workers",
            Self::Fewer => "the scheduler asks for fewer workers; at most a quarter of them goes at a time",
            Self::AboveMaximum => "the group has more workers than maximum; at most a quarter of them goes at a time",
            Self::AtMaximum => "the scheduler asks for more workers than maximum",
            Self::BelowMinimum => "the group has fewer workers than minimum",
            Self::AtMinimum => "the scheduler asks for fewer workers than minimum",
            Self::CoolDown => "another number is asked for, but the cool-down after the last change is not over",
            Self::Starting => "the scheduler asks for fewer workers, but does not know of those that are starting",
            Self::MoreNotLongEnough => "the scheduler has not asked for more workers for the whole window",
            Self::FewerNotLongEnough => "the scheduler has not asked for fewer workers for the whole window",
        }
    }
}

/// The state that is kept between decisions.
#[derive(Clone, Debug, Default)]
pub(super) struct RecentTargets {
    /// The numbers that were asked for with their times, oldest first, as far back as the windows reach.
    wanted: VecDeque<(SignedDuration, i64)>,
    asked: Option<SignedDuration>,
    /// The time since which fewer workers than are connected have been asked for without interruption.
    below_connected: Option<SignedDuration>,
    cool_down: Option<CoolDown>,
    per_worker: Option<i64>,
    failures: u32,
}

/// A cool-down that was read from the annotation.
#[derive(Clone, Copy, Debug)]
struct CoolDown {
    /// The value of the annotation.
    until: f64,
    /// The end of the cool-down by the steady clock, so that changes of the time of day do not matter.
    end: SignedDuration,
}

impl RecentTargets {
    /// Counts a failure to ask the scheduler. Returns whether there were enough in a row to report them.
    pub(super) fn failed(&mut self) -> bool {
        self.failures = self.failures.saturating_add(1);
        self.failures >= TOLD_FAILURES
    }

    /// Records `situation` and decides.
    pub(super) fn decide(&mut self, situation: &ScalingInput, rules: &Rules, now: Moment) -> Decision {
        let current = situation.current;
        self.failures = 0;
        self.per_worker = situation.per_worker.or(self.per_worker);
        let wanted = wanted(situation, self.per_worker.unwrap_or(1));
        self.remember(situation, rules, wanted, now.steady);

        let stable = self.stable(wanted, current, rules, now.steady);
        let starting = stable < current && situation.starting > 0 && !self.below_for_long(rules, now.steady);
        let kept = if starting { current } else { stable };
        let clamped = kept.max(rules.minimum).min(rules.maximum);
        let desired = limited(clamped, current);
        let cooling = self.is_cooling(rules, now);
        if desired != current && cooling {
            return Decision { desired: current, why: Why::CoolDown };
        }
        let why = match (desired.cmp(&current), clamped.cmp(&kept)) {
            (std::cmp::Ordering::Greater, std::cmp::Ordering::Greater) => Why::BelowMinimum,
            (std::cmp::Ordering::Greater, _) => Why::More,
            (std::cmp::Ordering::Less, std::cmp::Ordering::Less) => Why::AboveMaximum,
            (std::cmp::Ordering::Less, _) => Why::Fewer,
            (_, std::cmp::Ordering::Less) => Why::AtMaximum,
            (_, std::cmp::Ordering::Greater) => Why::AtMinimum,
            _ if starting => Why::Starting,
            _ if wanted > current => Why::MoreNotLongEnough,
            _ if wanted < current => Why::FewerNotLongEnough,
            _ => Why::Enough,
        };
        Decision { desired, why }
    }

    fn is_cooling(&mut self, rules: &Rules, now: Moment) -> bool {
        self.cool_down = rules.cool_down_until.map(|until| {
            let known = self.cool_down.filter(|known| known.until.to_bits() == until.to_bits());
            known.unwrap_or_else(|| CoolDown { until, end: now.steady.saturating_add(left(until, now.wall)) })
        });
        self.cool_down.is_some_and(|cool_down| now.steady < cool_down.end)
    }

    fn remember(&mut self, situation: &ScalingInput, rules: &Rules, wanted: i64, now: SignedDuration) {
        if self.asked.is_none_or(|asked| now - asked > GAP) {
            // A new window starts: until it is over, the number stays unchanged.
            self.wanted = VecDeque::from([(now, situation.current)]);
            self.below_connected = None;
        }
        self.asked = Some(now);
        self.wanted.push_back((now, wanted));
        let longest = rules.up.max(rules.down);
        self.wanted.retain(|(at, _)| within(longest, *at, now));
        self.below_connected = (wanted < situation.connected).then(|| self.below_connected.unwrap_or(now));
    }

    /// Returns the number closest to the current one, of those that were asked for within the windows.
    fn stable(&self, wanted: i64, current: i64, rules: &Rules, now: SignedDuration) -> i64 {
        let of = |window| self.wanted.iter().filter(move |(at, _)| within(window, *at, now)).map(|(_, wanted)| *wanted);
        let up = of(rules.up).fold(wanted, i64::min);
        let down = of(rules.down).fold(wanted, i64::max);
        if current < up { up } else { current.min(down) }
    }

    fn below_for_long(&self, rules: &Rules, now: SignedDuration) -> bool {
        let window = if rules.down.is_zero() { STARTING_WINDOW } else { rules.down };
        self.below_connected.is_some_and(|since| now - since >= window)
    }
}

/// Returns the number of workers that the group would have by the scheduler's target alone.
fn wanted(situation: &ScalingInput, per_worker: i64) -> i64 {
    let processes = situation.target.saturating_sub(situation.elsewhere).max(0);
    let per_worker = per_worker.max(1);
    processes / per_worker + i64::from(processes % per_worker > 0)
}

/// Limits a reduction to a quarter of `current`, but allows at least one worker.
fn limited(desired: i64, current: i64) -> i64 {
    if current > 0 { desired.max(current - (current / 4).max(1)) } else { desired }
}

fn within(window: SignedDuration, at: SignedDuration, now: SignedDuration) -> bool {
    now - at < window
}

/// Returns the time that is left until `until`.
fn left(until: f64, now: Timestamp) -> SignedDuration {
    SignedDuration::try_from_secs_f64((until - seconds(now)).max(0.0)).unwrap_or(SignedDuration::MAX)
}

/// Returns `time` in epoch seconds.
pub(super) fn seconds(time: Timestamp) -> f64 {
    time.as_duration().as_secs_f64()
}

#[cfg(test)]
mod tests;
