//! Tests of the state machine of jobs.

use jiff::SignedDuration;

use super::*;
use crate::job::{
    children::{Cluster, ObservedExtra, Scaled, ScaledKind},
    extras::Extra,
    retention::{Retention, Retentions},
    trouble::{Health, Trouble},
};

const NOW: i64 = 1000;

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(second).unwrap()
}

fn time(second: i64) -> Time {
    Time(at(second))
}

fn terms() -> Terms {
    Terms { name: "demo".to_owned(), runner_name: "demo-runner".to_owned(), ..Terms::default() }
}

fn retrying(limit: i64) -> Terms {
    Terms { backoff_limit: Some(limit), ..terms() }
}

fn keeping(retention: Retention) -> Terms {
    Terms { retention: Retentions { successful: retention, failed: retention }, ..terms() }
}

fn suspending() -> Terms {
    Terms { suspend: true, ..terms() }
}

/// Returns a status without the names of children.
fn bare(job_status: &str) -> DaskJobStatus {
    DaskJobStatus { job_status: Some(job_status.to_owned()), ..DaskJobStatus::default() }
}

fn created(job_status: &str) -> DaskJobStatus {
    DaskJobStatus {
        cluster_name: Some("demo".to_owned()),
        job_runner_pod_name: Some("demo-runner".to_owned()),
        ..bare(job_status)
    }
}

fn running() -> DaskJobStatus {
    DaskJobStatus { start_time: Some(time(900)), ..created(RUNNING) }
}

fn ended(job_status: &str, end: i64) -> DaskJobStatus {
    DaskJobStatus { job_status: Some(job_status.to_owned()), end_time: Some(time(end)), ..running() }
}

fn retried(failed: i64) -> DaskJobStatus {
    DaskJobStatus { job_runner_pod_name: None, failed_runners: Some(failed), ..running() }
}

fn cluster_of(is_going: bool, is_broken: bool) -> Lookup<Cluster> {
    Lookup::Ours(Cluster { uid: "c".to_owned(), is_going, is_broken, health: Health::Unknown })
}

fn cluster() -> Lookup<Cluster> {
    cluster_of(false, false)
}

fn going_cluster() -> Lookup<Cluster> {
    cluster_of(true, false)
}

fn broken_cluster() -> Lookup<Cluster> {
    cluster_of(false, true)
}

/// Returns a runner in `state` whose pod still has running sidecars.
fn runner(state: State) -> Runner {
    Runner {
        uid: "r".to_owned(),
        predecessors: 0,
        created: Some(at(890)),
        gone_by: None,
        started: (state != State::Waiting).then(|| at(900)),
        state,
        restarts: 0,
        over: matches!(state, State::Succeeded(_) | State::Failed(_)),
        ended: false,
        health: Health::Unknown,
    }
}

fn world(cluster: Lookup<Cluster>, runner: Runner) -> ObservedChildren {
    ObservedChildren { cluster, runner: Lookup::Ours(runner), ..ObservedChildren::default() }
}

fn with(state: State) -> ObservedChildren {
    world(cluster(), runner(state))
}

fn after(predecessors: i64, state: State) -> ObservedChildren {
    world(cluster(), Runner { predecessors, ..runner(state) })
}

fn going(state: State, by: i64) -> ObservedChildren {
    world(cluster(), Runner { gone_by: Some(at(by)), ..runner(state) })
}

fn restarted(restarts: i64) -> ObservedChildren {
    world(cluster(), Runner { restarts, ..runner(State::Running) })
}

fn without_runner() -> ObservedChildren {
    ObservedChildren { cluster: cluster(), runner: Lookup::Nothing, ..ObservedChildren::default() }
}

fn taken() -> Rejection {
    Rejection::new("NameTaken", "")
}

fn decide(recorded: &DaskJobStatus, terms: &Terms, world: &ObservedChildren) -> Next {
    next(recorded, terms, world, at(NOW))
}

/// Returns what `next` does, in words.
fn actions(next: &Next) -> Vec<&str> {
    let all = [
        (next.make, "make"),
        (!next.make_extras.is_empty(), "make extras"),
        (!next.remove_workers.is_empty(), "remove workers"),
        (next.delete_cluster.is_some(), "delete cluster"),
        (next.delete_runner.is_some(), "delete runner"),
        (next.delete_job, "delete job"),
    ];
    all.into_iter().filter(|(does, _)| *does).map(|(_, action)| action).collect()
}

