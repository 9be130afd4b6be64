//! Tests of the decisions in an election.

use serde_json::json;

use super::*;

const ME: &str = "operator-a_1";
const OTHER: &str = "operator-b_2";
const TIMING: Timing = Timing { seconds: 15 };

fn mk_lease(holder: &str, renewed: &str) -> Lease {
    let spec = json!({
        "holderIdentity": holder,
        "leaseDurationSeconds": 15,
        "acquireTime": "2026-01-01T00:00:00.000000Z",
        "renewTime": renewed,
        "leaseTransitions": 3,
    });
    serde_json::from_value(json!({"metadata": {"name": "dask-operator"}, "spec": spec})).unwrap()
}

/// Returns the time of a second in the first minute of the year.
fn at(second: u32) -> String {
    format!("2026-01-01T00:00:{second:02}.000000Z")
}

fn observed_lease(holder: &str, start: Instant) -> Observed {
    let mut observed = Observed::new(start);
    observed.record_object(Some(mk_lease(holder, &at(0))), start);
    observed
}

fn leading(start: Instant) -> Observed {
    Observed { renewed: Some(start), ..observed_lease(ME, start) }
}

fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

#[test]
fn a_standby_claims_what_nobody_holds_and_waits_out_what_somebody_does() {
    let start = Instant::now();
    let mut deleted = observed_lease(OTHER, start);
    deleted.record_object(None, start + seconds(5));
    let mut short = observed_lease(OTHER, start);
    short.record.lease_duration_seconds = Some(3);
    let mut without_duration = observed_lease(OTHER, start);
    without_duration.record.lease_duration_seconds = None;
    let table = [
        ("there never was one", Observed::new(start), 0, Decision::Claim),
        ("released", observed_lease("", start), 0, Decision::Claim),
        ("held", observed_lease(OTHER, start), 0, Decision::Wait(start + seconds(15))),
        ("almost run out", observed_lease(OTHER, start), 14, Decision::Wait(start + seconds(15))),
        ("run out", observed_lease(OTHER, start), 15, Decision::Claim),
        ("deleted under its holder", deleted.clone(), 5, Decision::Wait(start + seconds(15))),
        ("deleted, and the holder did not come back", deleted, 15, Decision::Claim),
        ("held by one with other flags", short, 3, Decision::Claim),
        ("without a duration", without_duration, 0, Decision::Wait(start + seconds(15))),
        ("my own write, whose answer was lost", observed_lease(ME, start), 0, Decision::Claim),
        (
            "mine before a restart, which is another's",
            observed_lease("operator-a_0", start),
            0,
            Decision::Wait(start + seconds(15)),
        ),
    ];
    for (name, observed, second, expected) in table {
        assert_eq!(decide(start + seconds(second), &observed, ME, TIMING), expected, "{name}");
    }
}

#[test]
fn a_leader_renews_in_time_or_stops() {
    let start = Instant::now();
    let mut deleted = leading(start);
    deleted.record_object(None, start + seconds(1));
    let stolen = Observed { renewed: Some(start), ..observed_lease(OTHER, start) };
    let emptied = Observed { renewed: Some(start), ..observed_lease("", start) };
    let table = [
        ("just renewed", leading(start), 0, Decision::Wait(start + seconds(5))),
        ("to be renewed", leading(start), 5, Decision::Claim),
        ("still to be renewed", leading(start), 9, Decision::Claim),
        ("not renewed", leading(start), 10, Decision::Stop(Loss::NotRenewed)),
        ("suspended for long", leading(start), 3600, Decision::Stop(Loss::NotRenewed)),
        ("deleted", deleted.clone(), 1, Decision::Claim),
        ("deleted, and not made again", deleted, 10, Decision::Stop(Loss::NotRenewed)),
        ("stolen", stolen, 0, Decision::Stop(Loss::Taken(OTHER.to_owned()))),
        ("emptied", emptied, 0, Decision::Stop(Loss::Taken(String::new()))),
    ];
    for (name, observed, second, expected) in table {
        assert_eq!(decide(start + seconds(second), &observed, ME, TIMING), expected, "{name}");
    }
}

