//! Tests of the order in which workers are removed.

use std::sync::Arc;

use serde_json::{Value, json};

use super::*;

fn candidate(name: &str, standing: RemovalCost) -> Candidate {
    Candidate { name: name.to_owned(), uid: format!("uid-of-{name}"), created: None, outdated: false, standing }
}

fn registered(name: &str, rank: usize) -> Candidate {
    candidate(name, RemovalCost::Registered { rank, addresses: vec![format!("tcp://{name}:1")] })
}

fn outdated(candidate: Candidate) -> Candidate {
    Candidate { outdated: true, ..candidate }
}

fn aged(candidate: Candidate, second: i64) -> Candidate {
    Candidate { created: Some(Timestamp::from_second(second).unwrap()), ..candidate }
}

fn surplus(surplus: usize) -> ScaleDownRequest {
    ScaleDownRequest { surplus, replicas: 0, max_unavailable: 1 }
}

fn chosen(candidates: &[Candidate], before: &[&str], demand: ScaleDownRequest) -> Vec<String> {
    let workers = before.iter().map(|name| (*name).to_owned()).collect();
    choose(candidates, &RetirementRecord { workers, ..RetirementRecord::default() }, demand)
        .into_iter()
        .map(|candidate| candidate.name.clone())
        .collect()
}

/// dask-kubernetes retires busy workers while others still wait for a node.
#[test]
fn workers_go_in_the_order_of_what_they_cost() {
    let candidates = [
        candidate("unknown", RemovalCost::Unknown),
        registered("busy", 1),
        registered("idle", 0),
        candidate("unregistered", RemovalCost::NotRegistered),
        candidate("unscheduled", RemovalCost::NotScheduled),
    ];
    let order = ["unscheduled", "unregistered", "idle", "busy", "unknown"];
    for count in 0..=5 {
        assert_eq!(chosen(&candidates, &[], surplus(count)), order[..count]);
    }
    assert_eq!(chosen(&candidates, &[], surplus(9)), order);
}

#[test]
fn of_workers_that_cost_the_same_the_youngest_goes() {
    let candidates = [("old", 1), ("young", 9), ("middle", 5)]
        .map(|(name, second)| aged(candidate(name, RemovalCost::NotScheduled), second));
    assert_eq!(chosen(&candidates, &[], surplus(2)), ["young", "middle"]);
}

/// Otherwise, after a crash between retiring and deleting, one worker too many would be removed.
#[test]
fn a_worker_that_was_chosen_before_is_chosen_again() {
    let candidates = [candidate("free", RemovalCost::NotScheduled), registered("idle", 0), registered("retired", 1)];
    assert_eq!(chosen(&candidates, &["retired", "gone"], surplus(1)), ["retired"]);
    assert_eq!(chosen(&candidates, &["retired"], surplus(2)), ["retired", "free"]);
}

#[test]
fn no_worker_is_removed_when_enough_are_wanted_again() {
    assert!(chosen(&[registered("retired", 0)], &["retired"], surplus(0)).is_empty());
}

#[test]
fn of_equally_idle_workers_an_outdated_one_goes() {
    let candidates = [registered("new", 0), outdated(registered("old", 0))];
    assert_eq!(chosen(&candidates, &[], surplus(1)), ["old"]);
}

fn rolling(replicas: usize, max_unavailable: usize) -> ScaleDownRequest {
    ScaleDownRequest { surplus: 0, replicas, max_unavailable }
}

#[test]
fn an_update_takes_no_more_workers_away_than_may_be_missing() {
    let all = |count: usize| -> Vec<Candidate> {
        (0..count).map(|index| outdated(registered(&format!("w{index}"), index))).collect()
    };
    let table = [
        // connected, wanted, may be missing: removed
        (4, 4, 1, 1),
        (4, 4, 2, 2),
        (3, 4, 1, 0),
        (3, 4, 2, 1),
        (0, 4, 1, 0),
        (4, 4, 9, 4),
    ];
    for (connected, replicas, max_unavailable, expected) in table {
        let count = chosen(&all(connected), &[], rolling(replicas, max_unavailable)).len();
        assert_eq!(count, expected, "{connected} of {replicas}, {max_unavailable} may be missing");
    }
}

#[test]
fn an_update_leaves_workers_of_the_new_template_alone() {
    let candidates = [registered("new", 0), outdated(registered("old", 1))];
    assert_eq!(chosen(&candidates, &[], rolling(2, 2)), ["old"]);
}

#[test]
fn outdated_workers_that_do_no_work_yet_go_at_once() {
    let candidates = [
        outdated(candidate("a", RemovalCost::NotScheduled)),
        outdated(candidate("b", RemovalCost::NotRegistered)),
        outdated(candidate("c", RemovalCost::Unknown)),
        outdated(registered("d", 0)),
    ];
    assert_eq!(chosen(&candidates, &[], rolling(4, 1)), ["a", "b"]);
}

/// An interrupted update continues with the worker that it had begun to retire.
#[test]
fn an_interrupted_update_continues_with_the_same_worker() {
    let candidates = [outdated(registered("a", 0)), outdated(registered("b", 1))];
    assert_eq!(chosen(&candidates, &["b"], rolling(2, 1)), ["b"]);
}

fn pod(node: Option<&str>, state: &Value) -> Arc<PodView> {
    let pod = json!({
        "metadata": {"name": "p"},
        "spec": {"nodeName": node},
        "status": {"containerStatuses": [{"name": "worker", "state": state}]},
    });
    Arc::new(serde_json::from_value(pod).unwrap())
}

