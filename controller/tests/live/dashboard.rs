//! Schedulers whose dashboard has a prefix and a port of another name, with a fake scheduler that serves it there.

use serde_json::{Value, json};

use crate::support::{
    TestContext, eventually,
    fake_cluster::{cluster_of, mark_scheduler_ready},
    scheduler::FakeScheduler,
    with_controller,
};

const PREFIX: &str = "operator.dask.org/dashboard-prefix";
const PORT: &str = "operator.dask.org/dashboard-port";

/// Returns a cluster whose scheduler is started by a shell, with a prefix and another port.
fn manifest(scheduler: &FakeScheduler) -> Value {
    let mut manifest = cluster_of(scheduler, 0);
    manifest["spec"]["idleTimeout"] = json!(3600);
    let spec = &mut manifest["spec"]["scheduler"];
    let container = &mut spec["spec"]["containers"][0];
    container["command"] = json!(["sh", "-c"]);
    container["args"] = json!(["exec dask scheduler --dashboard-address :8799 --dashboard-prefix=$(MOUNT)/dask"]);
    container["env"] = json!([{"name": "MOUNT", "value": "/p"}]);
    container["ports"][1] = json!({"name": "ui", "containerPort": 8799});
    spec["service"]["ports"][1]["name"] = json!("web");
    spec["service"]["ports"][1]["targetPort"] = json!("ui");
    manifest
}

async fn annotations(context: &TestContext) -> [Value; 2] {
    let service = context.expect("Service", "demo-scheduler").await;
    [PREFIX, PORT].map(|key| service["metadata"]["annotations"][key].clone())
}

fn message(cluster: &Value) -> &str {
    let conditions = cluster["status"]["conditions"].as_array().map(Vec::as_slice).unwrap_or_default();
    let probed = conditions.iter().find(|condition| condition["type"] == "IdleProbed");
    probed.and_then(|condition| condition["message"].as_str()).unwrap_or_default()
}

#[tokio::test]
#[ignore = "needs a cluster: make live"]
async fn a_scheduler_is_asked_by_http_below_the_prefix_of_its_command_line() {
    with_controller(async |context| {
        let mut scheduler = FakeScheduler::start_below("/p/dask").await;
        scheduler.close_rpc().await;
        context.create(&manifest(&scheduler)).await;
        context.settled("demo", 0).await;
        mark_scheduler_ready(&context, "demo").await;
        assert_eq!(annotations(&context).await, [json!("/p/dask"), json!("web")]);

        let refused = |demo: &Value| message(demo).contains("HTTP answered with 404 to /p/dask/api/v1/check_idle");
        context.until("DaskCluster", "demo", refused).await;

        scheduler.set(|state| state.http_api = true);
        eventually("the scheduler to be asked by HTTP", async || {
            let calls = scheduler.calls_of("/api/v1/check_idle");
            if calls.is_empty() { Err(format!("{:?}", scheduler.calls())) } else { Ok(()) }
        })
        .await;
    })
    .await;
}

/// A changed annotation must not replace the scheduler's pod, which would lose all results.
#[tokio::test]
#[ignore = "needs a cluster: make live"]
async fn a_prefix_that_users_set_reaches_the_service_without_a_restart() {
    with_controller(async |context| {
        let scheduler = FakeScheduler::start().await;
        context.create(&cluster_of(&scheduler, 0)).await;
        context.settled("demo", 0).await;
        assert_eq!(annotations(&context).await, [Value::Null, Value::Null]);
        let deployment = async || context.expect("Deployment", "demo-scheduler").await;
        let before = deployment().await;
        let set = async |prefix: Value| {
            context.merge("DaskCluster", "demo", json!({"metadata": {"annotations": {PREFIX: prefix}}})).await;
            let expected = [prefix, Value::Null];
            eventually("the annotation of the Service", async || match annotations(&context).await {
                found if found == expected => Ok(()),
                found => Err(format!("{found:?}")),
            })
            .await;
        };
        set(json!("/mine")).await;
        set(Value::Null).await;
        let after = deployment().await;
        for field in ["uid", "generation"] {
            assert_eq!(before["metadata"][field], after["metadata"][field]);
        }
    })
    .await;
}
