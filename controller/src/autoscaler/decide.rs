//! How many workers a group is to have: dask-kubernetes' rule, and before it what that one lacks.
//!
//! 1. What the scheduler asks for is for the whole cluster and in Dask processes; what other groups have is
//!    taken off, and the rest put into workers of this group.
//! 2. Windows, if the user gave any.
//! 3. Workers that are starting are unknown to the scheduler, whose target follows those that are connected:
//!    while there are any, nothing is taken away.
//! 4. `minimum`, then `maximum`; then at most a quarter is taken away; all this not within the cool-down.
//!
//! How much time has passed is told by the steady clock: when the time of day is set back, groups go on growing.

use std::collections::VecDeque;

use jiff::{SignedDuration, Timestamp};
use operator_runtime::moment::Moment;

/// How long after a change nothing is changed again.
pub(super) const COOL_DOWN: SignedDuration = SignedDuration::from_secs(15);
/// How long less than what is connected must be asked for to take away workers that are starting, where
/// the user gave no window.
const STARTING_WINDOW: SignedDuration = SignedDuration::from_mins(1);
/// When the scheduler was not asked for so long, what it asked for before says nothing.
const GAP: SignedDuration = SignedDuration::from_secs(30);
/// So many failures in a row to ask the scheduler are told.
const TOLD_FAILURES: u32 = 2;

/// What the autoscaler's spec and its annotation say.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Rules {
    pub(super) minimum: i64,
    pub(super) maximum: i64,
    /// How long more workers must be asked for.
    pub(super) up: SignedDuration,
    /// How long fewer workers must be asked for.
    pub(super) down: SignedDuration,
    /// Epoch seconds.
    pub(super) cool_down_until: Option<f64>,
}

/// A group, its cluster and its scheduler at one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct ScalingInput {
    /// Workers that the group is asked to have.
    pub(super) current: i64,
    /// Those that are registered with the scheduler.
    pub(super) connected: i64,
    /// Those that exist, are not registered, and may yet be.
    pub(super) starting: i64,
    /// Dask processes of one worker, if any is registered.
    pub(super) per_worker: Option<i64>,
    /// Dask processes that are, or will be, in the cluster without this group.
    pub(super) elsewhere: i64,
    /// Dask processes that the scheduler asks for.
    pub(super) target: i64,
}

/// What to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Decision {
    /// How many workers the group is to have now.
    pub(super) desired: i64,
    pub(super) why: Why,
}

/// Why, without numbers that move while the decision stays.
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

/// What is remembered of earlier decisions.
#[derive(Clone, Debug, Default)]
pub(super) struct RecentTargets {
    /// What was asked for and when, oldest first, as far as the windows reach.
    wanted: VecDeque<(SignedDuration, i64)>,
    asked: Option<SignedDuration>,
    /// Since when less than what is connected is asked for without a break.
    below_connected: Option<SignedDuration>,
    cool_down: Option<CoolDown>,
    per_worker: Option<i64>,
    failures: u32,
}

/// A cool-down that was seen.
#[derive(Clone, Copy, Debug)]
struct CoolDown {
    /// What the annotation says.
    until: f64,
    /// When it is over, however the time of day is set meanwhile.
    end: SignedDuration,
}

impl RecentTargets {
    /// Counts a failure to ask the scheduler; whether there were enough in a row to tell.
    pub(super) fn failed(&mut self) -> bool {
        self.failures = self.failures.saturating_add(1);
        self.failures >= TOLD_FAILURES
    }

    /// Takes in `situation` and decides.
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
            // A window begins: until it is over, the number stays.
            self.wanted = VecDeque::from([(now, situation.current)]);
            self.below_connected = None;
        }
        self.asked = Some(now);
        self.wanted.push_back((now, wanted));
        let longest = rules.up.max(rules.down);
        self.wanted.retain(|(at, _)| within(longest, *at, now));
        self.below_connected = (wanted < situation.connected).then(|| self.below_connected.unwrap_or(now));
    }

    /// Of what was asked for within the windows, the number closest to the current one.
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

/// Workers that the group would have by the scheduler's wish alone.
fn wanted(situation: &ScalingInput, per_worker: i64) -> i64 {
    let processes = situation.target.saturating_sub(situation.elsewhere).max(0);
    let per_worker = per_worker.max(1);
    processes / per_worker + i64::from(processes % per_worker > 0)
}

/// At most a quarter of `current`, but one at least, goes at a time.
fn limited(desired: i64, current: i64) -> i64 {
    if current > 0 { desired.max(current - (current / 4).max(1)) } else { desired }
}

fn within(window: SignedDuration, at: SignedDuration, now: SignedDuration) -> bool {
    now - at < window
}

/// How long it is until then.
fn left(until: f64, now: Timestamp) -> SignedDuration {
    SignedDuration::try_from_secs_f64((until - seconds(now)).max(0.0)).unwrap_or(SignedDuration::MAX)
}

/// Epoch seconds.
pub(super) fn seconds(time: Timestamp) -> f64 {
    time.as_duration().as_secs_f64()
}

#[cfg(test)]
mod tests;
