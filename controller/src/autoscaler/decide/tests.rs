//! Tests of the decisions about a group's number of workers.

use super::*;

const PERIOD: i64 = 5;

fn wall(second: i64) -> Timestamp {
    Timestamp::from_second(1_000_000 + second).unwrap()
}

fn at(second: i64) -> Moment {
    Moment { wall: wall(second), steady: SignedDuration::from_secs(second) }
}

fn rules(minimum: i64, maximum: i64) -> Rules {
    Rules { minimum, maximum, ..Rules::default() }
}

/// Returns a group whose workers are all registered, alone in its cluster.
fn connected(current: i64, target: i64) -> ScalingInput {
    ScalingInput {
        current,
        connected: current,
        per_worker: (current > 0).then_some(1),
        target,
        ..ScalingInput::default()
    }
}

/// Returns the decision of a controller that has just started.
fn first(situation: &ScalingInput, rules: &Rules) -> Decision {
    RecentTargets::default().decide(situation, rules, at(0))
}

// --- dask-kubernetes' rule ---

#[test]
fn without_other_settings_the_number_is_that_of_dask_kubernetes() {
    let table = [
        // current, target, minimum, maximum, desired
        (2, 2, 0, 10, 2, Why::Enough),
        (0, 1, 0, 10, 1, Why::More),
        (1, 100, 0, 10, 10, Why::More), // growth has no limit
        (10, 100, 0, 10, 10, Why::AtMaximum),
        (1, 0, 3, 10, 3, Why::BelowMinimum),
        (3, 0, 3, 10, 3, Why::AtMinimum),
        (8, 0, 0, 10, 6, Why::Fewer),
        (7, 0, 0, 10, 6, Why::Fewer), // a quarter, rounded down
        (3, 0, 0, 10, 2, Why::Fewer), // but one at least
        (1, 0, 0, 10, 0, Why::Fewer),
        (8, 7, 0, 10, 7, Why::Fewer),
        (8, 8, 0, 2, 6, Why::AboveMaximum), // the limit comes after minimum and maximum
        (0, 5, 0, 0, 0, Why::AtMaximum),
    ];
    for (current, target, minimum, maximum, desired, why) in table {
        let decision = first(&connected(current, target), &rules(minimum, maximum));
        assert_eq!(decision, Decision { desired, why }, "{current} {target} {minimum} {maximum}");
    }
}

#[test]
fn nothing_changes_in_either_direction_before_the_cool_down_is_over() {
    let until = |second| Rules { cool_down_until: Some(seconds(wall(second))), ..rules(0, 10) };
    for target in [0, 10] {
        let decision = first(&connected(4, target), &until(1));
        assert_eq!(decision, Decision { desired: 4, why: Why::CoolDown });
        assert_ne!(first(&connected(4, target), &until(0)).desired, 4);
    }
    assert_eq!(first(&connected(4, 4), &until(1)).why, Why::Enough);
}

// --- Other groups and several processes a worker ---

/// Group A is fixed at 2, and the scheduler wants 6.
#[test]
fn workers_of_other_groups_are_taken_off_the_target() {
    let group = |current| ScalingInput { elsewhere: 2, ..connected(current, 6) };
    assert_eq!(first(&group(1), &rules(0, 10)).desired, 4);
    assert_eq!(first(&group(4), &rules(0, 10)).why, Why::Enough);
    assert_eq!(first(&ScalingInput { elsewhere: 9, ..connected(1, 6) }, &rules(0, 10)).desired, 0);
}

#[test]
fn a_worker_of_two_processes_counts_twice_and_is_remembered_when_all_are_gone() {
    let mut recent = RecentTargets::default();
    let two = ScalingInput { per_worker: Some(2), ..connected(3, 5) };
    assert_eq!(recent.decide(&two, &rules(0, 10), at(0)).why, Why::Enough);
    let none = ScalingInput { target: 8, ..ScalingInput::default() };
    assert_eq!(recent.decide(&none, &rules(0, 10), at(5)).desired, 4);
}

// --- Workers that are starting ---

