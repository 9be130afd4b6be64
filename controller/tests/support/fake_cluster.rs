//! A cluster whose scheduler is a fake one and not in a pod.

use serde_json::{Value, json};

use super::{TestContext, cluster, eventually, name, scheduler::FakeScheduler};

/// Returns the cluster `demo`, whose Service has the ports of `scheduler`.
pub(crate) fn cluster_of(scheduler: &FakeScheduler, workers: usize) -> Value {
    let mut manifest = cluster("demo", workers);
    let ports = &mut manifest["spec"]["scheduler"]["service"]["ports"];
    ports[0]["port"] = json!(scheduler.port());
    ports[1]["port"] = json!(scheduler.http_port());
    manifest
}

/// Marks the scheduler's pod as ready, as its kubelet would.
pub(crate) async fn mark_scheduler_ready(context: &TestContext, cluster: &str) {
    mark_scheduler(context, cluster, true).await;
}

/// Marks the scheduler's pod as one whose container runs and whose probe fails.
pub(crate) async fn mark_scheduler_unready(context: &TestContext, cluster: &str) {
    mark_scheduler(context, cluster, false).await;
}

async fn mark_scheduler(context: &TestContext, cluster: &str, is_ready: bool) {
    let selector = format!("dask.org/component=scheduler,dask.org/cluster-name={cluster}");
    let pod = eventually("the scheduler's pod", async || {
        context.list("Pod", &selector).await.pop().ok_or_else(|| "there is none".to_owned())
    })
    .await;
    let ready = if is_ready { "True" } else { "False" };
    let conditions = [("PodScheduled", "True"), ("Initialized", "True"), ("ContainersReady", ready), ("Ready", ready)];
    let conditions = conditions.map(|(type_, status)| json!({"type": type_, "status": status}));
    let container = json!({
        "name": "scheduler", "image": "", "imageID": "", "ready": is_ready, "restartCount": 0,
        "state": {"running": {"startedAt": pod["metadata"]["creationTimestamp"]}},
    });
    let status = json!({
        "phase": "Running", "podIP": "127.0.0.1", "conditions": conditions, "containerStatuses": [container],
    });
    context.merge_status("Pod", name(&pod), json!({"status": status})).await;
}

/// Reports the success of the runner of `job`, as its kubelet would.
pub(crate) async fn finish_runner(context: &TestContext, job: &str) {
    let runner = format!("{job}-runner");
    context.appears("Pod", &runner).await;
    let ended = json!({"exitCode": 0, "startedAt": "2026-01-01T00:00:00Z", "finishedAt": "2026-01-01T00:01:00Z"});
    let container = json!({
        "name": "job", "image": "a", "imageID": "", "ready": false, "restartCount": 0, "state": {"terminated": ended},
    });
    let status = json!({"status": {"phase": "Succeeded", "containerStatuses": [container]}});
    context.merge_status("Pod", &runner, status).await;
}
