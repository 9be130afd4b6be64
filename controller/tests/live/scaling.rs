//! Creation and removal of workers, with a fake scheduler.

use std::{collections::BTreeSet, time::Duration};

use k8s_openapi::jiff::Timestamp;
use kube::api::{Patch, PatchParams};
use serde_json::{Value, json};

use crate::support::{
    condition, eventually, message, name,
    scheduler::{FakeScheduler, FakeWorker},
    stays,
    test_cluster::{GROUP, Setup, TestCluster, with_setup, with_workers},
    uid, with_temp_ns,
};

/// Longer than any of the controller's delays while it waits for a scheduler.
const QUIET: Duration = Duration::from_secs(25);

/// Returns the names that are in `all` and not in `rest`.
fn gone(all: &BTreeSet<String>, rest: &BTreeSet<String>) -> BTreeSet<String> {
    all.difference(rest).cloned().collect()
}

fn set<const N: usize>(names: [&str; N]) -> BTreeSet<String> {
    names.into_iter().map(str::to_owned).collect()
}

/// Waits until a call of this op has arrived.
async fn called(scheduler: &FakeScheduler, op: &str) {
    eventually(op, async || {
        if scheduler.calls_of(op).is_empty() { Err("it was not called") } else { Ok(()) }.map_err(str::to_owned)
    })
    .await;
}

// --- Which workers are removed ---

#[tokio::test]
#[ignore = "needs a cluster: make live"]
async fn workers_that_no_node_runs_go_first_and_the_scheduler_is_not_asked_to_retire_any() {
    with_setup(Setup { room: 4, ..Setup::of(6) }, |test_cluster| async move {
        let registered: BTreeSet<String> = test_cluster.scheduler.workers().into_iter().collect();
        assert_eq!(registered.len(), 4);
        test_cluster.scale(GROUP, 4).await;
        assert_eq!(test_cluster.has_workers(GROUP, 4).await, registered);
        assert_eq!(test_cluster.scheduler.calls_of("retire_workers"), Vec::<Value>::new());
    })
    .await;
}

#[tokio::test]
#[ignore = "needs a cluster: make live"]
async fn workers_go_in_the_order_in_which_the_scheduler_would_close_them() {
    with_workers(4, |test_cluster| async move {
        let workers = test_cluster.scheduler.workers();
        for busy in [0, 1, 3] {
            test_cluster.scheduler.load(&workers[busy], 5);
        }
        let (idle, address) = (workers[2].clone(), test_cluster.address(&workers[2]));
        let before = test_cluster.workers(GROUP).await;
        test_cluster.scale(GROUP, 3).await;
        let rest = test_cluster.has_workers(GROUP, 3).await;
        assert_eq!(gone(&before, &rest), set([&idle]));
        assert_eq!(test_cluster.retired(), [address]);
    })
    .await;
}

#[tokio::test]
#[ignore = "needs a cluster: make live"]
async fn a_group_that_shrinks_loses_only_its_own_workers_whichever_the_scheduler_prefers() {
    with_workers(0, |test_cluster| async move {
        for group in ["a", "b"] {
            test_cluster.context.create(&test_cluster.group(group, 3)).await;
            test_cluster.has_workers(group, 3).await;
        }
        test_cluster.connected("a", 3).await;
        test_cluster.connected("b", 3).await;
        let (a, b) = (test_cluster.workers("a").await, test_cluster.workers("b").await);
        for worker in &a {
            test_cluster.scheduler.load(worker, 5);
        }
        test_cluster.scale("a", 2).await;
        let rest = test_cluster.has_workers("a", 2).await;
        assert_eq!(gone(&a, &rest).len(), 1);
        assert_eq!(test_cluster.retired().len(), 1);
        test_cluster.connected("b", 3).await;
        assert_eq!(test_cluster.workers("b").await, b);
    })
    .await;
}