#[track_caller]
fn assert_fails(recorded: &DaskJobStatus, terms: &Terms, world: &ObservedChildren, reason: &str, expected: &[&str]) {
    let next = decide(recorded, terms, world);
    assert_eq!(next.status.job_status.as_deref(), Some(FAILED));
    assert_eq!(next.status.end_time, Some(time(NOW)));
    assert_eq!(next.reported.as_ref().map(|why| why.reason), Some(reason));
    assert_eq!(actions(&next), expected);
}

#[track_caller]
fn assert_idle(recorded: &DaskJobStatus, terms: &Terms, world: &ObservedChildren) -> Next {
    let next = decide(recorded, terms, world);
    assert!(!next.changes(recorded) && next.blocked.is_none(), "{next:?}");
    next
}

// --- From creation to running ---

#[test]
fn a_new_job_is_created_first_and_then_gets_its_children() {
    let next = decide(&DaskJobStatus::default(), &terms(), &ObservedChildren::default());
    assert_eq!((&next.status, actions(&next)), (&bare(CREATED), vec!["make"]));
    assert_eq!(made(&next.status, &terms()), created(CLUSTER_CREATED));
}

/// This happens after a crash between the two writes, or while one of them fails.
#[test]
fn children_are_made_until_both_are_recorded() {
    let half = ObservedChildren { cluster: cluster(), runner: Lookup::Nothing, ..ObservedChildren::default() };
    for world in [ObservedChildren::default(), half, with(State::Waiting), with(State::Running)] {
        let next = decide(&bare(CREATED), &terms(), &world);
        assert_eq!((&next.status, actions(&next)), (&bare(CREATED), vec!["make"]), "{world:?}");
    }
}

#[test]
fn a_job_runs_when_its_runner_does() {
    assert_idle(&created(CLUSTER_CREATED), &terms(), &with(State::Waiting));
    let next = decide(&created(CLUSTER_CREATED), &terms(), &with(State::Running));
    assert_eq!((next.status, next.make), (running(), false));
    assert_idle(&running(), &terms(), &with(State::Running));
    // The first start counts, and a restarted runner that waits does not change the phase back.
    let later = world(cluster(), Runner { started: Some(at(950)), ..runner(State::Running) });
    assert_idle(&running(), &terms(), &later);
    assert_idle(&running(), &terms(), &with(State::Waiting));
}

#[test]
fn an_object_of_another_owner_blocks_the_job_with_a_reason() {
    let (foreign_cluster, foreign_runner) = (Lookup::Foreign(taken()), Lookup::Foreign(taken()));
    let table = [
        ObservedChildren { cluster: foreign_cluster, runner: Lookup::Nothing, ..ObservedChildren::default() },
        ObservedChildren { cluster: Lookup::Nothing, runner: foreign_runner, ..ObservedChildren::default() },
    ];
    for world in table {
        for recorded in [DaskJobStatus::default(), bare(CREATED)] {
            let next = decide(&recorded, &terms(), &world);
            assert_eq!((next.blocked, next.make, &next.status), (Some(taken()), false, &bare(CREATED)));
        }
    }
}

#[test]
fn what_is_going_is_waited_for() {
    assert_idle(
        &bare(CREATED),
        &terms(),
        &ObservedChildren { cluster: going_cluster(), runner: Lookup::Nothing, ..ObservedChildren::default() },
    );
    assert_idle(&bare(CREATED), &terms(), &going(State::Succeeded(None), NOW));
    assert_idle(&bare(CREATED), &terms(), &going(State::Running, NOW));
}

// --- Ends ---

#[test]
fn a_runner_that_succeeds_ends_the_job_whatever_was_recorded() {
    // dask-kubernetes records no start if it did not see the runner run, and hangs if the cluster is gone.
    for recorded in [DaskJobStatus::default(), bare(CREATED), created(CLUSTER_CREATED), running()] {
        let next = decide(&recorded, &terms(), &with(State::Succeeded(Some(at(960)))));
        assert_eq!((&next.status, actions(&next)), (&ended(SUCCESSFUL, 960), vec!["delete cluster"]));
        assert!(next.reported.is_none());
    }
    for cluster in [Lookup::Nothing, going_cluster()] {
        let next = decide(&running(), &terms(), &world(cluster, runner(State::Succeeded(None))));
        assert_eq!((&next.status, actions(&next)), (&ended(SUCCESSFUL, NOW), vec![]));
    }
    let next = decide(&running(), &terms(), &world(broken_cluster(), runner(State::Succeeded(None))));
    assert_eq!(next.status, ended(SUCCESSFUL, NOW));
}

