//! Tests of idle periods and their end.

use super::*;

const BUSY: Probe = Probe::Answered(Idleness::Busy);
const COUNTED: Probe = Probe::Answered(Idleness::Counted);

/// Returns the probe of a scheduler that has been idle since this second after the tests' epoch, by its own clock.
#[expect(clippy::cast_precision_loss, reason = "small numbers")]
fn since(second: i64) -> Probe {
    Probe::Answered(Idleness::Since((EPOCH + second) as f64))
}

const EPOCH: i64 = 1_000_000;

fn wall(second: i64) -> Timestamp {
    Timestamp::from_second(EPOCH + second).unwrap()
}

fn at(second: i64) -> Moment {
    Moment { wall: wall(second), steady: SignedDuration::from_secs(second) }
}

/// A controller that has just started, and a cluster whose scheduler has existed for long.
struct Controller {
    watched: IdlePeriod,
    rules: Rules,
    not_before: Timestamp,
}

impl Controller {
    fn new(timeout: i64) -> Self {
        let rules = Rules { timeout: SignedDuration::from_secs(timeout), handled: None };
        Self { watched: IdlePeriod::default(), rules, not_before: wall(-999_999) }
    }

    fn sees(&mut self, probe: Probe, second: i64) -> Decision {
        self.watched.take_in(&probe, self.not_before, &self.rules, at(second)).decision
    }

    fn acts(&mut self, probe: Probe, second: i64) -> bool {
        matches!(self.sees(probe, second), Decision::Act { .. })
    }
}

const fn wait(seconds: u64) -> Decision {
    Decision::Wait(Duration::from_secs(seconds))
}

#[test]
fn a_cluster_that_becomes_idle_is_due_when_the_time_out_is_over() {
    let mut controller = Controller::new(12);
    assert_eq!(controller.sees(BUSY, 0), wait(5));
    assert_eq!(controller.sees(since(2), 5), wait(5));
    assert_eq!(controller.sees(since(2), 10), wait(5));
    assert_eq!(controller.sees(since(2), 15), wait(2), "not a whole period too late");
    assert_eq!(controller.sees(since(2), 17), Decision::Act { period: "1000002".to_owned() });
}

#[test]
fn a_busy_cluster_is_never_due() {
    let mut controller = Controller::new(1);
    for second in (0..600).step_by(5) {
        let verdict = controller.watched.take_in(&BUSY, wall(0), &controller.rules, at(second));
        assert_eq!(verdict, IdleDecision { decision: wait(5), unreachable: false });
    }
}

#[test]
fn work_in_between_begins_a_new_time_out() {
    let mut controller = Controller::new(10);
    controller.sees(BUSY, 0);
    assert!(!controller.acts(since(5), 5));
    assert!(!controller.acts(since(5), 10));
    // No probe observed the work itself, but the scheduler reports the time.
    assert!(!controller.acts(since(12), 15));
    assert!(!controller.acts(since(12), 20));
    assert!(controller.acts(since(12), 25));
}

#[test]
fn one_probe_is_not_enough() {
    let mut controller = Controller::new(5);
    assert_eq!(controller.sees(since(-1000), 0), wait(5));
    assert!(controller.acts(since(-1000), 5));
}

#[test]
fn a_missed_probe_restarts_the_count_of_probes_but_not_the_time_out() {
    for missed in [Probe::Failed, Probe::NotReady] {
        let mut controller = Controller::new(10);
        controller.sees(BUSY, 0);
        controller.sees(since(1), 5);
        controller.sees(since(1), 10);
        assert_eq!(controller.sees(missed, 15), wait(5));
        assert!(!controller.acts(since(1), 20), "{missed:?}");
        assert!(controller.acts(since(1), 25), "{missed:?}");
    }
}

// --- After a restart of the controller ---

#[test]
fn a_new_controller_counts_from_what_the_scheduler_says() {
    let mut controller = Controller::new(60);
    assert_eq!(controller.sees(since(-50), 0), wait(5));
    assert_eq!(controller.sees(since(-50), 5), wait(5));
    assert!(controller.acts(since(-50), 10));
}

/// With a clock that is an hour behind, a new cluster would be deleted at once.
#[test]
fn a_scheduler_was_not_idle_before_it_was_there() {
    let mut controller = Controller::new(60);
    controller.not_before = wall(-5);
    assert!(!controller.acts(since(-3600), 0));
    assert!(!controller.acts(since(-3600), 50));
    assert!(controller.acts(since(-3600), 55));
}

// --- Clocks that differ ---

#[test]
fn a_scheduler_whose_clock_is_ahead_is_idle_since_it_was_first_seen_so() {
    let mut controller = Controller::new(60);
    assert!(!controller.acts(since(3600), 0));
    assert!(!controller.acts(since(3600), 55));
    assert!(controller.acts(since(3600), 60), "and not an hour later");
}