#[tokio::test]
#[ignore = "needs a cluster: make live"]
async fn all_processes_of_a_pod_are_retired_together() {
    fn two_processes(scheduler: &FakeScheduler, deployment: &str, _: &str) {
        scheduler.register(&format!("{deployment}-0"));
        scheduler.register(&format!("{deployment}-1"));
    }
    with_setup(Setup { connect: two_processes, ..Setup::of(4) }, |test_cluster| async move {
        let before = test_cluster.workers(GROUP).await;
        test_cluster.scale(GROUP, 2).await;
        let gone = gone(&before, &test_cluster.has_workers(GROUP, 2).await);
        let calls = test_cluster.scheduler.calls_of("retire_workers");
        assert_eq!(calls.len(), 1, "{calls:?}");
        assert_eq!(calls[0]["workers"].as_array().unwrap().len(), 4);
        let left = test_cluster.scheduler.workers();
        assert_eq!(left.len(), 4);
        assert!(left.iter().all(|process| !gone.contains(process.rsplit_once('-').unwrap().0)), "{left:?} {gone:?}");
    })
    .await;
}

fn connect_as(scheduler: &FakeScheduler, ip: &str, name: Option<&str>) {
    let address = format!("tcp://{ip}:40000");
    let name = name.unwrap_or(&address).to_owned();
    scheduler.set(|state| state.workers.push(FakeWorker { name, address, processing: 0 }));
}

#[tokio::test]
#[ignore = "needs a cluster: make live"]
async fn workers_without_a_name_are_known_by_the_address_of_their_pod() {
    let connect = |scheduler: &FakeScheduler, _: &str, ip: &str| connect_as(scheduler, ip, None);
    with_setup(Setup { connect, ..Setup::of(4) }, four_become_two_in_one_call).await;
}

#[tokio::test]
#[ignore = "needs a cluster: make live"]
async fn workers_that_users_named_are_known_by_the_address_of_their_pod() {
    let connect = |scheduler: &FakeScheduler, _: &str, ip: &str| connect_as(scheduler, ip, Some(&format!("mine-{ip}")));
    with_setup(Setup { connect, ..Setup::of(4) }, four_become_two_in_one_call).await;
}

async fn four_become_two_in_one_call(test_cluster: TestCluster) {
    test_cluster.scale(GROUP, 2).await;
    test_cluster.has_workers(GROUP, 2).await;
    assert_eq!(test_cluster.retired().len(), 2);
    assert_eq!(test_cluster.scheduler.calls_of("retire_workers").len(), 1);
    test_cluster.connected(GROUP, 2).await;
    assert_eq!(test_cluster.scheduler.workers().len(), 2);
}

// --- Schedulers that refuse or do not respond ---

#[tokio::test]
#[ignore = "needs a cluster: make live"]
async fn a_worker_that_the_scheduler_keeps_survives_and_another_one_goes() {
    with_workers(3, |test_cluster| async move {
        let youngest = test_cluster.scheduler.workers().pop().unwrap();
        let address = test_cluster.address(&youngest);
        test_cluster.scheduler.set(|state| state.refusing.extend([address.clone()]));
        test_cluster.scale(GROUP, 2).await;
        let rest = test_cluster.has_workers(GROUP, 2).await;
        assert!(rest.contains(&youngest));
        assert_eq!(test_cluster.retired()[0], address);
    })
    .await;
}

/// However many workers cannot be retired, the scheduler is asked about the others.
#[tokio::test]
#[ignore = "needs a cluster: make live"]
async fn the_one_worker_that_the_scheduler_lets_go_is_found_among_many() {
    with_workers(9, |test_cluster| async move {
        let oldest = test_cluster.scheduler.workers().remove(0);
        let consents = test_cluster.address(&oldest);
        test_cluster.scheduler.set(|state| {
            state.refusing = state.workers.iter().map(|worker| worker.address.clone()).collect();
            state.refusing.remove(&consents);
        });
        test_cluster.scale(GROUP, 8).await;
        assert!(!test_cluster.has_workers(GROUP, 8).await.contains(&oldest));
    })
    .await;
}