fn process(address: &str) -> dask_scheduler_client::Worker {
    dask_scheduler_client::Worker {
        address: address.to_owned(),
        name: "w".to_owned(),
        status: String::new(),
        processing: 0,
    }
}

#[test]
fn the_cost_of_removing_a_worker_follows_from_its_pods_and_the_scheduler() {
    let running = || pod(Some("n"), &json!({"running": {}}));
    let pulling = || pod(Some("n"), &json!({"waiting": {"reason": "ContainerCreating"}}));
    let pending = || pod(None, &json!(null));
    let silent = Scheduler::Silent(dask_scheduler_client::Error::Protocol(String::new()));
    let empty = Scheduler::Answers { registered: BTreeMap::new(), order: HashMap::new(), strangers: BTreeSet::new() };
    let table = [
        (vec![], &empty, RemovalCost::NotScheduled),
        (vec![pending()], &empty, RemovalCost::NotScheduled),
        (vec![pending(), pulling()], &empty, RemovalCost::NotRegistered),
        (vec![running()], &empty, RemovalCost::NotRegistered),
        (vec![running()], &Scheduler::Gone, RemovalCost::NotRegistered),
        (vec![running()], &silent, RemovalCost::Unknown),
        (vec![pulling()], &silent, RemovalCost::NotRegistered),
        (vec![], &silent, RemovalCost::Unknown),
        (vec![], &Scheduler::Gone, RemovalCost::NotScheduled),
        (vec![pending()], &silent, RemovalCost::NotScheduled),
    ];
    for (pods, scheduler, expected) in table {
        assert_eq!(standing("w", &pods, scheduler), expected, "{pods:?} {scheduler:?}");
    }
}

/// Its pods may be unknown if the user's own labels hide them, so the scheduler's information takes precedence.
#[test]
fn a_registered_worker_ranks_with_its_busiest_process() {
    let registered = BTreeMap::from([("w".to_owned(), vec![process("tcp://a:1"), process("tcp://a:2")])]);
    let rank = |order: &[&str]| {
        let order = places(order.iter().map(|address| (*address).to_owned()).collect());
        let scheduler = Scheduler::Answers { registered: registered.clone(), order, strangers: BTreeSet::new() };
        match standing("w", &[] as &[Arc<PodView>], &scheduler) {
            RemovalCost::Registered { rank, addresses } => (rank, addresses.len()),
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(rank(&["tcp://a:2", "tcp://b:1", "tcp://a:1"]), (2, 2));
    assert_eq!(rank(&["tcp://a:2"]), (usize::MAX, 2), "a process that the scheduler would not close");
}

/// Otherwise the scheduler would be asked for the same few workers forever, and never for the others.
#[test]
fn a_worker_that_the_scheduler_did_not_let_go_is_asked_for_last() {
    let candidates = [registered("refused", 0), registered("busy", 1), candidate("unknown", RemovalCost::Unknown)];
    let kept = BTreeMap::from([("refused".to_owned(), Timestamp::UNIX_EPOCH)]);
    let before = RetirementRecord { kept, ..RetirementRecord::default() };
    let order: Vec<&str> = choose(&candidates, &before, surplus(3)).into_iter().map(|it| it.name.as_str()).collect();
    assert_eq!(order, ["busy", "refused", "unknown"]);
}

/// On the node's network a pod cannot be distinguished from its neighbours.
#[test]
fn a_running_worker_beside_an_unknown_process_may_be_that_process() {
    let mut pod: PodView = (*pod(Some("n"), &json!({"running": {}}))).clone();
    pod.status.pod_ip = Some("10.0.0.1".to_owned());
    let strangers = BTreeSet::from(["10.0.0.1".to_owned()]);
    let scheduler = Scheduler::Answers { registered: BTreeMap::new(), order: HashMap::new(), strangers };
    assert_eq!(standing("w", &[Arc::new(pod)], &scheduler), RemovalCost::Unknown);
}

#[test]
fn without_an_order_the_worker_with_fewer_tasks_is_cheaper() {
    let process = dask_scheduler_client::Worker { processing: 3, ..process("tcp://a:1") };
    let registered = BTreeMap::from([("w".to_owned(), vec![process.clone(), process])]);
    let scheduler = Scheduler::Answers { registered, order: HashMap::new(), strangers: BTreeSet::new() };
    let RemovalCost::Registered { rank, .. } = standing("w", &[] as &[Arc<PodView>], &scheduler) else { panic!() };
    assert_eq!(rank, 6);
}

/// Searching the order for each address would take minutes.
#[test]
fn a_scheduler_that_names_a_hundred_thousand_processes_is_ranked_at_once() {
    let address = |number: usize| format!("tcp://10.0.0.1:{number}");
    let process = |number| dask_scheduler_client::Worker {
        address: address(number),
        name: String::new(),
        status: String::new(),
        processing: u64::MAX,
    };
    let registered = BTreeMap::from([("worker".to_owned(), (0..100_000).map(process).collect())]);
    let order = places((100_000..200_000).chain([7, 8, 7]).map(address).collect());
    assert_eq!(order[&address(7)], 100_000, "its first place counts");
    for order in [order, HashMap::new()] {
        let scheduler = Scheduler::Answers { registered: registered.clone(), order, strangers: BTreeSet::new() };
        let RemovalCost::Registered { rank, addresses } = standing("worker", &[] as &[Arc<PodView>], &scheduler) else {
            panic!("it is registered")
        };
        assert_eq!((rank, addresses.len()), (usize::MAX, 100_000));
    }
}