fn starting(current: i64, connected: i64, target: i64) -> ScalingInput {
    let starting = current - connected;
    ScalingInput { current, connected, starting, per_worker: Some(1), elsewhere: 0, target }
}

#[test]
fn nothing_is_taken_away_while_workers_are_starting() {
    let decision = first(&starting(10, 2, 2), &rules(0, 10));
    assert_eq!(decision, Decision { desired: 10, why: Why::Starting });
    assert_eq!(first(&starting(10, 2, 12), &rules(0, 20)).desired, 12, "growth goes on");
}

#[test]
fn workers_that_will_never_come_are_taken_away() {
    let stuck = ScalingInput { starting: 0, ..starting(10, 2, 2) };
    assert_eq!(first(&stuck, &rules(0, 10)), Decision { desired: 8, why: Why::Fewer });
}

#[test]
fn a_scheduler_that_needs_less_than_it_has_for_a_minute_may_shrink_a_group_that_is_starting() {
    let mut recent = RecentTargets::default();
    let mut decide = |target, second| recent.decide(&starting(10, 2, target), &rules(0, 10), at(second)).desired;
    for second in (0..55).step_by(5) {
        assert_eq!(decide(1, second), 10);
    }
    assert_eq!(decide(2, 55), 10, "as many as are connected");
    for second in (60..120).step_by(5) {
        assert_eq!(decide(1, second), 10, "{second}: the minute begins again");
    }
    assert_eq!(decide(1, 120), 8);
}

#[test]
fn a_lower_maximum_takes_effect_while_workers_are_starting() {
    assert_eq!(first(&starting(8, 2, 8), &rules(0, 4)), Decision { desired: 6, why: Why::AboveMaximum });
}

/// The history of a group whose workers take three minutes to connect.
#[derive(Debug, PartialEq)]
struct Story {
    created: i64,
    deleted: i64,
    workers: i64,
}

/// Runs the controller every 5 s for 20 minutes, without failures.
fn tell(rules: &Rules, target: impl Fn(i64, i64) -> i64) -> Story {
    let (mut recent, mut rules) = (RecentTargets::default(), rules.clone());
    let mut born: Vec<i64> = Vec::new();
    let mut story = Story { created: 0, deleted: 0, workers: 0 };
    for second in (0..1200).step_by(usize::try_from(PERIOD).unwrap()) {
        let current = i64::try_from(born.len()).unwrap();
        let connected = i64::try_from(born.iter().filter(|born| second - **born >= 180).count()).unwrap();
        let seen = starting(current, connected, target(second, connected));
        let desired = recent.decide(&seen, &rules, at(second)).desired;
        if desired != current {
            story.created += (desired - current).max(0);
            story.deleted += (current - desired).max(0);
            born.resize(usize::try_from(desired).unwrap(), second);
            rules.cool_down_until = Some(seconds(wall(second) + COOL_DOWN));
        }
        story.workers = desired;
    }
    story
}

/// The scheduler wants 20 for a moment, and then as many as are connected.
#[test]
fn a_target_that_follows_slow_workers_makes_each_worker_once_and_deletes_none() {
    let follows = |second, connected: i64| if second < 5 { 20 } else { connected.max(1) };
    assert_eq!(tell(&rules(0, 50), follows), Story { created: 20, deleted: 0, workers: 20 });
    let doubles = |_, connected: i64| (2 * connected).clamp(1, 20);
    assert_eq!(tell(&rules(0, 50), doubles), Story { created: 20, deleted: 0, workers: 20 });
    let wavers = |second, connected: i64| if second % 30 < 15 { 20 } else { connected };
    assert_eq!(tell(&rules(0, 50), wavers), Story { created: 20, deleted: 0, workers: 20 });
}

// --- Windows ---

fn windows(up: i64, down: i64) -> Rules {
    Rules { up: SignedDuration::from_secs(up), down: SignedDuration::from_secs(down), ..rules(0, 20) }
}

/// Returns the decisions if the scheduler asks for `targets`, one every 5 s, while the group stays at 4.
fn decided(rules: &Rules, targets: &[i64]) -> Vec<i64> {
    let mut recent = RecentTargets::default();
    let tick = |(second, target): (i64, &i64)| recent.decide(&connected(4, *target), rules, at(second)).desired;
    (0..).step_by(5).zip(targets).map(tick).collect()
}