#[tokio::test]
#[ignore = "needs a cluster: make live"]
async fn while_all_are_refused_nothing_is_deleted_or_written_until_the_scheduler_consents() {
    with_workers(3, |test_cluster| async move {
        test_cluster.scheduler.set(|state| {
            state.refusing = state.workers.iter().map(|worker| worker.address.clone()).collect();
        });
        test_cluster.scale(GROUP, 1).await;
        let group = test_cluster.scaled_says(GROUP, "RetirementRefused").await;
        assert_eq!(condition(&group, "Scaled").0, "False");
        let asked = test_cluster.scheduler.calls_of("retire_workers").len();
        let versions = settled(&test_cluster).await;
        stays(QUIET, async || unchanged(&test_cluster, &versions).await).await;
        assert!(test_cluster.scheduler.calls_of("retire_workers").len() > asked, "it is asked again");
        test_cluster.scheduler.set(|state| state.refusing.clear());
        test_cluster.has_workers(GROUP, 1).await;
        let group = test_cluster.context.expect("DaskWorkerGroup", GROUP).await;
        assert_eq!(group["metadata"]["annotations"]["operator.dask.org/retiring"], Value::Null);
    })
    .await;
}

/// Returns the versions after nothing was written for a while.
async fn settled(test_cluster: &TestCluster) -> Vec<(String, String)> {
    let mut last = (test_cluster.versions().await, std::time::Instant::now());
    eventually("an end of writes", async || {
        let now = test_cluster.versions().await;
        if now != last.0 {
            last = (now, std::time::Instant::now());
        }
        if last.1.elapsed() > Duration::from_secs(3) { Ok(last.0.clone()) } else { Err("something changes".to_owned()) }
    })
    .await
}

async fn unchanged(test_cluster: &TestCluster, versions: &[(String, String)]) -> Result<(), String> {
    let now = test_cluster.versions().await;
    if now == versions { Ok(()) } else { Err(format!("was {versions:?}, is {now:?}")) }
}

#[tokio::test]
#[ignore = "needs a cluster: make live"]
async fn after_the_deadline_a_worker_is_removed_without_consent_and_an_event_reports_it() {
    let change = |manifest: &mut Value| manifest["spec"]["worker"]["retireDeadlineSeconds"] = json!(12);
    with_setup(Setup { change, ..Setup::of(2) }, |test_cluster| async move {
        test_cluster.scheduler.set(|state| {
            state.refusing = state.workers.iter().map(|worker| worker.address.clone()).collect();
        });
        test_cluster.scale(GROUP, 1).await;
        test_cluster.scaled_says(GROUP, "RetirementRefused").await;
        stays(Duration::from_secs(8), async || match test_cluster.workers(GROUP).await.len() {
            2 => Ok(()),
            count => Err(format!("{count} workers are left")),
        })
        .await;
        test_cluster.has_workers(GROUP, 1).await;
        eventually("an Event", async || {
            let events = test_cluster.context.list("Event", "").await;
            let forced = events.iter().filter(|event| event["reason"] == "RetirementForced");
            let types: Vec<_> = forced.map(|event| event["type"].clone()).collect();
            if types == [json!("Warning")] { Ok(()) } else { Err(format!("there are {types:?}")) }
        })
        .await;
    })
    .await;
}

#[tokio::test]
#[ignore = "needs a cluster: make live"]
async fn while_the_scheduler_is_silent_only_workers_that_it_cannot_know_go() {
    with_setup(Setup { room: 3, ..Setup::of(5) }, |test_cluster| async move {
        let registered: BTreeSet<String> = test_cluster.scheduler.workers().into_iter().collect();
        test_cluster.scheduler.set(|state| state.hang = true);
        test_cluster.scale(GROUP, 2).await;
        let group = test_cluster.scaled_says(GROUP, "SchedulerUnreachable").await;
        assert_eq!(condition(&group, "Scaled").0, "False");
        assert_eq!(test_cluster.workers(GROUP).await, registered);
        test_cluster.scheduler.set(|state| state.hang = false);
        test_cluster.has_workers(GROUP, 2).await;
        assert_eq!(test_cluster.retired().len(), 1);
    })
    .await;
}

