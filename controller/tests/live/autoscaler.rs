//! Autoscalers, with a fake scheduler.

use std::time::Duration;

use serde_json::{Value, json};

use crate::support::{
    TestContext, condition, eventually,
    fake_cluster::{cluster_of, mark_scheduler_ready},
    message, owned_by,
    scheduler::FakeScheduler,
    uid, version, with_controller, with_temp_ns, within,
};

/// The cool-down of dask-kubernetes and a few ticks.
const AFTER_COOL_DOWN: Duration = Duration::from_mins(2);
const WORKERS: &str = "dask.org/component=worker";
const COOL_DOWN_UNTIL: &str = "kubernetes.dask.org/cooldown-until";

fn autoscaler(name: &str, minimum: i64, maximum: i64) -> Value {
    json!({
        "apiVersion": "kubernetes.dask.org/v1",
        "kind": "DaskAutoscaler",
        "metadata": {"name": name},
        "spec": {"cluster": "demo", "minimum": minimum, "maximum": maximum},
    })
}

/// A cluster of one worker whose scheduler is ready.
async fn ready_cluster(context: &TestContext, scheduler: &FakeScheduler) -> Value {
    let demo = context.create(&cluster_of(scheduler, 1)).await;
    context.running("demo").await;
    mark_scheduler_ready(context, "demo").await;
    demo
}

async fn replicas(context: &TestContext, group: &str) -> i64 {
    context.expect("DaskWorkerGroup", group).await["spec"]["worker"]["replicas"].as_i64().unwrap()
}

async fn until_replicas(context: &TestContext, count: i64) {
    within(AFTER_COOL_DOWN, "the replicas", async || match replicas(context, "demo-default").await {
        found if found == count => Ok(()),
        found => Err(format!("there are {found}")),
    })
    .await;
}

/// Waits for this number of further probes of the scheduler.
async fn ticks(scheduler: &FakeScheduler, times: usize) {
    let before = scheduler.calls_of("adaptive_target").len();
    eventually("the scheduler to be asked", async || match scheduler.calls_of("adaptive_target").len() - before {
        asked if asked >= times => Ok(()),
        asked => Err(format!("it was asked {asked} times")),
    })
    .await;
}

#[tokio::test]
#[ignore = "needs a cluster: make live"]
async fn a_group_follows_what_the_scheduler_asks_for_up_and_down_and_then_nothing_is_written() {
    with_controller(async |context| {
        let scheduler = FakeScheduler::start().await;
        scheduler.set(|state| state.desired_workers = 3);
        let demo = ready_cluster(&context, &scheduler).await;
        context.create(&autoscaler("demo", 0, 5)).await;
        until_replicas(&context, 3).await;
        eventually("the workers", async || match context.count("Deployment", WORKERS).await {
            3 => Ok(()),
            found => Err(format!("there are {found}")),
        })
        .await;

        let grown = context.until("DaskAutoscaler", "demo", |demo| demo["status"]["pendingReplicas"] == 3).await;
        assert_eq!(grown["metadata"]["ownerReferences"], owned_by(&demo, true));
        assert_eq!((condition(&grown, "Accepted").0, condition(&grown, "Active").0), ("True", "True"));
        assert!(grown["metadata"]["annotations"][COOL_DOWN_UNTIL].as_str().unwrap().parse::<f64>().unwrap() > 1e9);
        assert!(grown["status"]["lastScaleTime"].is_string(), "{}", grown["status"]);

        // Nothing would go while workers are starting.
        for worker in context.list("Deployment", WORKERS).await {
            scheduler.register(crate::support::name(&worker));
        }
        scheduler.set(|state| state.desired_workers = 2);
        until_replicas(&context, 2).await;

        // How soon the last worker is gone depends on the machine.
        eventually("nothing to be written any more", async || {
            let before = context.expect("DaskAutoscaler", "demo").await;
            let group = context.expect("DaskWorkerGroup", "demo-default").await;
            ticks(&scheduler, 3).await;
            let after = context.expect("DaskAutoscaler", "demo").await;
            let group_after = context.expect("DaskWorkerGroup", "demo-default").await;
            let is_same = version(&before) == version(&after)
                && group["metadata"]["generation"] == group_after["metadata"]["generation"];
            if is_same { Ok(()) } else { Err(format!("{before} became {after}")) }
        })
        .await;
    })
    .await;
}

#[tokio::test]
#[ignore = "needs a cluster: make live"]
async fn the_cool_down_that_an_older_operator_wrote_is_honoured() {
    with_controller(async |context| {
        let scheduler = FakeScheduler::start().await;
        scheduler.set(|state| state.desired_workers = 3);
        ready_cluster(&context, &scheduler).await;
        let mut manifest = autoscaler("demo", 0, 5);
        manifest["metadata"]["annotations"] = json!({COOL_DOWN_UNTIL: "99999999999.5"});
        context.create(&manifest).await;
        ticks(&scheduler, 2).await;
        assert_eq!(replicas(&context, "demo-default").await, 1);
        context.annotate("DaskAutoscaler", "demo", COOL_DOWN_UNTIL, "1.5").await;
        until_replicas(&context, 3).await;
    })
    .await;
}

