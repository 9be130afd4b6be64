//! The unmodified Python client on the installed chart: each program of `client/` runs in a pod, with no
//! more rights than the documentation gives to users. Run all of it with `make e2e`.

use serde_json::{Value, json};

use crate::support::{
    TestContext, eventually, name,
    real::{create_account, image, succeeds},
    with_temp_ns,
};

/// What `dask-kubernetes` documents, and `pods/log`, which its `get_logs` needs.
fn client_rules() -> Value {
    json!([
        {
            "apiGroups": ["kubernetes.dask.org"],
            "resources": ["daskclusters", "daskworkergroups", "daskworkergroups/scale", "daskjobs", "daskautoscalers"],
            "verbs": ["get", "list", "watch", "patch", "create", "delete"],
        },
        {"apiGroups": [""], "resources": ["pods", "pods/status", "services"], "verbs": ["get", "list", "watch"]},
        {"apiGroups": [""], "resources": ["pods/log"], "verbs": ["get"]},
    ])
}

async fn run(context: &TestContext, program: &str) {
    create_account(context, "client", client_rules()).await;
    let common = include_str!("client/common.py");
    let files = json!({"common.py": common, "program.py": program});
    let metadata = json!({"name": "client"});
    context.create(&json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": files})).await;
    let pod = json!({
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": metadata,
        "spec": {
            "restartPolicy": "Never",
            "serviceAccountName": "client",
            "containers": [{
                "name": "client",
                "image": image("dask"),
                "command": ["python", "/program/program.py"],
                "env": [
                    {"name": "IMAGE", "value": image("dask")},
                    // In a pod, the client does not find its own namespace and uses `default`.
                    {"name": "DASK_KUBERNETES__NAMESPACE", "value": context.namespace},
                ],
                "volumeMounts": [{"name": "program", "mountPath": "/program"}],
            }],
            "volumes": [{"name": "program", "configMap": {"name": "client"}}],
        },
    });
    context.create(&pod).await;
    succeeds(context, "client").await;
}

/// Runs a program and checks that it leaves no object behind.
async fn nothing_is_left(context: &TestContext) {
    let kinds = ["DaskCluster", "DaskWorkerGroup", "DaskAutoscaler", "DaskJob", "Deployment", "Service", "Pod"];
    eventually("the clusters' objects to go", async || {
        let mut left = Vec::new();
        for kind in kinds {
            let objects = context.list(kind, "").await;
            left.extend(objects.iter().map(|object| format!("{kind} {}", name(object))));
        }
        if left == ["Pod client"] { Ok(()) } else { Err(format!("there are {left:?}")) }
    })
    .await;
}

async fn runs_and_leaves_nothing(program: &'static str) {
    with_temp_ns(|context| async move {
        run(&context, program).await;
        nothing_is_left(&context).await;
    })
    .await;
}

#[tokio::test]
#[ignore = "needs a node: make e2e"]
async fn clusters_are_made_at_once_found_by_name_scaled_and_closed() {
    runs_and_leaves_nothing(include_str!("client/lifecycle.py")).await;
}

#[tokio::test]
#[ignore = "needs a node: make e2e"]
async fn a_second_group_is_added_scaled_and_removed_without_touching_the_first() {
    runs_and_leaves_nothing(include_str!("client/groups.py")).await;
}

#[tokio::test]
#[ignore = "needs a node: make e2e"]
async fn an_adaptive_cluster_grows_with_its_work_and_shrinks_to_nothing() {
    runs_and_leaves_nothing(include_str!("client/adaptive.py")).await;
}

#[tokio::test]
#[ignore = "needs a node: make e2e"]
async fn shrinking_under_load_loses_no_result_and_repeats_nothing() {
    runs_and_leaves_nothing(include_str!("client/shrinking.py")).await;
}

#[tokio::test]
#[ignore = "needs a node: make e2e"]
async fn an_idle_cluster_goes_by_itself_but_not_while_it_works() {
    runs_and_leaves_nothing(include_str!("client/idle.py")).await;
}

#[tokio::test]
#[ignore = "needs a node: make e2e"]
async fn a_scheduler_that_crashes_is_raised_with_its_log_and_workers_that_crash_are_in_a_condition() {
    runs_and_leaves_nothing(include_str!("client/crashes.py")).await;
}