#[tokio::test]
#[ignore = "needs a cluster: make live"]
async fn without_a_scheduler_all_surplus_workers_go_at_once() {
    with_workers(4, |test_cluster| async move {
        let pods = test_cluster.context.list("Pod", "dask.org/component=scheduler").await;
        let crashed = json!({"status": {"phase": "Running", "containerStatuses": [{
            "name": "scheduler", "image": "", "imageID": "", "ready": false, "restartCount": 1,
            "state": {"waiting": {"reason": "CrashLoopBackOff"}},
        }]}});
        test_cluster.context.merge_status("Pod", name(&pods[0]), crashed).await;
        test_cluster.connected(GROUP, 0).await;
        test_cluster.scale(GROUP, 1).await;
        test_cluster.has_workers(GROUP, 1).await;
        assert_eq!(test_cluster.retired(), Vec::<String>::new());
    })
    .await;
}

// --- Interruptions ---

#[tokio::test]
#[ignore = "needs a cluster: make live"]
async fn a_controller_that_is_killed_after_retiring_continues_with_the_same_worker() {
    with_workers(4, |mut test_cluster| async move {
        let before = test_cluster.workers(GROUP).await;
        test_cluster.scheduler.set(|state| state.mute = Some("retire_workers".to_owned()));
        test_cluster.scale(GROUP, 3).await;
        called(&test_cluster.scheduler, "retire_workers").await;
        eventually("the worker to be retired", async || match test_cluster.scheduler.workers().len() {
            3 => Ok(()),
            count => Err(format!("{count} are there")),
        })
        .await;
        test_cluster.kill_controller().await;
        // The kubelet restarts it, and it gets tasks: the scheduler would now prefer any other.
        let left: BTreeSet<String> = test_cluster.scheduler.workers().into_iter().collect();
        let victim = gone(&before, &left).pop_first().unwrap();
        test_cluster.scheduler.register(&victim);
        test_cluster.scheduler.load(&victim, 9);
        test_cluster.scheduler.set(|state| state.mute = None);
        test_cluster.restart_controller().await;
        assert_eq!(test_cluster.has_workers(GROUP, 3).await, left);
        assert_eq!(test_cluster.scheduler.workers().len(), 3);
    })
    .await;
}

#[tokio::test]
#[ignore = "needs a cluster: make live"]
async fn whatever_is_asked_for_in_quick_succession_the_last_number_is_met() {
    with_workers(4, |test_cluster| async move {
        for replicas in [1, 6, 2] {
            test_cluster.scale(GROUP, replicas).await;
        }
        let workers = test_cluster.has_workers(GROUP, 2).await;
        test_cluster.connected(GROUP, 2).await;
        assert_eq!(test_cluster.workers(GROUP).await, workers);
        for replicas in [1, 6, 2, 5] {
            test_cluster.scale(GROUP, replicas).await;
            tokio::task::yield_now().await;
        }
        test_cluster.has_workers(GROUP, 5).await;
        test_cluster.connected(GROUP, 5).await;
        assert_eq!(test_cluster.workers(GROUP).await.len(), 5);
    })
    .await;
}

#[tokio::test]
#[ignore = "needs a cluster: make live"]
async fn a_controller_that_is_killed_again_and_again_makes_and_removes_the_exact_number() {
    with_setup(Setup { room: 10, ..Setup::of(0) }, |mut test_cluster| async move {
        test_cluster.scale(GROUP, 60).await;
        some_workers(&test_cluster, 10..).await;
        test_cluster.restart_controller().await;
        test_cluster.has_workers(GROUP, 60).await;
        test_cluster.connected(GROUP, 10).await;
        test_cluster.scale(GROUP, 3).await;
        some_workers(&test_cluster, ..40).await;
        test_cluster.restart_controller().await;
        some_workers(&test_cluster, ..10).await;
        test_cluster.restart_controller().await;
        let workers = test_cluster.has_workers(GROUP, 3).await;
        test_cluster.connected(GROUP, 3).await;
        assert_eq!(test_cluster.workers(GROUP).await, workers);
    })
    .await;
}

