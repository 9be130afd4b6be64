//! Tests of the runner's state by its pod.

#![expect(clippy::needless_pass_by_value, reason = "literals read better at the call without a reference")]

use serde_json::{Value, json};

use super::*;

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(second).unwrap()
}

fn time(second: i64) -> String {
    at(second).to_string()
}

fn exited(code: i32, from: i64, to: i64) -> Value {
    json!({"terminated": {"exitCode": code, "startedAt": time(from), "finishedAt": time(to)}})
}

fn running(from: i64) -> Value {
    json!({"running": {"startedAt": time(from)}})
}

fn waiting(reason: &str) -> Value {
    json!({"waiting": {"reason": reason}})
}

fn runner_of(status: Value, restart_policy: &str) -> Runner {
    let pod = json!({"metadata": {"uid": "u", "creationTimestamp": time(1)}, "status": status});
    Runner::of(&serde_json::from_value(pod).unwrap(), &[listed("job", restart_policy)])
}

fn listed(name: &str, restart_policy: &str) -> Listed {
    Listed {
        name: name.to_owned(),
        restarts_after_failure: restart_policy != "Never",
        restarts_after_success: restart_policy == "Always",
    }
}

/// Returns a pod whose only listed container is in `state`, next to an injected one that runs.
fn with_sidecar(phase: &str, state: Value, last: Value, restarts: i64) -> Value {
    json!({"phase": phase, "startTime": time(2), "containerStatuses": [
        {"name": "a-sidecar", "state": running(2)},
        {"name": "job", "state": state, "lastState": last, "restartCount": restarts},
    ]})
}

fn state_of(phase: &str, state: Value, last: Value, policy: &str) -> (State, bool) {
    let runner = runner_of(with_sidecar(phase, state, last, 0), policy);
    (runner.state, runner.over)
}

#[test]
fn the_runner_is_its_container_whatever_the_pods_sidecars_do() {
    use State::{Failed, Running, Succeeded, Waiting};
    let (good, bad, none) = (exited(0, 3, 9), exited(1, 3, 9), json!({}));
    let table = [
        ("image is pulled", "Running", waiting("ContainerCreating"), &none, "OnFailure", (Waiting, false)),
        ("runs", "Running", running(3), &none, "OnFailure", (Running, false)),
        ("a phase that lags", "Pending", running(3), &none, "OnFailure", (Running, false)),
        ("succeeds", "Running", good.clone(), &none, "OnFailure", (Succeeded(Some(at(9))), true)),
        ("succeeds, never restarted", "Running", good.clone(), &none, "Never", (Succeeded(Some(at(9))), true)),
        ("succeeds, to be restarted", "Running", good.clone(), &none, "Always", (Succeeded(Some(at(9))), false)),
        ("was restarted after success", "Running", running(10), &good, "Always", (Succeeded(Some(at(9))), false)),
        ("a sidecar failed", "Failed", good.clone(), &none, "Never", (Succeeded(Some(at(9))), true)),
        ("fails for good", "Running", bad.clone(), &none, "Never", (Failed(Some(at(9))), true)),
        ("fails, to be restarted", "Running", bad.clone(), &none, "OnFailure", (Running, false)),
        ("fails, to be restarted always", "Running", bad.clone(), &none, "Always", (Running, false)),
        ("backs off", "Running", waiting("CrashLoopBackOff"), &bad, "OnFailure", (Running, false)),
        ("pod fails", "Failed", bad.clone(), &none, "OnFailure", (Failed(Some(at(9))), true)),
        ("pod fails before the start", "Failed", none.clone(), &none, "OnFailure", (Failed(None), true)),
    ];
    for (what, phase, state, last, policy, expected) in table {
        assert_eq!(state_of(phase, state, last.clone(), policy), expected, "{what}");
    }
}

/// Returns the runner with two listed containers in these states, next to an injected one that runs.
fn runner_of_two(phase: &str, states: [&Value; 2], policy: &str) -> Runner {
    let container = |name: &str, state: &Value| json!({"name": name, "state": state});
    let containers = [container("proxy", &running(2)), container("b", states[1]), container("a", states[0])];
    let pod = json!({"metadata": {"uid": "u"}, "status": {"phase": phase, "containerStatuses": containers}});
    Runner::of(&serde_json::from_value(pod).unwrap(), &[listed("a", policy), listed("b", policy)])
}

#[test]
fn a_runner_of_several_containers_ends_when_all_have_ended() {
    use State::{Failed, Running, Succeeded, Waiting};
    let (good, later, bad) = (exited(0, 3, 9), exited(0, 4, 14), exited(1, 3, 9));
    let (runs, waits) = (running(3), waiting("ContainerCreating"));
    let table = [
        ("none has started", "Pending", [&waits, &waits], "Never", Waiting, false),
        ("one has started", "Running", [&waits, &runs], "Never", Running, false),
        ("one has succeeded", "Running", [&good, &runs], "Never", Running, false),
        ("the last one has succeeded", "Running", [&runs, &good], "OnFailure", Running, false),
        ("one has not started", "Running", [&good, &waits], "OnFailure", Running, false),
        ("both have succeeded", "Running", [&good, &later], "Never", Succeeded(Some(at(14))), true),
        ("one has failed", "Running", [&bad, &runs], "Never", Running, false),
        ("one has failed, and one succeeded", "Running", [&bad, &later], "Never", Failed(Some(at(14))), true),
        ("one will be restarted", "Running", [&bad, &later], "OnFailure", Running, false),
        ("both will be restarted", "Running", [&good, &later], "Always", Succeeded(Some(at(14))), false),
        ("the node is lost", "Failed", [&good, &runs], "OnFailure", Failed(Some(at(9))), true),
        ("an injected one has failed", "Failed", [&good, &later], "Never", Succeeded(Some(at(14))), true),
    ];
    for (what, phase, states, policy, state, over) in table {
        let runner = runner_of_two(phase, states, policy);
        assert_eq!((runner.state, runner.over), (state, over), "{what}");
    }
    assert_eq!(runner_of_two("Running", [&later, &good], "Never").started, Some(at(3)), "the first start counts");
}