#[test]
fn a_runner_that_fails_ends_the_job() {
    let next = decide(&running(), &terms(), &with(State::Failed(Some(at(970)))));
    assert_eq!((&next.status, actions(&next)), (&ended(FAILED, 970), vec!["delete cluster"]));
    assert_eq!(next.reported.unwrap().reason, "RunnerFailed");
}

#[test]
fn a_runner_that_is_lost_fails_the_job() {
    for recorded in [created(CLUSTER_CREATED), running()] {
        for runner in [Lookup::Nothing, Lookup::Foreign(taken())] {
            let world = ObservedChildren { cluster: cluster(), runner, ..ObservedChildren::default() };
            assert_fails(&recorded, &terms(), &world, "RunnerLost", &["delete cluster"]);
        }
    }
}

/// It may succeed while it is being deleted, but if its node is gone, its end is never reported.
#[test]
fn a_runner_that_is_being_deleted_is_lost_when_that_takes_too_long() {
    let next = assert_idle(&running(), &terms(), &going(State::Running, NOW));
    assert_eq!(next.wake, Some(at(NOW + 60)));
    assert_idle(&running(), &terms(), &going(State::Running, NOW - 59));
    assert_fails(&running(), &terms(), &going(State::Running, NOW - 60), "RunnerLost", &["delete cluster"]);
    let next = decide(&running(), &terms(), &going(State::Succeeded(None), NOW));
    assert_eq!(next.status, ended(SUCCESSFUL, NOW));
}

/// A runner without a scheduler waits forever.
#[test]
fn a_cluster_that_is_lost_or_broken_fails_the_job_and_ends_its_runner() {
    let both = ["delete runner"];
    for cluster in [Lookup::Nothing, going_cluster(), Lookup::Foreign(taken())] {
        let world = world(cluster, runner(State::Running));
        assert_fails(&running(), &retrying(5), &world, "ClusterLost", &both);
    }
    for recorded in [bare(CREATED), running()] {
        let world = world(broken_cluster(), runner(State::Running));
        assert_fails(&recorded, &terms(), &world, "ClusterFailed", &["delete cluster", "delete runner"]);
    }
}

#[test]
fn a_job_that_can_never_work_fails_at_once() {
    let invalid = Terms { invalid: Some(Rejection::new("InvalidName", "")), ..terms() };
    assert_fails(&DaskJobStatus::default(), &invalid, &ObservedChildren::default(), "InvalidName", &[]);
    let status = refused(&bare(CREATED), at(NOW));
    assert_eq!(status, DaskJobStatus { end_time: Some(time(NOW)), ..bare(FAILED) });
}

#[test]
fn a_finished_job_stays_so_and_nothing_is_made_for_it_again() {
    let strict = Terms { suspend: true, deadline: Some(SignedDuration::ZERO), ..retrying(9) };
    for outcome in [SUCCESSFUL, FAILED] {
        for terms in [terms(), strict.clone()] {
            for runner in [runner(State::Succeeded(None)), runner(State::Failed(None))] {
                assert_idle(&ended(outcome, 990), &terms, &world(going_cluster(), Runner { ended: true, ..runner }));
            }
            assert_idle(&ended(outcome, 990), &terms, &ObservedChildren::default());
        }
    }
}

#[test]
fn the_cluster_of_a_finished_job_is_deleted_until_it_is_gone() {
    let world = ObservedChildren { cluster: cluster(), runner: Lookup::Nothing, ..ObservedChildren::default() };
    let next = decide(&ended(SUCCESSFUL, 990), &terms(), &world);
    assert_eq!((&next.status, next.delete_cluster.as_deref()), (&ended(SUCCESSFUL, 990), Some("c")));
    assert_idle(
        &ended(SUCCESSFUL, 990),
        &terms(),
        &ObservedChildren { cluster: Lookup::Foreign(taken()), ..ObservedChildren::default() },
    );
}

