//! The idle time-out, with a fake scheduler.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::support::{
    DEADLINE, TestContext, condition, eventually,
    fake_cluster::{cluster_of, mark_scheduler_ready},
    scheduler::FakeScheduler,
    version, with_controller, with_temp_ns, within,
};

const TIMEOUT: u64 = 7;
/// A probe each 5 s, and room for a slow machine.
const SLACK: Duration = Duration::from_secs(15);

/// Creates a cluster of two workers with an idle time-out, whose scheduler is ready and busy.
async fn busy_cluster(context: &TestContext, scheduler: &FakeScheduler, action: &str) {
    scheduler.register("w");
    scheduler.set(|state| state.idle_since = None);
    scheduler.load("w", 1);
    let mut manifest = cluster_of(scheduler, 2);
    manifest["spec"]["idleTimeout"] = json!(TIMEOUT);
    manifest["spec"]["idleAction"] = json!(action);
    context.create(&manifest).await;
    context.settled("demo", 2).await;
    mark_scheduler_ready(context, "demo").await;
    probes(scheduler, 1).await;
}

/// Makes the scheduler idle.
fn idle(scheduler: &FakeScheduler, since: f64) {
    scheduler.load("w", 0);
    scheduler.set(|state| state.idle_since = Some(since));
}

/// Waits for this number of further probes of the scheduler.
pub(crate) async fn probes(scheduler: &FakeScheduler, times: usize) {
    let before = scheduler.calls_of("check_idle").len();
    within(2 * DEADLINE, "the scheduler to be asked", async || match scheduler.calls_of("check_idle").len() - before {
        asked if asked >= times => Ok(()),
        asked => Err(format!("it was asked {asked} times")),
    })
    .await;
}

async fn replicas(context: &TestContext) -> i64 {
    context.expect("DaskWorkerGroup", "demo-default").await["spec"]["worker"]["replicas"].as_i64().unwrap()
}

async fn until_replicas(context: &TestContext, count: i64) {
    eventually("the replicas", async || match replicas(context).await {
        found if found == count => Ok(()),
        found => Err(format!("there are {found}")),
    })
    .await;
}

#[tokio::test]
#[ignore = "needs a cluster: make live"]
async fn a_busy_cluster_is_only_asked_and_an_idle_one_is_deleted_in_time() {
    with_controller(async |context| {
        let scheduler = FakeScheduler::start().await;
        busy_cluster(&context, &scheduler, "Delete").await;
        let demo = async || version(&context.expect("DaskCluster", "demo").await).to_owned();
        within(3 * DEADLINE, "everything to be said", async || {
            let before = demo().await;
            probes(&scheduler, 1).await;
            if before == demo().await { Ok(()) } else { Err("there was something new".to_owned()) }
        })
        .await;
        let (before, asked) = (demo().await, scheduler.calls().len());
        probes(&scheduler, 4).await;
        assert_eq!(before, demo().await);
        // `identity` is how the group counts its connected workers.
        let read_only = ["check_idle", "identity", "/json/counts.json"];
        let calls = scheduler.calls();
        assert!(calls[asked..].iter().all(|call| read_only.contains(&call.op.as_str())), "{calls:?}");

        let begin = Instant::now();
        idle(&scheduler, 5000.0);
        within(Duration::from_secs(TIMEOUT) + SLACK, "the cluster to go", async || {
            context.get("DaskCluster", "demo").await.map_or(Ok(()), |_| Err("it is there".to_owned()))
        })
        .await;
        assert!(begin.elapsed() >= Duration::from_secs(TIMEOUT), "{:?}", begin.elapsed());
        let events = context.list("Event", "").await;
        assert!(events.iter().any(|event| event["reason"] == "IdleTimeout"), "{events:?}");
    })
    .await;
}

#[tokio::test]
#[ignore = "needs a cluster: make live"]
async fn a_cluster_whose_time_out_is_taken_away_stays() {
    with_controller(async |context| {
        let scheduler = FakeScheduler::start().await;
        busy_cluster(&context, &scheduler, "Delete").await;
        idle(&scheduler, 5000.0);
        probes(&scheduler, 1).await;
        context.merge("DaskCluster", "demo", json!({"spec": {"idleTimeout": 0}})).await;
        // Another cluster is deleted, which shows that enough time has passed.
        let other = FakeScheduler::start().await;
        let mut manifest = cluster_of(&other, 0);
        manifest["metadata"]["name"] = json!("other");
        manifest["spec"]["scheduler"]["service"]["selector"]["dask.org/cluster-name"] = json!("other");
        manifest["spec"]["idleTimeout"] = json!(2 * TIMEOUT);
        context.create(&manifest).await;
        context.running("other").await;
        mark_scheduler_ready(&context, "other").await;
        context.goes("DaskCluster", "other").await;
        context.expect("DaskCluster", "demo").await;
    })
    .await;
}

#[tokio::test]
#[ignore = "needs a cluster: make live"]
async fn an_idle_cluster_is_scaled_to_zero_once_for_each_time_that_it_is_idle() {
    with_temp_ns(|context| async move {
        let controller = context.start_controller().await;
        let scheduler = FakeScheduler::start().await;
        busy_cluster(&context, &scheduler, "ScaleToZero").await;
        idle(&scheduler, 5000.0);
        until_replicas(&context, 0).await;
        let marked = |demo: &Value| demo["metadata"]["annotations"]["operator.dask.org/scaled-to-zero"] == "5000";
        context.until("DaskCluster", "demo", marked).await;

        // A user may scale up a cluster that is still idle. Another controller respects that, too.
        context.merge("DaskWorkerGroup", "demo-default", json!({"spec": {"worker": {"replicas": 1}}})).await;
        probes(&scheduler, 3).await;
        controller.kill().await;
        let _controller = context.start_controller().await;
        probes(&scheduler, 4).await;
        assert_eq!(replicas(&context).await, 1);

        scheduler.set(|state| state.idle_since = Some(6000.0));
        until_replicas(&context, 0).await;
    })
    .await;
}

#[tokio::test]
#[ignore = "needs a cluster: make live"]
async fn a_scheduler_that_does_not_answer_is_reported_once_and_its_cluster_stays() {
    with_controller(async |context| {
        let scheduler = FakeScheduler::start().await;
        busy_cluster(&context, &scheduler, "Delete").await;
        scheduler.set(|state| state.exception = Some("RuntimeError: no".to_owned()));
        let failed = |demo: &Value| condition(demo, "IdleProbed") == ("False", "SchedulerFailed");
        let before = context.until("DaskCluster", "demo", failed).await;
        probes(&scheduler, 3).await;
        assert_eq!(version(&before), version(&context.expect("DaskCluster", "demo").await));
        assert_eq!(condition(&before, "ComponentsCreated").0, "True");

        scheduler.set(|state| state.exception = None);
        let answers = |demo: &Value| condition(demo, "IdleProbed").0 == "True";
        let before = context.until("DaskCluster", "demo", answers).await;
        probes(&scheduler, 2).await;
        assert_eq!(version(&before), version(&context.expect("DaskCluster", "demo").await));
        // A change that makes the cluster's reconciler write its part of the status.
        context.merge("DaskCluster", "demo", json!({"spec": {"idleTimeout": 600}})).await;
        context.until("DaskCluster", "demo", |demo| demo["status"]["observedGeneration"] == 2).await;
        assert!(answers(&context.expect("DaskCluster", "demo").await));
    })
    .await;
}
