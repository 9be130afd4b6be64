//! Manifests as other platforms create them, and what those platforms read afterwards. The manifests are in `integrations/`.

use std::collections::BTreeSet;

use jiff::Timestamp;
use serde_json::{Value, json};

use crate::support::{TestContext, eventually, name, owned_by, with_controller};

/// The fields of a job's status. Flyte and Polyaxon parse them into dask-kubernetes' Go types.
const JOB_STATUS: [&str; 5] = ["clusterName", "endTime", "jobRunnerPodName", "jobStatus", "startTime"];

fn read(manifest: &str) -> Value {
    serde_saphyr::from_str(manifest).unwrap()
}

/// Waits until everything exists that a cluster consists of. Returns its Service and the pod of its scheduler.
async fn cluster_exists(context: &TestContext, cluster: &str, workers: usize) -> (Value, Value) {
    context.running(cluster).await;
    let selector = format!("dask.org/cluster-name={cluster},dask.org/component=worker");
    eventually("the workers", async || match context.count("Deployment", &selector).await {
        count if count == workers => Ok(()),
        count => Err(format!("there are {count}")),
    })
    .await;
    let selector = format!("dask.org/cluster-name={cluster},dask.org/component=scheduler");
    let pods = context.list("Pod", &selector).await;
    assert_eq!(pods.len(), 1, "{pods:?}");
    (context.expect("Service", &format!("{cluster}-scheduler")).await, pods[0].clone())
}

/// Checks that the Service selects the pod.
fn selects(service: &Value, pod: &Value) {
    let labels = &pod["metadata"]["labels"];
    let selector = service["spec"]["selector"].as_object().unwrap();
    assert!(selector.iter().all(|(key, value)| labels[key] == *value), "{selector:?} does not select {labels}");
}

fn job_status(job: &Value) -> &str {
    job["status"]["jobStatus"].as_str().unwrap_or_default()
}

/// Writes the same state of all containers of a job's runner.
async fn set_runner(context: &TestContext, job: &str, phase: &str, state: Value) {
    let runner = format!("{job}-runner");
    let pod = context.appears("Pod", &runner).await;
    let containers = pod["spec"]["containers"].as_array().unwrap();
    let status = |container: &Value| json!({"name": container["name"], "image": "", "imageID": "", "ready": false, "restartCount": 0, "state": state});
    let statuses: Vec<Value> = containers.iter().map(status).collect();
    context.merge_status("Pod", &runner, json!({"status": {"phase": phase, "containerStatuses": statuses}})).await;
}

/// Lets the runner run and end with `code`, and checks the status of the job on its way.
async fn job_ends(context: &TestContext, job: &str, (code, end): (i32, &str)) {
    let created = context.until("DaskJob", job, |job| job_status(job) == "ClusterCreated").await;
    assert_eq!(created["status"]["jobRunnerPodName"], format!("{job}-runner"));
    assert_eq!(created["status"]["clusterName"], job);
    let began = Timestamp::from_second(Timestamp::now().as_second()).unwrap().to_string();
    set_runner(context, job, "Running", json!({"running": {"startedAt": began}})).await;
    context.until("DaskJob", job, |job| job_status(job) == "Running").await;
    let phase = if code == 0 { "Succeeded" } else { "Failed" };
    let exit = json!({"terminated": {"exitCode": code, "startedAt": began, "finishedAt": began}});
    set_runner(context, job, phase, exit).await;
    let ended = context.until("DaskJob", job, |job| job_status(job) == end).await;
    let status = ended["status"].as_object().unwrap();
    let fields: BTreeSet<&str> = status.keys().map(String::as_str).collect();
    assert_eq!(fields, JOB_STATUS.into());
    for time in ["startTime", "endTime"] {
        // Whole seconds, as Go's `metav1.Time` writes them.
        let text = status[time].as_str().unwrap();
        assert!(text.parse::<Timestamp>().is_ok() && text.ends_with('Z') && !text.contains('.'), "{text}");
    }
    context.goes("DaskCluster", job).await;
}