/// Kubelets report injected containers and such that the spec lists in the same list, and native sidecars with the init
/// containers.
#[test]
fn what_others_add_to_the_pod_neither_ends_the_runner_nor_keeps_it() {
    let status = |injected: Value, job: Value| {
        json!({
            "phase": "Running",
            "initContainerStatuses": [{"name": "native-sidecar", "state": running(1), "restartCount": 7}],
            "containerStatuses": [
                {"name": "istio-proxy", "state": injected, "restartCount": 5},
                {"name": "job", "state": job, "restartCount": 1},
            ],
        })
    };
    let runner = runner_of(status(running(1), exited(0, 3, 9)), "Never");
    assert_eq!(runner.state, State::Succeeded(Some(at(9))));
    let runner = runner_of(status(exited(1, 1, 2), running(3)), "OnFailure");
    assert_eq!((runner.state, runner.restarts), (State::Running, 1));
}

/// A pod without a list of containers is refused by the API server. Nothing must count as all of nothing.
#[test]
fn a_runner_without_containers_has_not_succeeded() {
    let pod = serde_json::from_value(json!({"metadata": {}, "status": {"phase": "Pending"}})).unwrap();
    assert_eq!(Runner::of(&pod, &[]).state, State::Waiting);
}

/// Kubelets report containers, but a status may be lost.
#[test]
fn a_pod_without_container_statuses_is_judged_by_its_phase() {
    use State::{Failed, Running, Succeeded, Waiting};
    let table = [
        (json!({"phase": "Pending"}), Waiting, false),
        (json!({"phase": "Unknown"}), Waiting, false),
        (json!({}), Waiting, false),
        (json!({"phase": "Running"}), Running, false),
        (json!({"phase": "Succeeded"}), Succeeded(None), true),
        (json!({"phase": "Failed", "reason": "Evicted"}), Failed(None), true),
    ];
    for (status, state, ended) in table {
        let runner = runner_of(status.clone(), "Always");
        assert_eq!((runner.state, runner.ended), (state, ended), "{status}");
    }
}

#[test]
fn the_start_is_the_first_that_is_known() {
    let started = |status| runner_of(status, "OnFailure").started;
    assert_eq!(started(with_sidecar("Running", waiting("ContainerCreating"), json!({}), 0)), None);
    assert_eq!(started(with_sidecar("Running", running(3), json!({}), 0)), Some(at(3)));
    assert_eq!(started(with_sidecar("Running", running(9), exited(1, 3, 4), 1)), Some(at(3)));
    assert_eq!(started(with_sidecar("Succeeded", exited(0, 3, 9), json!({}), 0)), Some(at(3)));
    assert_eq!(started(json!({"phase": "Succeeded", "startTime": time(2)})), Some(at(2)));
    assert_eq!(started(json!({"phase": "Succeeded"})), Some(at(1)));
    assert_eq!(started(json!({"phase": "Failed", "startTime": time(2), "reason": "Evicted"})), None);
}

#[test]
fn fractions_of_a_second_do_not_survive() {
    let state = json!({"terminated": {
        "exitCode": 0, "startedAt": "1970-01-01T00:00:03.7Z", "finishedAt": "1970-01-01T00:00:09.9Z",
    }});
    let runner = runner_of(with_sidecar("Running", state, json!({}), 0), "OnFailure");
    assert_eq!((runner.started, runner.state), (Some(at(3)), State::Succeeded(Some(at(9)))));
}

/// Between a failure and the restart, the kubelet has not counted the restart yet.
#[test]
fn each_failure_inside_of_a_pod_counts_once() {
    let restarts = |state, last, count| runner_of(with_sidecar("Running", state, last, count), "OnFailure").restarts;
    let (bad, none) = (exited(1, 3, 9), json!({}));
    assert_eq!(restarts(running(3), none.clone(), 0), 0);
    assert_eq!(restarts(bad.clone(), none.clone(), 0), 1);
    assert_eq!(restarts(running(10), bad.clone(), 1), 1);
    assert_eq!(restarts(bad.clone(), bad.clone(), 1), 2);
    assert_eq!(restarts(waiting("CrashLoopBackOff"), bad.clone(), 1), 2);
    assert_eq!(restarts(waiting("ContainerCreating"), none, 0), 0);
    let of_two = |states: [&Value; 2], policy: &str| runner_of_two("Running", states, policy).restarts;
    assert_eq!(of_two([&exited(0, 3, 9), &running(3)], "OnFailure"), 0, "a success is no failure");
    assert_eq!(of_two([&exited(1, 3, 9), &running(3)], "Never"), 0, "it is counted when the runner has ended");
    assert_eq!(of_two([&bad, &bad], "OnFailure"), 2);
}

#[test]
fn a_runner_says_how_many_failed_before_it_and_when_it_will_be_gone() {
    let pod = |annotation: &str| {
        let metadata = json!({
            "uid": "u", "annotations": {"dask.org/failed-runners": annotation}, "deletionTimestamp": time(30),
        });
        let pod = serde_json::from_value(json!({"metadata": metadata})).unwrap();
        Runner::of(&pod, &[listed("job", "Never")])
    };
    assert_eq!((pod("2").predecessors, pod("x").predecessors), (2, 0));
    assert_eq!(pod("2").gone_by, Some(at(30)));
}
