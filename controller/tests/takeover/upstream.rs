//! Taking over from `dask-kubernetes`' own operator: clusters that it created continue under ours. It needs a cluster
//! without our definitions, run it with `make takeover`.
#![expect(clippy::print_stderr, reason = "what the operator said belongs to the output of a test that failed")]

use std::{
    collections::BTreeSet,
    io::Write as _,
    process::{Command, Stdio},
};

use kube::Client;
use serde_json::{Value, json};

use crate::support::{
    TestContext, condition, eventually, name,
    real::{CHART, OPERATOR, PODS_READY, dask_pods, helm, image, operator_log, pods_ready, real_cluster, succeeds},
    within,
};

const KOPF_FINALIZER: &str = "kopf.zalando.org/KopfFinalizerMarker";
/// Three schedulers, five workers and a runner.
const PODS: usize = 9;
/// Names, uids and restarts.
type Pods = Vec<(String, String, u64)>;

fn kubectl(arguments: &[&str], input: &str) -> String {
    let mut command = Command::new("kubectl");
    command.args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut process = command.spawn().unwrap();
    process.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
    let output = process.wait_with_output().unwrap();
    assert!(output.status.success(), "kubectl {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

fn apply(context: &TestContext, manifest: &str) {
    let registry = image("").replace(":test", "");
    kubectl(&["-n", &context.namespace, "apply", "-f", "-"], &manifest.replace("localhost/", &registry));
}

/// Prints the log of our operator when the test fails.
struct SaysWhy;

impl Drop for SaysWhy {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let logs = Command::new("kubectl").args(["-n", OPERATOR, "logs", "deployment/dask-operator"]).output();
            eprintln!("--- the operator's log ---\n{}", String::from_utf8_lossy(&logs.unwrap().stdout));
        }
    }
}

async fn start_upstream(upstream: &TestContext) {
    apply(upstream, include_str!("definitions.yaml"));
    succeeds(upstream, "definitions").await;
    // The log may be complete a moment after the phase.
    let definitions = eventually("all definitions", async || {
        let said = kubectl(&["-n", &upstream.namespace, "logs", "definitions"], "");
        if said.trim_end().ends_with("# end") { Ok(said) } else { Err(format!("it has {} bytes", said.len())) }
    })
    .await;
    kubectl(&["apply", "--server-side", "-f", "-"], &definitions);
    apply(upstream, include_str!("upstream.yaml"));
    let rollout = ["-n", &upstream.namespace, "rollout", "status", "deployment/upstream", "--timeout", "5m"];
    kubectl(&rollout, "");
}

/// Waits until upstream's operator has nothing left to do.
async fn upstream_has_made_everything(team: &TestContext) -> Pods {
    within(PODS_READY, "upstream's operator to make everything", async || {
        let pods = team.list("Pod", "").await;
        let ready = pods.iter().filter(|pod| condition(pod, "Ready").0 == "True").count();
        if (pods.len(), ready) == (PODS, PODS) { Ok(()) } else { Err(format!("{ready} of {} are ready", pods.len())) }
    })
    .await;
    team.until("DaskJob", "job", |job| job["status"]["jobStatus"] == "Running").await;
    for (kind, name) in marked() {
        team.until(kind, name, is_marked).await;
    }
    dask_pods(team, "").await
}

/// The kinds to which upstream's operator adds its finalizer.
fn marked() -> [(&'static str, &'static str); 4] {
    [("DaskCluster", "kept"), ("DaskCluster", "adaptive"), ("DaskCluster", "job"), ("DaskAutoscaler", "adaptive")]
}

fn is_marked(object: &Value) -> bool {
    object["metadata"]["finalizers"].as_array().is_some_and(|list| list.contains(&json!(KOPF_FINALIZER)))
}

async fn stop_upstream(upstream: &TestContext) {
    kubectl(&["-n", &upstream.namespace, "delete", "deployment", "upstream"], "");
    eventually("upstream's operator to end", async || {
        let left = upstream.count("Pod", "app=upstream").await;
        if left == 0 { Ok(()) } else { Err(format!("{left} pods are there")) }
    })
    .await;
}

fn install_ours() {
    let image = format!("image.name={}", image(OPERATOR).replace(":test", ""));
    let values = ["--set", &image, "--set", "image.tag=test,logFormat=json,crds.install=false"];
    helm(&[&["install", OPERATOR, CHART, "--create-namespace"][..], &values].concat());
}

async fn nothing_but_the_marks_has_changed(team: &TestContext, pods: &Pods) {
    for (kind, name) in marked() {
        team.until(kind, name, |object| !is_marked(object)).await;
    }
    for cluster in ["kept", "adaptive", "job"] {
        team.running(cluster).await;
    }
    assert_eq!(&dask_pods(team, "").await, pods);
}

/// Scales the group and waits until it has exactly this number of workers.
async fn scale(team: &TestContext, group: &str, workers: usize) {
    team.merge("DaskWorkerGroup", group, json!({"spec": {"worker": {"replicas": workers}}})).await;
    let selector = format!("dask.org/workergroup-name={group}");
    within(PODS_READY, &format!("{workers} workers"), async || {
        let pods = team.list("Pod", &selector).await;
        let ready = pods.iter().filter(|pod| condition(pod, "Ready").0 == "True").count();
        let deployments = team.count("Deployment", &selector).await;
        let found = (deployments, pods.len(), ready);
        if found == (workers, workers, workers) { Ok(()) } else { Err(format!("there are {found:?}")) }
    })
    .await;
}