/// Flyte finds the pod of the scheduler by its name and its container, and the runner by the status.
#[tokio::test]
#[ignore = "needs a cluster: make live"]
async fn a_job_of_flyte_runs() {
    with_controller(async |context| {
        let job = context.create(&read(include_str!("integrations/flyte.yaml"))).await;
        let (service, scheduler) = cluster_exists(&context, name(&job), 2).await;
        selects(&service, &scheduler);
        assert_eq!(service["spec"]["type"], "NodePort");
        assert_eq!(service["spec"]["ports"][1]["name"], "dashboard");
        assert!(name(&scheduler).starts_with(&format!("{}-scheduler", name(&job))), "{}", name(&scheduler));
        assert_eq!(scheduler["spec"]["containers"][0]["name"], "scheduler");
        let runner = context.appears("Pod", &format!("{}-runner", name(&job))).await;
        assert_eq!(runner["spec"]["containers"][0]["name"], "job-runner");
        for pod in [&scheduler, &runner] {
            assert_eq!(pod["metadata"]["labels"]["execution-id"], "f3ab1c9d2e4f5a6b7c8d", "{}", name(pod));
            let safe = &pod["metadata"]["annotations"]["cluster-autoscaler.kubernetes.io/safe-to-evict"];
            assert_eq!(safe, "false", "{}", name(pod));
        }
        job_ends(&context, name(&job), (0, "Successful")).await;
    })
    .await;
}

/// Polyaxon's Service selects by the labels of the run, among them two that children do not inherit.
#[tokio::test]
#[ignore = "needs a cluster: make live"]
async fn a_job_of_polyaxon_runs() {
    with_controller(async |context| {
        let job = context.create(&read(include_str!("integrations/polyaxon.yaml"))).await;
        let (service, scheduler) = cluster_exists(&context, name(&job), 1).await;
        selects(&service, &scheduler);
        job_ends(&context, name(&job), (1, "Failed")).await;
    })
    .await;
}

/// Argo Workflows reads `status.jobStatus`, and deletes the job with the workflow that owns it.
#[tokio::test]
#[ignore = "needs a cluster: make live"]
async fn a_job_of_an_argo_workflow_runs_and_goes_with_its_workflow() {
    with_controller(async |context| {
        let workflow = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "stands-for-a-workflow"}});
        let workflow = context.create(&workflow).await;
        let mut manifest = read(include_str!("integrations/argo-workflows.yaml"));
        manifest["metadata"]["ownerReferences"] = owned_by(&workflow, true);
        let job = context.create(&manifest).await;
        let (service, scheduler) = cluster_exists(&context, name(&job), 2).await;
        selects(&service, &scheduler);
        let label = &scheduler["metadata"]["labels"]["workflows.argoproj.io/workflow"];
        assert_eq!(label, name(&job), "Argo's user interface finds pods by it");
        job_ends(&context, name(&job), (0, "Successful")).await;
        context.delete("ConfigMap", name(&workflow)).await;
        context.goes("DaskJob", name(&job)).await;
    })
    .await;
}

#[tokio::test]
#[ignore = "needs a cluster: make live"]
async fn a_cluster_of_prefect_in_which_everything_left_out_is_null_runs() {
    with_controller(async |context| {
        let cluster = context.create(&read(include_str!("integrations/prefect.yaml"))).await;
        let (service, scheduler) = cluster_exists(&context, name(&cluster), 3).await;
        selects(&service, &scheduler);
        assert_eq!(cluster["spec"]["worker"]["spec"]["containers"][0]["env"], Value::Null, "{cluster}");
        let workers = context.list("Deployment", "dask.org/component=worker").await;
        for worker in workers {
            let env = worker["spec"]["template"]["spec"]["containers"][0]["env"].as_array().unwrap();
            assert!(env.iter().any(|variable| variable["name"] == "DASK_SCHEDULER_ADDRESS"), "{env:?}");
        }
    })
    .await;
}