#[test]
fn the_pod_of_a_runner_that_ended_is_kept_but_its_sidecars_do_not_go_on_for_ever() {
    let over = world(Lookup::Nothing, runner(State::Succeeded(None)));
    let next = assert_idle(&ended(SUCCESSFUL, NOW - 299), &terms(), &over);
    assert_eq!(next.wake, Some(at(NOW + 1)));
    assert_eq!(actions(&decide(&ended(SUCCESSFUL, NOW - 300), &terms(), &over)), ["delete runner"]);
    let next = assert_idle(
        &ended(SUCCESSFUL, 0),
        &terms(),
        &world(Lookup::Nothing, Runner { ended: true, ..runner(State::Succeeded(None)) }),
    );
    assert_eq!(next.wake, None);
    // For example a runner with policy `Always`: it would run once more, without a cluster.
    let goes_on = world(Lookup::Nothing, Runner { over: false, ..runner(State::Succeeded(None)) });
    assert_eq!(actions(&decide(&ended(SUCCESSFUL, NOW), &terms(), &goes_on)), ["delete runner"]);
}

// --- Time ---

#[test]
fn a_job_fails_at_its_deadline_and_not_before() {
    let limited = |seconds| Terms { deadline: Some(SignedDuration::from_secs(seconds)), ..retrying(5) };
    let next = assert_idle(&running(), &limited(101), &with(State::Running));
    assert_eq!(next.wake, Some(at(NOW + 1)));
    let both = ["delete cluster", "delete runner"];
    assert_fails(&running(), &limited(100), &with(State::Running), "DeadlineExceeded", &both);
    // The deadline of a runner that never started counts from its creation.
    let next = assert_idle(&created(CLUSTER_CREATED), &limited(111), &with(State::Waiting));
    assert_eq!(next.wake, Some(at(NOW + 1)));
    assert_fails(&created(CLUSTER_CREATED), &limited(110), &with(State::Waiting), "DeadlineExceeded", &both);
    assert_idle(&running(), &terms(), &with(State::Running));
}

#[test]
fn a_finished_job_is_deleted_when_its_time_is_over() {
    let ttl = |seconds| keeping(Retention { job: Some(SignedDuration::from_secs(seconds)), ..Retention::default() });
    let next = assert_idle(&ended(FAILED, 990), &ttl(11), &ObservedChildren::default());
    assert_eq!(next.wake, Some(at(NOW + 1)));
    assert_eq!(actions(&decide(&ended(FAILED, 990), &ttl(10), &ObservedChildren::default())), ["delete job"]);
    assert_eq!(actions(&decide(&ended(FAILED, NOW), &ttl(0), &ObservedChildren::default())), ["delete job"]);
    assert_idle(&running(), &ttl(0), &with(State::Running));
}

/// It counts from the job's creation, or from when it was resumed, until a runner has started.
#[test]
fn a_job_whose_runner_has_not_started_in_time_fails() {
    let limited =
        |seconds| Terms { created: Some(at(880)), start_deadline: Some(SignedDuration::from_secs(seconds)), ..terms() };
    let waits = with(State::Waiting);
    let next = assert_idle(&created(CLUSTER_CREATED), &limited(121), &waits);
    assert_eq!(next.wake, Some(at(NOW + 1)));
    let both = ["delete cluster", "delete runner"];
    assert_fails(&created(CLUSTER_CREATED), &limited(120), &waits, "StartDeadlineExceeded", &both);
    assert_fails(&bare(CREATED), &limited(120), &ObservedChildren::default(), "StartDeadlineExceeded", &[]);
    let resumed = DaskJobStatus { resume_time: Some(time(990)), ..created(CLUSTER_CREATED) };
    let next = assert_idle(&resumed, &limited(11), &waits);
    assert_eq!(next.wake, Some(at(NOW + 1)));
    assert_fails(&resumed, &limited(10), &waits, "StartDeadlineExceeded", &both);
    // A runner that has started counts, even if it was not observed while it ran or is replaced now.
    assert_idle(&running(), &limited(1), &waits);
    assert_eq!(decide(&created(CLUSTER_CREATED), &limited(1), &with(State::Running)).status, running());
    let replaced = decide(&retried(1), &Terms { backoff_limit: Some(1), ..limited(1) }, &without_runner());
    assert_eq!(actions(&replaced), ["make"]);
    // A suspended job waits for as long as somebody wants it to.
    assert_idle(&bare(SUSPENDED), &Terms { suspend: true, ..limited(1) }, &ObservedChildren::default());
}