/// What `KubeCluster.scale()` does.
#[tokio::test]
#[ignore = "needs a cluster: make live"]
async fn a_deleted_autoscaler_writes_nothing_any_more() {
    with_controller(async |context| {
        let scheduler = FakeScheduler::start().await;
        scheduler.set(|state| state.desired_workers = 3);
        ready_cluster(&context, &scheduler).await;
        context.create(&autoscaler("demo", 0, 5)).await;
        until_replicas(&context, 3).await;
        context.delete("DaskAutoscaler", "demo").await;
        context.merge("DaskWorkerGroup", "demo-default", json!({"spec": {"worker": {"replicas": 1}}})).await;
        let asked = scheduler.calls_of("adaptive_target").len();
        // Another autoscaler shows that the controller continues, and that enough time has passed.
        context.create(&autoscaler("later", 1, 1)).await;
        ticks(&scheduler, 3).await;
        assert_eq!(replicas(&context, "demo-default").await, 1);
        assert!(asked > 0);
        assert!(context.get("DaskAutoscaler", "demo").await.is_none());
    })
    .await;
}

#[tokio::test]
#[ignore = "needs a cluster: make live"]
async fn the_younger_of_two_does_nothing_until_the_elder_goes() {
    with_controller(async |context| {
        let scheduler = FakeScheduler::start().await;
        ready_cluster(&context, &scheduler).await;
        context.create(&autoscaler("a", 1, 1)).await;
        context.until("DaskAutoscaler", "a", |a| condition(a, "Active").0 == "True").await;
        // Of the same second or younger, and later in the alphabet.
        context.create(&autoscaler("b", 2, 4)).await;
        let refused = |b: &Value| condition(b, "Accepted") == ("False", "AlreadyAutoscaled");
        let b = context.until("DaskAutoscaler", "b", refused).await;
        assert!(message(&b, "Accepted").contains("DaskAutoscaler a "), "{}", message(&b, "Accepted"));
        ticks(&scheduler, 2).await;
        assert_eq!(replicas(&context, "demo-default").await, 1);
        context.delete("DaskAutoscaler", "a").await;
        until_replicas(&context, 2).await;
        context.until("DaskAutoscaler", "b", |b| condition(b, "Accepted").0 == "True").await;
    })
    .await;
}

#[tokio::test]
#[ignore = "needs a cluster: make live"]
async fn an_autoscaler_that_is_created_before_its_cluster_waits_for_it_and_then_for_the_scheduler() {
    with_controller(async |context| {
        let scheduler = FakeScheduler::start().await;
        context.create(&autoscaler("demo", 2, 4)).await;
        let waits = |reason: &'static str| move |demo: &Value| condition(demo, "Accepted") == ("False", reason);
        context.until("DaskAutoscaler", "demo", waits("ClusterNotFound")).await;
        let demo = context.create(&cluster_of(&scheduler, 1)).await;
        context
            .until("DaskAutoscaler", "demo", |demo| condition(demo, "Active") == ("False", "SchedulerNotReady"))
            .await;
        mark_scheduler_ready(&context, "demo").await;
        until_replicas(&context, 2).await;
        let found = context.expect("DaskAutoscaler", "demo").await;
        assert_eq!(found["metadata"]["ownerReferences"][0]["uid"], uid(&demo));
    })
    .await;
}

#[tokio::test]
#[ignore = "needs a cluster: make live"]
async fn a_scheduler_that_does_not_answer_is_reported_and_nothing_is_scaled() {
    with_controller(async |context| {
        let scheduler = FakeScheduler::start().await;
        scheduler.set(|state| state.exception = Some("RuntimeError: no".to_owned()));
        ready_cluster(&context, &scheduler).await;
        context.create(&autoscaler("demo", 2, 4)).await;
        let failed = |demo: &Value| condition(demo, "Active") == ("False", "SchedulerFailed");
        context.until("DaskAutoscaler", "demo", failed).await;
        assert_eq!(replicas(&context, "demo-default").await, 1);
        scheduler.set(|state| state.exception = None);
        until_replicas(&context, 2).await;
        context.until("DaskAutoscaler", "demo", |demo| condition(demo, "Active").0 == "True").await;
    })
    .await;
}

#[tokio::test]
#[ignore = "needs a cluster: make live"]
async fn a_minimum_above_the_maximum_or_below_nothing_is_refused_by_the_api_server() {
    with_temp_ns(|context| async move {
        for (minimum, maximum, why) in
            [(4, 3, "minimum must not be greater than maximum"), (-1, 3, "spec.minimum"), (-2, -1, "spec.maximum")]
        {
            let refused = context.try_create(&autoscaler("wrong", minimum, maximum)).await.unwrap_err();
            assert!(refused.to_string().contains(why), "{refused}");
        }
        context.create(&autoscaler("right", 0, 0)).await;
    })
    .await;
}