/// Returns the pods that are not workers of `group`.
fn beside(pods: &Pods, group: &str) -> Pods {
    let prefix = format!("{group}-worker-");
    pods.iter().filter(|(name, ..)| !name.starts_with(&prefix)).cloned().collect()
}

async fn old_clusters_are_scaled_and_new_ones_made(team: &TestContext, pods: &Pods) {
    scale(team, "kept-default", 3).await;
    let grown: BTreeSet<_> = dask_pods(team, "").await.into_iter().collect();
    assert!(pods.iter().all(|pod| grown.contains(pod)), "{pods:?} are not among {grown:?}");
    scale(team, "kept-default", 1).await;
    let shrunk = dask_pods(team, "").await;
    assert_eq!(beside(&shrunk, "kept-default"), beside(pods, "kept-default"));
    assert!(shrunk.iter().all(|pod| grown.contains(pod)), "{shrunk:?} are not among {grown:?}");

    team.create(&real_cluster("new", 1)).await;
    team.running("new").await;
    pods_ready(team, "new", 1).await;
}

async fn the_running_job_succeeds(team: &TestContext) {
    assert_eq!(team.expect("DaskJob", "job").await["status"]["jobStatus"], "Running");
    kubectl(&["-n", &team.namespace, "exec", "job-runner", "--", "touch", "/tmp/end"], "");
    let ended = team.until("DaskJob", "job", |job| job["status"]["jobStatus"] == "Successful").await;
    assert!(ended["status"]["startTime"].as_str().unwrap() <= ended["status"]["endTime"].as_str().unwrap());
    team.goes("DaskCluster", "job").await;
}

/// Definitions may be older than the operator for weeks: that must be reported without flooding the log.
async fn old_definitions_are_said_once(team: &TestContext) {
    let log = operator_log(team, 10_000).await;
    let lines = log.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let warnings = lines.filter(|line| line["level"] == "WARN").map(|line| line.to_string());
    let about: Vec<String> = warnings.filter(|line| line.to_lowercase().contains("definition")).collect();
    assert_eq!(about.len(), 1, "{about:?} in {log}");
}

/// Installs our definitions over upstream's, as the documentation says.
async fn new_definitions_change_no_pod_and_bring_conditions(team: &TestContext) {
    // Those of the job that has ended are still being deleted.
    let of_clusters = |pods: Pods| pods.into_iter().filter(|(name, ..)| !name.starts_with("job-")).collect::<Pods>();
    let pods = of_clusters(dask_pods(team, "").await);
    let own = ["--set", "crds.install=true", "--take-ownership", "--force-conflicts"];
    helm(&[&["upgrade", OPERATOR, CHART, "--reuse-values"][..], &own].concat());
    for group in ["kept-default", "kept-extra", "adaptive-default", "new-default"] {
        team.until("DaskWorkerGroup", group, |group| condition(group, "Scaled").0 == "True").await;
    }
    for cluster in ["kept", "adaptive", "new"] {
        let with_conditions =
            |cluster: &Value| cluster["status"]["conditions"].as_array().is_some_and(|all| !all.is_empty());
        team.until("DaskCluster", cluster, with_conditions).await;
    }
    assert_eq!(of_clusters(dask_pods(team, "").await), pods);
}

async fn everything_can_be_deleted(team: &TestContext) {
    for cluster in ["kept", "adaptive", "new"] {
        team.delete("DaskCluster", cluster).await;
    }
    team.delete("DaskJob", "job").await;
    let kinds = ["DaskCluster", "DaskWorkerGroup", "DaskAutoscaler", "DaskJob", "Deployment", "Service", "Pod"];
    within(PODS_READY, "everything to go", async || {
        let mut left = Vec::new();
        for kind in kinds {
            left.extend(team.list(kind, "").await.iter().map(|object| format!("{kind} {}", name(object))));
        }
        if left.is_empty() { Ok(()) } else { Err(format!("there are {left:?}")) }
    })
    .await;
}

#[tokio::test]
#[ignore = "needs a node of its own: make takeover"]
async fn what_upstreams_operator_made_goes_on_under_ours() {
    let client = Client::try_default().await.unwrap();
    let [upstream, team] = ["upstream-operator", "takeover"].map(|name| TestContext::of(client.clone(), name));
    for context in [&upstream, &team] {
        context.create_namespace().await;
    }
    start_upstream(&upstream).await;
    apply(&team, include_str!("objects.yaml"));
    let pods = upstream_has_made_everything(&team).await;
    stop_upstream(&upstream).await;

    let _says_why = SaysWhy;
    install_ours();
    nothing_but_the_marks_has_changed(&team, &pods).await;
    old_clusters_are_scaled_and_new_ones_made(&team, &pods).await;
    the_running_job_succeeds(&team).await;
    old_definitions_are_said_once(&team).await;
    new_definitions_change_no_pod_and_bring_conditions(&team).await;
    everything_can_be_deleted(&team).await;
}
