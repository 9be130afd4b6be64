//! What the tests on a real node share: the installed chart, real Dask, and programs that run in pods.
#![expect(clippy::print_stderr, reason = "the log of what failed in a pod belongs to the test's output")]

use std::{process::Command, time::Duration};

use k8s_openapi::api::core::v1::Pod;
use kube::{
    Api,
    api::{ListParams, LogParams},
};
use serde_json::{Value, json};

use super::{TestContext, name, within};

/// The release and the namespace of the operator that is tested.
pub(crate) const OPERATOR: &str = "dask-operator";
/// Selects the pods of the operator.
pub(crate) const OF_CONTROLLER: &str = "app.kubernetes.io/name=dask-operator";
pub(crate) const CHART: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../charts/dask-operator");
/// Images are loaded already, but a Python process takes its time to import Dask on a busy machine.
pub(crate) const PODS_READY: Duration = Duration::from_mins(3);
/// How long a program may take that creates clusters and computes on them.
const PROGRAM: Duration = Duration::from_mins(8);

/// The reference of one of the project's images.
pub(crate) fn image(name: &str) -> String {
    format!("{}/{name}:test", registry())
}

fn registry() -> String {
    std::env::var("REGISTRY").unwrap_or_else(|_| "localhost".to_owned())
}

/// The documents of a manifest whose images are in the registry of this run.
pub(crate) fn documents(manifest: &str) -> Vec<Value> {
    let manifest = manifest.replace("localhost/", &format!("{}/", registry()));
    serde_saphyr::from_multiple(&manifest).unwrap()
}

/// A cluster whose pods run.
pub(crate) fn real_cluster(name: &str, workers: usize) -> Value {
    let manifest = include_str!("../../../demo/cluster.yaml").replace("demo", name);
    let mut manifest = documents(&manifest).remove(0);
    manifest["spec"]["worker"]["replicas"] = json!(workers);
    manifest
}

/// The namespace of the installed operator.
pub(crate) fn operator(context: &TestContext) -> TestContext {
    let mut context = context.clone();
    OPERATOR.clone_into(&mut context.namespace);
    context
}

pub(crate) async fn pods_ready(context: &TestContext, cluster: &str, workers: usize) {
    let selector = format!("dask.org/cluster-name={cluster}");
    within(PODS_READY, "the pods of the cluster", async || {
        let deployments = context.list("Deployment", &selector).await;
        let ready = deployments.iter().filter(|deployment| deployment["status"]["readyReplicas"] == 1).count();
        let expected = (workers + 1, workers + 1);
        if (deployments.len(), ready) == expected {
            Ok(())
        } else {
            Err(format!("{ready} of {} are ready", deployments.len()))
        }
    })
    .await;
}

/// Runs helm on the operator's namespace, and waits until what it made is ready.
pub(crate) fn helm(arguments: &[&str]) {
    let output = Command::new("helm")
        .args(arguments)
        .args(["--namespace", OPERATOR, "--wait", "--timeout", "5m"])
        .output()
        .unwrap();
    assert!(output.status.success(), "helm {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
}

/// A ServiceAccount `account` that may do what `rules` say in the namespace.
pub(crate) async fn create_account(context: &TestContext, account: &str, rules: Value) {
    let rbac = "rbac.authorization.k8s.io";
    let metadata = json!({"name": account});
    let version = format!("{rbac}/v1");
    context.create(&json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": metadata})).await;
    context.create(&json!({"apiVersion": version, "kind": "Role", "metadata": metadata, "rules": rules})).await;
    let binding = json!({
        "apiVersion": version,
        "kind": "RoleBinding",
        "metadata": metadata,
        "roleRef": {"apiGroup": rbac, "kind": "Role", "name": account},
        "subjects": [{"kind": "ServiceAccount", "name": account, "namespace": context.namespace}],
    });
    context.create(&binding).await;
}

/// Waits for the end of a pod that is there; if it is not a good one, prints what was said and fails.
pub(crate) async fn succeeds(context: &TestContext, pod: &str) {
    let phase = within(PROGRAM, &format!("the end of {pod}"), async || {
        let found = context.expect("Pod", pod).await;
        match found["status"]["phase"].as_str().unwrap_or_default() {
            phase @ ("Succeeded" | "Failed") => Ok(phase.to_owned()),
            phase => Err(format!("it is {phase}, and said: {}", logs(context, pod, 20).await)),
        }
    })
    .await;
    if phase != "Succeeded" {
        eprintln!("--- the log of {pod} ---\n{}", logs(context, pod, 200).await);
        eprintln!("--- the end of the operator's log ---\n{}", operator_log(context, 100).await);
    }
    assert_eq!(phase, "Succeeded", "{pod} failed: its log is above");
}

/// The last lines that a pod wrote, as far as there are any.
pub(crate) async fn logs(context: &TestContext, pod: &str, lines: i64) -> String {
    let pods: Api<Pod> = Api::namespaced(context.client.clone(), &context.namespace);
    let params = LogParams { tail_lines: Some(lines), ..LogParams::default() };
    pods.logs(pod, &params).await.unwrap_or_else(|error| error.to_string())
}

/// What the installed operator said.
pub(crate) async fn operator_log(context: &TestContext, lines: i64) -> String {
    let operator = operator(context);
    let mut log = String::new();
    for pod in operator.list("Pod", OF_CONTROLLER).await {
        log += &logs(&operator, name(&pod), lines).await;
    }
    log
}

/// Names and uids of the pods that belong to Dask clusters, with how often their containers were restarted.
pub(crate) async fn dask_pods(context: &TestContext, selector: &str) -> Vec<(String, String, u64)> {
    let pods: Api<Pod> = Api::namespaced(context.client.clone(), &context.namespace);
    let list = pods.list(&ListParams::default().labels(selector)).await.unwrap();
    let described = list.items.into_iter().map(|pod| {
        let pod = serde_json::to_value(pod).unwrap();
        let containers = pod["status"]["containerStatuses"].as_array().cloned().unwrap_or_default();
        let restarts = containers.iter().filter_map(|container| container["restartCount"].as_u64()).sum();
        (name(&pod).to_owned(), super::uid(&pod).to_owned(), restarts)
    });
    let mut described: Vec<_> = described.collect();
    described.sort();
    described
}