/// The names of all these workers alone would need more memory than the node has.
#[tokio::test]
#[ignore = "needs a cluster: make live"]
async fn a_group_of_two_billion_workers_grows_in_slices_and_stops_when_it_is_scaled_back() {
    with_setup(Setup { room: 2, ..Setup::of(0) }, |test_cluster| async move {
        test_cluster.scale(GROUP, 2_147_483_647).await;
        some_workers(&test_cluster, 300..).await;
        // It reports its progress, and others are served meanwhile.
        let has_progressed =
            |group: &Value| group["status"]["replicas"].as_i64().is_some_and(|replicas| replicas >= 200);
        test_cluster.context.until("DaskWorkerGroup", GROUP, has_progressed).await;
        test_cluster.context.create(&test_cluster.group("other", 1)).await;
        test_cluster.has_workers("other", 1).await;
        test_cluster.scale(GROUP, 2).await;
        test_cluster.has_workers(GROUP, 2).await;
        let workers = test_cluster.workers(GROUP).await;
        stays(Duration::from_secs(5), async || {
            let now = test_cluster.workers(GROUP).await;
            if now == workers { Ok(()) } else { Err(format!("there are {now:?}")) }
        })
        .await;
    })
    .await;
}

#[tokio::test]
#[ignore = "needs a cluster: make live"]
async fn numbers_beyond_what_kubernetes_counts_are_refused_by_the_api_server() {
    with_workers(0, |test_cluster| async move {
        let mut group = test_cluster.group("large", 0);
        group["spec"]["worker"]["replicas"] = json!(2_147_483_648_i64);
        let error = test_cluster.context.try_create(&group).await.unwrap_err().to_string();
        assert!(error.contains("spec.worker.replicas"), "{error}");
    })
    .await;
}

async fn some_workers(test_cluster: &TestCluster, wanted: impl std::ops::RangeBounds<usize>) {
    eventually("some workers", async || match test_cluster.workers(GROUP).await.len() {
        count if wanted.contains(&count) => Ok(()),
        count => Err(format!("there are {count}")),
    })
    .await;
}

#[tokio::test]
#[ignore = "needs a cluster: make live"]
async fn a_worker_that_somebody_deletes_during_a_removal_is_one_of_those_that_go() {
    with_workers(5, |test_cluster| async move {
        test_cluster.scheduler.set(|state| state.hang = true);
        test_cluster.scale(GROUP, 3).await;
        let group = test_cluster.scaled_says(GROUP, "SchedulerUnreachable").await;
        let recorded = group["metadata"]["annotations"]["operator.dask.org/retiring"].as_str().unwrap();
        let before = test_cluster.workers(GROUP).await;
        let other = before.iter().find(|worker| !recorded.contains(worker.as_str())).unwrap();
        test_cluster.context.delete("Deployment", other).await;
        // Every pass from here on began after the restart.
        test_cluster.context.until("DaskWorkerGroup", GROUP, |group| group["status"]["replicas"] == 4).await;
        test_cluster.scheduler.set(|state| state.hang = false);
        let rest = test_cluster.has_workers(GROUP, 3).await;
        assert!(!rest.contains(other));
        assert!(rest.is_subset(&before), "no worker was recreated");
        test_cluster.connected(GROUP, 3).await;
        assert_eq!(test_cluster.workers(GROUP).await, rest);
    })
    .await;
}

// --- Where the number of workers comes from ---

#[tokio::test]
#[ignore = "needs a cluster: make live"]
async fn clusters_and_groups_are_scaled_by_their_scale_subresource() {
    with_workers(1, |test_cluster| async move {
        for (kind, name, replicas) in [("DaskCluster", "demo", 3), ("DaskWorkerGroup", GROUP, 2)] {
            let patch = Patch::Merge(json!({"spec": {"replicas": replicas}}));
            test_cluster.context.api(kind).patch_scale(name, &PatchParams::default(), &patch).await.unwrap();
            test_cluster.has_workers(GROUP, replicas).await;
            eventually("the scale to say so", async || {
                let scale = test_cluster.context.api(kind).get_scale(name).await.unwrap().status.unwrap();
                if scale.replicas == i32::try_from(replicas).unwrap() { Ok(()) } else { Err(format!("{scale:?}")) }
            })
            .await;
            let scale = test_cluster.context.api(kind).get_scale(name).await.unwrap().status.unwrap();
            let selector = scale.selector.unwrap();
            // Pods are created and deleted later than their Deployments.
            eventually("the selector to find the pods", async || {
                match test_cluster.context.count("Pod", &selector).await {
                    count if count == replicas => Ok(()),
                    count => Err(format!("it finds {count}")),
                }
            })
            .await;
        }
    })
    .await;
}

