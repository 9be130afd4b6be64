//! What is left when the controller has gone for good, on a real API server. Run it with `make live`.

mod support;

use std::process::Command;

use serde_json::{Value, json};

use support::{TestContext, cluster, with_temp_ns};

const FOREIGN: &str = "example.org/mine";

fn finalizers(object: &Value) -> &Value {
    &object["metadata"]["finalizers"]
}

/// A cluster that two plugins and somebody else hold, and that is to go.
async fn held(context: &TestContext) {
    let mut manifest = cluster("demo", 0);
    let plugins = ["plugin.kubernetes.dask.org/echo", "plugin.kubernetes.dask.org/other"];
    manifest["metadata"]["finalizers"] = json!([plugins[0], FOREIGN, plugins[1]]);
    context.create(&manifest).await;
    context.delete("DaskCluster", "demo").await;
    context.until("DaskCluster", "demo", |cluster| cluster["metadata"]["deletionTimestamp"].is_string()).await;
}

/// Otherwise neither the cluster nor its namespace could ever be deleted.
#[tokio::test]
#[ignore = "needs a cluster: make live"]
async fn after_the_controller_plugins_hold_nothing_and_others_still_do() {
    with_temp_ns(|context| async move {
        held(&context).await;
        let program = env!("CARGO_BIN_EXE_dask-operator");
        let arguments = ["release-finalizers", "--namespace", &context.namespace];
        let output = Command::new(program).args(arguments).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        assert_eq!(String::from_utf8_lossy(&output.stdout), "finalizers taken off Dask resources: 2\n");

        assert_eq!(finalizers(&context.expect("DaskCluster", "demo").await), &json!([FOREIGN]));
        context.merge("DaskCluster", "demo", json!({"metadata": {"finalizers": null}})).await;
        context.goes("DaskCluster", "demo").await;
    })
    .await;
}