#[test]
fn a_job_that_is_blocked_wakes_at_its_start_deadline() {
    let limited = Terms { created: Some(at(880)), start_deadline: Some(SignedDuration::from_secs(125)), ..terms() };
    let world = ObservedChildren { cluster: Lookup::Foreign(taken()), ..ObservedChildren::default() };
    let next = decide(&bare(CREATED), &limited, &world);
    assert_eq!((next.blocked, next.wake), (Some(taken()), Some(at(NOW + 5))));
}

#[test]
fn a_start_deadline_that_is_missed_says_what_was_wrong() {
    let health = Health::Bad(Trouble { reason: "QuotaExceeded".to_owned(), message: "no room".to_owned() });
    let limited = Terms { created: Some(at(0)), start_deadline: Some(SignedDuration::from_secs(1)), ..terms() };
    let in_trouble = Lookup::Ours(Cluster { uid: "c".to_owned(), is_going: false, is_broken: false, health });
    let next = decide(&created(CLUSTER_CREATED), &limited, &world(in_trouble, runner(State::Waiting)));
    assert!(next.reported.unwrap().message.ends_with(": QuotaExceeded: no room"));
}

#[test]
fn when_a_job_was_resumed_is_recorded_only_for_its_start_deadline() {
    let limited = Terms { start_deadline: Some(SignedDuration::from_secs(1)), ..terms() };
    let next = decide(&bare(SUSPENDED), &limited, &ObservedChildren::default());
    assert_eq!(next.status, DaskJobStatus { resume_time: Some(time(NOW)), ..bare(CREATED) });
    let resumed = DaskJobStatus { resume_time: Some(time(990)), ..running() };
    let next = decide(&resumed, &Terms { suspend: true, ..limited }, &with(State::Running));
    assert_eq!(next.status, bare(SUSPENDED));
    let next = decide(&bare(SUSPENDED), &terms(), &ObservedChildren::default());
    assert_eq!(next.status, bare(CREATED));
}

// --- What is kept ---

fn scaled() -> Vec<Scaled> {
    let scaled = |kind| Scaled { kind, name: "demo".to_owned(), uid: "s".to_owned() };
    vec![scaled(ScaledKind::Autoscaler), scaled(ScaledKind::WorkerGroup)]
}

/// Returns the retention after these seconds.
fn kept(workers: Option<i64>, cluster: Option<i64>, job: Option<i64>) -> Retention {
    let span = |seconds: Option<i64>| seconds.map(SignedDuration::from_secs);
    Retention { workers: span(workers), cluster: span(cluster), job: span(job) }
}

#[test]
fn workers_cluster_and_job_are_deleted_each_at_its_time() {
    let world = ObservedChildren { cluster: cluster(), scaled: scaled(), ..ObservedChildren::default() };
    let table = [
        ("nothing", kept(None, None, None), vec![], None),
        ("everything later", kept(Some(20), Some(30), Some(40)), vec![], Some(at(NOW + 10))),
        ("workers", kept(Some(10), Some(30), Some(40)), vec!["remove workers"], Some(at(NOW + 20))),
        ("workers at once", kept(Some(0), None, None), vec!["remove workers"], None),
        ("the cluster with its workers", kept(Some(5), Some(10), Some(40)), vec!["delete cluster"], Some(at(NOW + 30))),
        ("the job", kept(None, Some(10), Some(10)), vec!["delete cluster", "delete job"], None),
        ("the job, the cluster goes with it", kept(None, None, Some(10)), vec!["delete job"], None),
    ];
    for (what, retention, expected, wake) in table {
        for outcome in [SUCCESSFUL, FAILED] {
            let next = decide(&ended(outcome, 990), &keeping(retention), &world);
            assert_eq!(actions(&next), expected, "{what}");
            assert_eq!(next.wake.filter(|at| *at > self::at(NOW)), wake, "{what}");
        }
    }
    let both = Retentions { successful: kept(None, None, None), failed: kept(None, Some(0), None) };
    let terms = Terms { retention: both, ..terms() };
    assert_eq!(actions(&decide(&ended(SUCCESSFUL, 990), &terms, &world)), Vec::<&str>::new());
    assert_eq!(actions(&decide(&ended(FAILED, 990), &terms, &world)), ["delete cluster"]);
}