#[test]
fn where_the_work_was_seen_the_schedulers_clock_does_not_count() {
    for skew in [-3600, 3600] {
        let mut controller = Controller::new(60);
        controller.sees(BUSY, 0);
        assert!(!controller.acts(since(5 + skew), 5), "{skew}");
        assert!(!controller.acts(since(5 + skew), 60), "{skew}");
        assert!(controller.acts(since(5 + skew), 65), "{skew}");
    }
}

/// If the wall clock counted, the cluster would be deleted two probes after the change.
#[test]
fn a_clock_that_is_set_does_not_end_a_cluster_early_or_late() {
    for step in [-7200, 7200] {
        let mut controller = Controller::new(60);
        let mut acts = |second: i64| {
            let now = Moment { wall: wall(second + if second > 5 { step } else { 0 }), ..at(second) };
            let verdict = controller.watched.take_in(&since(2), wall(-999_999), &controller.rules, now);
            matches!(verdict.decision, Decision::Act { .. })
        };
        assert!((0..60).step_by(5).all(|second| !acts(second)), "{step}");
        assert!(acts(60), "{step}");
    }
}

// --- Old schedulers ---

#[test]
fn an_old_scheduler_is_idle_since_it_was_first_seen_so() {
    let mut controller = Controller::new(10);
    assert!(!controller.acts(COUNTED, 0));
    assert!(!controller.acts(COUNTED, 5));
    assert!(controller.acts(COUNTED, 10));
    let mut controller = Controller::new(10);
    controller.sees(COUNTED, 0);
    controller.sees(COUNTED, 5);
    controller.sees(BUSY, 7);
    assert!(!controller.acts(COUNTED, 10));
    assert!(!controller.acts(COUNTED, 15));
    assert!(controller.acts(COUNTED, 20));
}

/// It is unknown what happened meanwhile.
#[test]
fn an_old_scheduler_that_was_not_asked_starts_a_new_idle_period() {
    let mut controller = Controller::new(10);
    controller.sees(COUNTED, 0);
    controller.sees(Probe::Failed, 5);
    assert!(!controller.acts(COUNTED, 10));
    assert!(controller.acts(COUNTED, 20));
}

/// A new scheduler answers `Counted` if it has done something since it was last asked. A scheduler that is given short
/// tasks, each done between two probes, is in use.
#[test]
fn a_new_scheduler_that_cannot_say_since_when_has_worked() {
    let mut controller = Controller::new(10);
    controller.sees(since(0), 0);
    for second in (5..100).step_by(5) {
        assert!(!controller.acts(COUNTED, second), "{second}");
    }
    assert!(!controller.acts(since(99), 100));
    assert!(!controller.acts(since(99), 105));
    assert!(controller.acts(since(99), 110));
}

// --- Once per idle period ---

#[test]
fn what_was_done_in_an_idle_period_is_not_done_again_in_it() {
    let mut controller = Controller::new(5);
    controller.sees(since(0), 0);
    let Decision::Act { period } = controller.sees(since(0), 5) else { panic!("it is due") };
    controller.rules.handled = Some(period);
    assert!(!controller.acts(since(0), 10));
    assert!(!controller.acts(since(0), 999));
    controller.sees(BUSY, 1000);
    assert!(!controller.acts(since(1001), 1005));
    assert!(controller.acts(since(1001), 1010), "the next period");
}

#[test]
fn the_same_idle_period_has_the_same_name_after_a_restart() {
    let mut before = Controller::new(5);
    before.sees(BUSY, 0);
    before.sees(since(1), 5);
    let name = before.sees(since(1), 10);
    let mut after = Controller::new(5);
    after.sees(since(1), 15);
    assert_eq!(after.sees(since(1), 20), name);
}

// --- Failures ---

#[test]
fn a_failure_is_reported_if_it_is_the_second_in_a_row() {
    let mut controller = Controller::new(5);
    let mut told = |probe: Probe| controller.watched.take_in(&probe, wall(0), &controller.rules, at(0)).unreachable;
    let said = [Probe::Failed, BUSY, Probe::Failed, Probe::NotReady, Probe::Failed, Probe::Failed].map(&mut told);
    assert_eq!(said, [false, false, false, false, false, true]);
}

#[test]
fn times_that_are_none_count_from_now() {
    for odd in [f64::NAN, f64::INFINITY, 1e300] {
        let mut controller = Controller::new(10);
        assert!(!controller.acts(Probe::Answered(Idleness::Since(odd)), 0));
        assert!(!controller.acts(Probe::Answered(Idleness::Since(odd)), 5));
        assert!(controller.acts(Probe::Answered(Idleness::Since(odd)), 10), "{odd}");
    }
}