/// A standby counts from when it saw the last renewal, a leader from before it sent that renewal.
#[test]
fn a_leader_has_stopped_a_third_of_the_lease_before_a_standby_can_take_over() {
    for lease in [2, 3, 15, 3600] {
        let timing = Timing::new(lease);
        let start = Instant::now();
        let (leader, mut standby) =
            (Observed { renewed: Some(start), ..observed_lease(ME, start) }, Observed::new(start));
        let mut lease = mk_lease(ME, &at(0));
        lease.spec.as_mut().unwrap().lease_duration_seconds = Some(i32::from(timing.seconds));
        standby.record_object(Some(lease), start);
        let moments = (0..=60).map(|step| start + timing.lease() * step / 60);
        let stops = moments.clone().find(|now| matches!(decide(*now, &leader, ME, timing), Decision::Stop(_))).unwrap();
        let takes = moments.clone().find(|now| decide(*now, &standby, OTHER, timing) == Decision::Claim).unwrap();
        assert!(takes - stops >= timing.lease() / 4, "{timing:?}");
    }
}

#[test]
fn a_renewal_whose_answer_was_lost_counts_from_when_it_was_begun() {
    let start = Instant::now();
    let now: Timestamp = "2026-01-01T00:00:05.123456789Z".parse().unwrap();
    let mut leader = leading(start);
    let record = claimed(&leader.record, ME, TIMING, now);
    leader.unconfirmed.push(UnconfirmedWrite { record: record.clone(), begun: start + seconds(5) });
    assert!(!leader.confirm(&mk_lease(ME, &at(0))), "the watch reports an older one");
    // The record as the API server returns it.
    let arrived = json!({"spec": serde_json::to_value(record).unwrap()});
    let arrived: Lease = serde_json::from_value(serde_json::from_str(&arrived.to_string()).unwrap()).unwrap();
    assert!(leader.confirm(&arrived));
    leader.record_object(Some(arrived.clone()), start + seconds(9));
    assert_eq!(decide(start + seconds(9), &leader, ME, TIMING), Decision::Wait(start + seconds(10)));
    assert_eq!(decide(start + seconds(15), &leader, ME, TIMING), Decision::Stop(Loss::NotRenewed));
    assert!(!leader.confirm(&arrived), "it does not count again");
}

#[test]
fn clocks_that_are_wrong_or_step_decide_nothing() {
    for written in ["1970-01-01T00:00:00.000000Z", "2999-01-01T00:00:00.000000Z"] {
        let start = Instant::now();
        let mut observed = Observed::new(start);
        observed.record_object(Some(mk_lease(OTHER, written)), start);
        assert_eq!(decide(start, &observed, ME, TIMING), Decision::Wait(start + seconds(15)), "{written}");
        assert_eq!(decide(start + seconds(15), &observed, ME, TIMING), Decision::Claim, "{written}");
    }
    // The holder's clock is set back between two renewals.
    let start = Instant::now();
    let mut observed = Observed::new(start);
    observed.record_object(Some(mk_lease(OTHER, &at(30))), start);
    observed.record_object(Some(mk_lease(OTHER, &at(10))), start + seconds(14));
    assert_eq!(decide(start + seconds(15), &observed, ME, TIMING), Decision::Wait(start + seconds(29)));
}

#[test]
fn seeing_the_same_record_again_prolongs_nothing() {
    let start = Instant::now();
    let mut observed = observed_lease(OTHER, start);
    let mut annotated = mk_lease(OTHER, &at(0));
    annotated.metadata.resource_version = Some("2".to_owned());
    observed.record_object(Some(annotated), start + seconds(10));
    assert_eq!(decide(start + seconds(15), &observed, ME, TIMING), Decision::Claim);
    assert_eq!(observed.object.unwrap().metadata.resource_version.unwrap(), "2", "what is replaced is the newest");
}

