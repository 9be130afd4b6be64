//! What a cluster with a node would do, for tests whose scheduler is not in a pod.

use serde_json::{Value, json};

use super::{TestContext, cluster, eventually, name, scheduler::FakeScheduler};

/// The cluster `demo` whose Service has the ports of `scheduler`.
pub(crate) fn cluster_of(scheduler: &FakeScheduler, workers: usize) -> Value {
    let mut manifest = cluster("demo", workers);
    let ports = &mut manifest["spec"]["scheduler"]["service"]["ports"];
    ports[0]["port"] = json!(scheduler.port());
    ports[1]["port"] = json!(scheduler.http_port());
    manifest
}

/// Says of the scheduler's pod that it is ready, as its kubelet would.
pub(crate) async fn play_kubelet(context: &TestContext, cluster: &str) {
    let selector = format!("dask.org/component=scheduler,dask.org/cluster-name={cluster}");
    let pod = eventually("the scheduler's pod", async || {
        context.list("Pod", &selector).await.pop().ok_or_else(|| "there is none".to_owned())
    })
    .await;
    let holds = |type_: &str| json!({"type": type_, "status": "True"});
    let conditions = ["PodScheduled", "Initialized", "ContainersReady", "Ready"].map(holds);
    let container = json!({
        "name": "scheduler", "image": "", "imageID": "", "ready": true, "restartCount": 0,
        "state": {"running": {"startedAt": pod["metadata"]["creationTimestamp"]}},
    });
    let status = json!({
        "phase": "Running", "podIP": "127.0.0.1", "conditions": conditions, "containerStatuses": [container],
    });
    context.merge_status("Pod", name(&pod), json!({"status": status})).await;
}