#[test]
fn more_workers_are_made_when_they_were_asked_for_all_the_window_long() {
    assert_eq!(decided(&windows(15, 0), &[9, 8, 9, 9]), [4, 4, 4, 8]);
    assert_eq!(decided(&windows(15, 0), &[9, 4, 9, 9, 9, 9]), [4, 4, 4, 4, 9, 9]);
    assert_eq!(decided(&windows(15, 0), &[0])[0], 3, "the other direction has no window");
}

#[test]
fn workers_are_removed_when_fewer_were_asked_for_all_the_window_long() {
    assert_eq!(decided(&windows(0, 15), &[3, 3, 3, 3]), [4, 4, 4, 3]);
    assert_eq!(decided(&windows(0, 15), &[3, 4, 3, 3, 3, 3]), [4, 4, 4, 4, 3, 3]);
    assert_eq!(decided(&windows(0, 15), &[9])[0], 9, "the other direction has no window");
}

/// Otherwise a scheduler that comes back after an hour would be believed at once.
#[test]
fn a_window_restarts_after_a_time_without_answers() {
    let (mut recent, rules) = (RecentTargets::default(), windows(15, 15));
    for second in [0, 5, 10, 15] {
        recent.decide(&connected(4, 9), &rules, at(second));
    }
    assert_eq!(recent.decide(&connected(4, 9), &rules, at(20)).desired, 9);
    assert_eq!(recent.decide(&connected(4, 9), &rules, at(100)).desired, 4);
    assert_eq!(recent.decide(&connected(4, 9), &rules, at(105)).why, Why::MoreNotLongEnough);
    assert_eq!(recent.decide(&connected(4, 3), &rules, at(110)).why, Why::FewerNotLongEnough);
    assert_eq!(recent.wanted.len(), 4, "and what is older than the window is forgotten");
}

#[test]
fn windows_do_not_hold_up_minimum_and_maximum() {
    let bounds = |minimum, maximum| Rules { minimum, maximum, ..windows(600, 600) };
    assert_eq!(first(&connected(4, 4), &bounds(6, 9)).desired, 6);
    assert_eq!(first(&connected(4, 4), &bounds(0, 2)).desired, 3);
}

// --- Clocks that are changed ---

#[test]
fn a_group_keeps_growing_when_the_clock_is_set_back() {
    let mut recent = RecentTargets::default();
    let mut decide = |target, second| {
        let until = Some(seconds(wall(10) + COOL_DOWN));
        let rules = Rules { cool_down_until: until, ..rules(0, 20) };
        let back = if second > 10 { 3600 } else { 0 };
        let now = Moment { wall: wall(second - back), ..at(second) };
        recent.decide(&connected(2, target), &rules, now)
    };
    assert_eq!(decide(2, 5).why, Why::Enough);
    assert_eq!(decide(9, 10).why, Why::CoolDown);
    assert_eq!(decide(9, 20).why, Why::CoolDown);
    assert_eq!(decide(9, 25), Decision { desired: 9, why: Why::More }, "15 s after the last change");
}

// --- Invalid numbers ---

/// A scheduler may answer anything, and so may clients that can write groups.
#[test]
fn the_largest_numbers_lead_to_the_maximum() {
    let most = ScalingInput { elsewhere: i64::MIN, per_worker: Some(i64::MAX), ..connected(4, i64::MAX) };
    assert_eq!(first(&most, &rules(0, 10)).desired, 3, "one worker is as good as all of them");
    assert_eq!(first(&connected(4, i64::MAX), &rules(0, 2_147_483_647)).desired, 2_147_483_647);
    assert_eq!(first(&connected(i64::MAX, 0), &rules(0, 10)).why, Why::Fewer);
}

// --- Failures ---

#[test]
fn only_failures_in_a_row_are_reported() {
    let mut recent = RecentTargets::default();
    assert!(!recent.failed());
    recent.decide(&connected(1, 1), &rules(0, 1), at(0));
    assert!(!recent.failed());
    assert!(recent.failed());
    assert!(recent.failed());
}
