//! What is left after the controller was removed.

use std::process::Command;

use serde_json::{Value, json};

use crate::support::{TestContext, cluster, with_temp_ns};

/// The private key and Leases that are held would outlive the installation.
#[tokio::test]
#[ignore = "needs a cluster: make live"]
async fn the_leases_and_the_authority_go_with_the_installation_and_foreign_secrets_stay() {
    with_temp_ns(|context| async move {
        let release = || {
            let program = env!("CARGO_BIN_EXE_dask-operator");
            let namespace = context.namespace.as_str();
            let arguments = ["release-finalizers", "--namespace", namespace, "--leftovers", namespace];
            let output = Command::new(program).args(arguments).output().unwrap();
            assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        };
        release();
        let lease = json!({
            "apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": {"name": "dask-operator"},
            "spec": {"holderIdentity": "pod_1", "leaseDurationSeconds": 15},
        });
        let authority = "dask-operator-plugin-ca";
        let secret = |labels: Value| {
            json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": authority, "labels": labels}})
        };
        let mut claim = lease.clone();
        let claim_name = format!("dask-operator.{}", context.namespace);
        claim["metadata"]["name"] = json!(claim_name);
        context.create(&lease).await;
        context.create(&claim).await;
        context.create(&secret(json!({}))).await;
        release();
        assert_eq!(context.get("Lease", "dask-operator").await, None);
        assert_eq!(context.get("Lease", &claim_name).await, None, "other releases would report it");
        context.delete("Secret", authority).await;
        context.create(&secret(json!({"app.kubernetes.io/managed-by": "dask-operator"}))).await;
        release();
        assert_eq!(context.get("Secret", authority).await, None);
    })
    .await;
}

const FOREIGN: &str = "example.org/mine";

fn finalizers(object: &Value) -> &Value {
    &object["metadata"]["finalizers"]
}

/// More finalizers than any installation has plugins. Users may add as many as an object can hold.
const MANY: usize = 500;

/// A cluster that is being deleted and has finalizers of plugins and of another owner.
async fn held(context: &TestContext) {
    let mut manifest = cluster("demo", 0);
    let plugins = (1..MANY).map(|number| format!("plugin.kubernetes.dask.org/made-up-{number}"));
    let finalizers = ["plugin.kubernetes.dask.org/echo".to_owned(), FOREIGN.to_owned()].into_iter().chain(plugins);
    manifest["metadata"]["finalizers"] = finalizers.collect();
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
        assert_eq!(
            String::from_utf8_lossy(&output.stdout),
            format!("finalizers removed from Dask resources: {MANY}\n")
        );

        assert_eq!(finalizers(&context.expect("DaskCluster", "demo").await), &json!([FOREIGN]));
        context.merge("DaskCluster", "demo", json!({"metadata": {"finalizers": null}})).await;
        context.goes("DaskCluster", "demo").await;
    })
    .await;
}