#[test]
fn a_kept_cluster_without_workers_is_left_alone() {
    let terms = keeping(kept(Some(0), None, None));
    assert_idle(&ended(FAILED, 990), &terms, &without_runner());
    let gone = ObservedChildren { cluster: going_cluster(), scaled: scaled(), ..ObservedChildren::default() };
    assert_idle(&ended(FAILED, 990), &terms, &gone);
}

/// The job has ended, so that nothing of it runs on, whatever is kept of its cluster.
#[test]
fn a_runner_that_continues_is_deleted_although_the_cluster_is_kept() {
    let next = decide(&running(), &keeping(kept(None, None, None)), &restarted(0));
    assert_eq!(actions(&next), Vec::<&str>::new());
    let terms = Terms { deadline: Some(SignedDuration::from_secs(1)), ..keeping(kept(None, None, None)) };
    assert_fails(&running(), &terms, &with(State::Running), "DeadlineExceeded", &["delete runner"]);
}

// --- What the spec adds to the cluster ---

fn with_extras(found: [Lookup<()>; 2], cluster: Lookup<Cluster>) -> ObservedChildren {
    let [group, autoscaler] = found;
    let group = ObservedExtra { extra: Extra::WorkerGroup("gpu".to_owned()), found: group };
    let autoscaler = ObservedExtra { extra: Extra::Autoscaler, found: autoscaler };
    ObservedChildren { extras: vec![group, autoscaler], ..world(cluster, runner(State::Running)) }
}

#[test]
fn what_is_missing_of_the_cluster_is_created_while_the_job_runs() {
    let (missing, there) = (|| Lookup::Nothing, || Lookup::Ours(()));
    assert_idle(&running(), &terms(), &with_extras([there(), there()], cluster()));
    let next = decide(&running(), &terms(), &with_extras([there(), missing()], cluster()));
    assert_eq!((actions(&next), next.make_extras.clone()), (vec!["make extras"], vec![Extra::Autoscaler]));
    let next = decide(&running(), &terms(), &with_extras([missing(), Lookup::Foreign(taken())], cluster()));
    assert_eq!(next.make_extras, [Extra::WorkerGroup("gpu".to_owned())], "the other one blocks nothing");
    assert_eq!(next.blocked, Some(taken()));
    let none = [missing(), missing()];
    assert_idle(&ended(SUCCESSFUL, 990), &keeping(kept(None, None, None)), &{
        ObservedChildren { runner: Lookup::Nothing, ..with_extras(none.clone(), cluster()) }
    });
    let next = decide(&bare(SUSPENDED), &suspending(), &with_extras(none, cluster()));
    assert_eq!(actions(&next), ["delete cluster", "delete runner"]);
}

// --- Retries ---

/// The failure is counted first, then the runner is deleted, and then the next one is created: a crash in between
/// counts nothing twice.
#[test]
fn a_failed_runner_is_counted_and_then_replaced() {
    let next = decide(&running(), &retrying(2), &with(State::Failed(None)));
    assert_eq!((&next.status, actions(&next)), (&retried(1), vec!["delete runner"]));
    assert_eq!(next.reported.unwrap().reason, "RunnerFailed");
    let next = decide(&retried(1), &retrying(2), &with(State::Failed(None)));
    assert_eq!((&next.status, actions(&next)), (&retried(1), vec!["delete runner"]));
    assert_idle(&retried(1), &retrying(2), &going(State::Failed(None), NOW));
    let next = decide(&retried(1), &retrying(2), &without_runner());
    assert_eq!((&next.status, actions(&next)), (&retried(1), vec!["make"]));
    let status = DaskJobStatus { failed_runners: Some(1), ..running() };
    assert_eq!(made(&next.status, &retrying(2)), status);
    assert_idle(&status, &retrying(2), &after(1, State::Running));
}