#[tokio::test]
#[ignore = "needs a cluster: make live"]
async fn a_group_keeps_the_size_that_it_was_given_until_the_cluster_asks_for_another_one() {
    with_workers(1, |test_cluster| async move {
        test_cluster.scale(GROUP, 3).await;
        test_cluster.has_workers(GROUP, 3).await;
        let mut same = test_cluster.manifest(1);
        same["metadata"]["labels"] = json!({"applied": "again"});
        test_cluster.context.apply(&same).await;
        let passed = |group: &Value| group["metadata"]["labels"]["applied"] == "again";
        let group = test_cluster.context.until("DaskWorkerGroup", GROUP, passed).await;
        assert_eq!(group["spec"]["worker"]["replicas"], 3);
        test_cluster.has_workers(GROUP, 3).await;
        test_cluster.context.apply(&test_cluster.manifest(2)).await;
        test_cluster.has_workers(GROUP, 2).await;
    })
    .await;
}

// --- Pace ---

/// Returns the creation times of the workers in order, in whole seconds.
async fn made(test_cluster: &TestCluster) -> Vec<i64> {
    let time = |deployment: &Value| {
        let text = deployment["metadata"]["creationTimestamp"].as_str().unwrap();
        text.parse::<Timestamp>().unwrap().as_second()
    };
    let mut times: Vec<i64> = test_cluster.deployments(GROUP).await.iter().map(time).collect();
    times.sort_unstable();
    times
}

fn assert_two_every_three_seconds(made: &[i64]) {
    assert_eq!(made.len(), 6);
    assert!(made.windows(3).all(|window| window[2] - window[0] >= 3), "{made:?}");
}

#[tokio::test]
#[ignore = "needs a cluster: make live"]
async fn workers_are_made_as_fast_as_their_spec_allows() {
    let change = |manifest: &mut Value| {
        manifest["spec"]["worker"]["allocation"] = json!({"batchSize": 2, "delaySeconds": 3});
    };
    with_setup(Setup { change, ..Setup::of(6) }, |test_cluster| async move {
        assert_two_every_three_seconds(&made(&test_cluster).await);
    })
    .await;
}

#[tokio::test]
#[ignore = "needs a cluster: make live"]
async fn workers_are_made_as_fast_as_the_controllers_flags_allow() {
    with_temp_ns(|context| async move {
        let test_cluster = TestCluster::around(&context, crate::support::kubelet::by_name, usize::MAX).await;
        let flags = ["--worker-batch-size", "2", "--worker-batch-delay", "3"];
        let _controller = context.start_controller_with(&flags).await;
        context.apply(&test_cluster.manifest(6)).await;
        test_cluster.has_workers(GROUP, 6).await;
        assert_two_every_three_seconds(&made(&test_cluster).await);
    })
    .await;
}

// --- Steady state ---

#[tokio::test]
#[ignore = "needs a cluster: make live"]
async fn when_all_workers_are_registered_nothing_is_written() {
    with_workers(3, |test_cluster| async move {
        let available = |group: &Value| condition(group, "Available").0 == "True";
        let group = test_cluster.context.until("DaskWorkerGroup", GROUP, available).await;
        assert_eq!(message(&group, "Available"), "all workers run and are registered with the scheduler");
        let uids: Vec<String> =
            test_cluster.deployments(GROUP).await.iter().map(|worker| uid(worker).to_owned()).collect();
        let versions = settled(&test_cluster).await;
        stays(Duration::from_secs(20), async || unchanged(&test_cluster, &versions).await).await;
        let now: Vec<String> =
            test_cluster.deployments(GROUP).await.iter().map(|worker| uid(worker).to_owned()).collect();
        assert_eq!(now, uids);
    })
    .await;
}