#[test]
fn the_lease_records_the_leader_its_start_and_the_number_of_changes() {
    let now: Timestamp = "2026-02-02T02:02:02Z".parse().unwrap();
    let table = [
        ("first", LeaseSpec::default(), json!({"holder": ME, "acquired": "now", "transitions": 0})),
        ("renewed", mk_lease(ME, &at(0)).spec.unwrap(), json!({"holder": ME, "acquired": "before", "transitions": 3})),
        (
            "taken over",
            mk_lease(OTHER, &at(0)).spec.unwrap(),
            json!({"holder": ME, "acquired": "now", "transitions": 4}),
        ),
        (
            "after a release",
            mk_lease("", &at(0)).spec.unwrap(),
            json!({"holder": ME, "acquired": "now", "transitions": 4}),
        ),
    ];
    for (name, record, expected) in table {
        let claimed = claimed(&record, ME, TIMING, now);
        let acquired = if claimed.acquire_time == Some(MicroTime(now)) { "now" } else { "before" };
        let found = json!({
            "holder": claimed.holder_identity,
            "acquired": acquired,
            "transitions": claimed.lease_transitions,
        });
        assert_eq!(found, expected, "{name}");
        assert_eq!((claimed.renew_time, claimed.lease_duration_seconds), (Some(MicroTime(now)), Some(15)), "{name}");
    }
}

#[test]
fn a_release_leaves_the_count_and_a_holder_that_is_nobody() {
    let now: Timestamp = "2026-02-02T02:02:02Z".parse().unwrap();
    let released = serde_json::to_value(released(&mk_lease(ME, &at(0)).spec.unwrap(), now)).unwrap();
    let time = "2026-02-02T02:02:02.000000Z";
    let expected = json!({
        "holderIdentity": "",
        "leaseDurationSeconds": 1,
        "acquireTime": time,
        "renewTime": time,
        "leaseTransitions": 3,
    });
    assert_eq!(released, expected);
}

/// Returns the metadata of a version of the Lease that cannot be read.
fn mk_unreadable(version: u32) -> ObjectMeta {
    ObjectMeta { resource_version: Some(version.to_string()), ..ObjectMeta::default() }
}

fn broken(mut observed: Observed, second: u64, start: Instant) -> Observed {
    observed.record_unreadable(mk_unreadable(7), "InvalidField", start + seconds(second));
    observed
}

#[test]
fn a_standby_takes_what_cannot_be_read_only_when_no_version_has_come_for_a_whole_lease() {
    let start = Instant::now();
    let wait = |second| Decision::Wait(start + seconds(second));
    let mut renewed = broken(observed_lease(OTHER, start), 10, start);
    renewed.record_unreadable(mk_unreadable(8), "InvalidField", start + seconds(14));
    let mut seen_twice = broken(observed_lease(OTHER, start), 10, start);
    seen_twice.record_unreadable(mk_unreadable(7), "InvalidField", start + seconds(14));
    let mut released = observed_lease("", start);
    released.record.lease_duration_seconds = Some(1);
    let mut long = observed_lease(OTHER, start);
    long.record.lease_duration_seconds = Some(60);
    let mut repaired = broken(Observed::new(start), 0, start);
    repaired.record_object(Some(mk_lease(OTHER, &at(0))), start + seconds(5));
    let table = [
        ("its holder is not known", broken(Observed::new(start), 0, start), 0, wait(15)),
        ("it has run out", broken(Observed::new(start), 0, start), 15, Decision::Claim),
        ("the holder may have renewed", broken(observed_lease(OTHER, start), 10, start), 15, wait(25)),
        ("the holder renews", renewed, 25, wait(29)),
        ("nothing has changed", seen_twice, 24, wait(25)),
        ("somebody may have taken what was released", broken(released, 0, start), 1, wait(15)),
        ("held by one with other flags", broken(long, 0, start), 15, wait(60)),
        ("somebody may have taken what was mine", broken(observed_lease(ME, start), 0, start), 0, wait(15)),
        ("it can be read again", repaired, 15, wait(20)),
    ];
    for (name, observed, second, expected) in table {
        assert_eq!(decide(start + seconds(second), &observed, ME, TIMING), expected, "{name}");
    }
}

#[test]
fn a_leader_replaces_what_cannot_be_read_and_stops_at_its_deadline() {
    let start = Instant::now();
    let observed = broken(leading(start), 1, start);
    let table = [(1, Decision::Claim), (9, Decision::Claim), (10, Decision::Stop(Loss::NotRenewed))];
    for (second, expected) in table {
        assert_eq!(decide(start + seconds(second), &observed, ME, TIMING), expected, "{second}");
    }
}