#[test]
fn a_lost_runner_is_counted_and_replaced() {
    let next = decide(&running(), &retrying(1), &without_runner());
    assert_eq!((&next.status, actions(&next)), (&retried(1), vec![]));
    let once = DaskJobStatus { failed_runners: Some(1), ..running() };
    assert_fails(&once, &retrying(1), &without_runner(), "RunnerLost", &["delete cluster"]);
}

#[test]
fn one_failure_more_than_allowed_fails_the_job() {
    for (limit, failed) in [(0, 0), (1, 1), (2, 2)] {
        let recorded = DaskJobStatus { failed_runners: Some(failed), ..running() };
        let world = after(failed, State::Failed(None));
        assert_fails(&recorded, &retrying(limit), &world, "RunnerFailed", &["delete cluster"]);
        let next = decide(&recorded, &retrying(limit + 1), &world);
        assert_eq!(next.status, retried(failed + 1));
    }
}

#[test]
fn restarts_inside_of_a_pod_count_only_against_a_limit() {
    assert_idle(&running(), &terms(), &restarted(99));
    assert_idle(&running(), &retrying(2), &restarted(2));
    let both = ["delete cluster", "delete runner"];
    assert_fails(&running(), &retrying(2), &restarted(3), "BackoffLimitExceeded", &both);
    assert_fails(&running(), &retrying(0), &restarted(1), "BackoffLimitExceeded", &both);
    let failed = world(cluster(), Runner { restarts: 2, ..runner(State::Failed(None)) });
    assert_eq!(decide(&running(), &retrying(3), &failed).status, retried(3));
    assert_fails(&running(), &retrying(2), &failed, "RunnerFailed", &["delete cluster"]);
}

/// The status may be older than the observed runner: it must not judge a later attempt.
#[test]
fn a_runner_of_a_later_try_is_not_judged_by_an_older_status() {
    assert_idle(&running(), &retrying(2), &after(1, State::Failed(None)));
}

// --- Suspension ---

#[test]
fn a_suspended_job_has_neither_cluster_nor_runner() {
    let next = decide(&DaskJobStatus::default(), &suspending(), &ObservedChildren::default());
    assert_eq!((&next.status, actions(&next)), (&bare(SUSPENDED), vec![]));
    assert_idle(&bare(SUSPENDED), &suspending(), &ObservedChildren::default());
    for recorded in [bare(CREATED), created(CLUSTER_CREATED), running()] {
        let next = decide(&recorded, &suspending(), &with(State::Running));
        assert_eq!((&next.status, actions(&next)), (&bare(SUSPENDED), vec!["delete cluster", "delete runner"]));
    }
    let next = decide(&bare(SUSPENDED), &suspending(), &with(State::Running));
    assert_eq!(actions(&next), ["delete cluster", "delete runner"], "after a crash");
    let failed = DaskJobStatus { failed_runners: Some(1), ..running() };
    let next = decide(&failed, &suspending(), &after(1, State::Running));
    assert_eq!(next.status.failed_runners, Some(1), "a suspension is no absolution");
}

/// A runner that is stopped by the suspension must not count as succeeded or failed.
#[test]
fn the_end_of_a_runner_that_was_suspended_is_not_the_jobs() {
    for state in [State::Succeeded(None), State::Failed(None)] {
        assert_idle(
            &bare(SUSPENDED),
            &suspending(),
            &ObservedChildren { cluster: Lookup::Nothing, ..going(state, NOW) },
        );
    }
    let next = decide(&running(), &suspending(), &with(State::Succeeded(None)));
    assert_eq!(next.status, ended(SUCCESSFUL, NOW), "it succeeded before");
}

#[test]
fn a_job_that_is_resumed_starts_afresh_when_nothing_is_left() {
    assert_idle(
        &bare(SUSPENDED),
        &terms(),
        &ObservedChildren { cluster: going_cluster(), runner: Lookup::Nothing, ..ObservedChildren::default() },
    );
    assert_idle(
        &bare(SUSPENDED),
        &terms(),
        &ObservedChildren { cluster: Lookup::Nothing, ..going(State::Running, NOW) },
    );
    let next = decide(&bare(SUSPENDED), &terms(), &with(State::Running));
    assert_eq!(actions(&next), ["delete cluster", "delete runner"]);
    let next = decide(&bare(SUSPENDED), &terms(), &ObservedChildren::default());
    assert_eq!((&next.status, actions(&next)), (&bare(CREATED), vec!["make"]));
}
