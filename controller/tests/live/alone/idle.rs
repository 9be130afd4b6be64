//! Many idle clusters.

use futures::future::join_all;
use serde_json::{Value, json};

use crate::{
    idle::probes,
    support::{
        DEADLINE, TestContext, alone_at_first_with_temp_ns, condition,
        fake_cluster::{cluster_of, mark_scheduler_ready},
        name,
        scheduler::FakeScheduler,
        version, within,
    },
};

/// Returns the versions of all objects that the controller could have written.
async fn versions(context: &TestContext) -> Vec<(String, String)> {
    let mut versions = Vec::new();
    for kind in ["DaskCluster", "DaskWorkerGroup", "DaskAutoscaler", "Deployment", "Service", "Event"] {
        let mut objects = context.list(kind, "").await;
        // Without a node, Kubernetes' own scheduler has Events to write.
        objects.retain(|object| kind != "Event" || object["reportingController"] == "dask-operator");
        versions.extend(objects.iter().map(|object| (format!("{kind} {}", name(object)), version(object).to_owned())));
    }
    versions
}

async fn idle_cluster(context: &TestContext, scheduler: &FakeScheduler, index: usize) {
    let cluster = format!("idle-{index}");
    let mut manifest = cluster_of(scheduler, 0);
    manifest["metadata"]["name"] = json!(cluster);
    manifest["spec"]["scheduler"]["service"]["selector"]["dask.org/cluster-name"] = json!(cluster);
    manifest["spec"]["idleTimeout"] = json!(10_000);
    context.create(&manifest).await;
    let autoscaler = json!({
        "apiVersion": "kubernetes.dask.org/v1",
        "kind": "DaskAutoscaler",
        "metadata": {"name": cluster},
        "spec": {"cluster": cluster, "minimum": 0, "maximum": 4},
    });
    context.create(&autoscaler).await;
    mark_scheduler_ready(context, &cluster).await;
}

/// dask-kubernetes posts 12 Events a minute for each cluster with a time-out and for each autoscaler.
#[tokio::test]
#[ignore = "needs a cluster: make live"]
async fn fifty_idle_clusters_with_autoscalers_are_asked_all_the_time_and_nothing_is_written() {
    alone_at_first_with_temp_ns(|context, exclusive| async move {
        let _controller = context.start_controller().await;
        let scheduler = FakeScheduler::start().await;
        scheduler.set(|state| (state.idle_since, state.desired_workers) = (Some(5000.0), 0));
        join_all((0..50).map(|index| idle_cluster(&context, &scheduler, index))).await;
        for index in 0..50 {
            let ready = |cluster: &Value| condition(cluster, "SchedulerReady").0 == "True";
            context.until("DaskCluster", &format!("idle-{index}"), ready).await;
            let active = |autoscaler: &Value| condition(autoscaler, "Active").0 == "True";
            context.until("DaskAutoscaler", &format!("idle-{index}"), active).await;
        }
        within(3 * DEADLINE, "everything to be said", async || {
            let before = versions(&context).await;
            probes(&scheduler, 100).await;
            if before == versions(&context).await { Ok(()) } else { Err("there was something new".to_owned()) }
        })
        .await;

        // From here on the controller only asks the scheduler, which disturbs no other test.
        exclusive.share();
        let before = versions(&context).await;
        // Each cluster is asked every 5 s, and its autoscaler asks as often.
        within(6 * DEADLINE, "a minute's questions", async || {
            probes(&scheduler, 50 * 12).await;
            Ok(())
        })
        .await;
        assert_eq!(before, versions(&context).await);
    })
    .await;
}
