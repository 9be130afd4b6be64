//! What the API server warns about: the cluster runs, and its author is informed.

use std::time::Duration;

use serde_json::{Value, json};

use crate::{
    job::job_of,
    support::{
        NUDGE, TestContext, condition, eventually, message, stays,
        test_cluster::{GROUP, Setup, TestCluster, with_setup},
        uid, with_controller,
    },
};

const SCHEDULER_FIELD: &str = "spec.scheduler.spec.containers[0].typo";
const SERVICE_FIELD: &str = "spec.scheduler.service.typo";
const WORKER_FIELD: &str = "spec.worker.spec.containers[0].typo";

fn with_typos(manifest: &mut Value) {
    for part in ["scheduler", "worker"] {
        manifest["spec"][part]["spec"]["containers"][0]["typo"] = json!({"memory": "1Gi"});
    }
    manifest["spec"]["scheduler"]["service"]["typo"] = json!(1);
}

/// Counts the Events about `object` that have the reason `FieldsIgnored`.
async fn events(context: &TestContext, object: &Value) -> u64 {
    let events = context.list("Event", "").await;
    let ours = |event: &&Value| event["regarding"]["uid"] == uid(object) && event["reason"] == "FieldsIgnored";
    events.iter().filter(ours).map(|event| event["series"]["count"].as_u64().unwrap_or(1)).sum()
}

/// Waits until the object's condition `Accepted` names exactly these fields. Returns it.
async fn ignores(test_cluster: &TestCluster, kind: &str, name: &str, fields: &[&str]) -> Value {
    let all = [SCHEDULER_FIELD, SERVICE_FIELD, WORKER_FIELD];
    let fits = |object: &Value| {
        let reason = if fields.is_empty() { "Valid" } else { "FieldsIgnored" };
        let named = |field: &str| message(object, "Accepted").contains(field);
        condition(object, "Accepted") == ("True", reason)
            && all.iter().all(|field| named(field) == fields.contains(field))
    };
    test_cluster.context.until(kind, name, fits).await
}

#[tokio::test]
#[ignore = "needs a cluster: make live"]
async fn fields_that_the_api_server_does_not_know_are_named_and_the_cluster_runs() {
    with_setup(Setup { change: with_typos, ..Setup::of(2) }, |mut test_cluster| async move {
        let all = [SCHEDULER_FIELD, SERVICE_FIELD, WORKER_FIELD];
        let cluster = ignores(&test_cluster, "DaskCluster", "demo", &all).await;
        assert_eq!(cluster["status"]["phase"], "Running");
        let group = ignores(&test_cluster, "DaskWorkerGroup", GROUP, &[WORKER_FIELD]).await;
        for object in [&cluster, &group] {
            let context = &test_cluster.context;
            eventually("an Event", async || match events(context, object).await {
                0 => Err("there is none".to_owned()),
                _ => Ok(()),
            })
            .await;
        }
        // Every pass of another process comes to the same result, and writes nothing.
        test_cluster.restart_controller().await;
        let context = &test_cluster.context;
        context.annotate("DaskCluster", "demo", NUDGE, "x").await;
        eventually("the annotation on all Deployments", async || {
            let deployments = context.list("Deployment", "").await;
            let done = deployments.iter().filter(|deployment| deployment["metadata"]["annotations"][NUDGE] == "x");
            if done.count() == 3 { Ok(()) } else { Err(format!("there are {}", deployments.len())) }
        })
        .await;
        ignores(&test_cluster, "DaskCluster", "demo", &all).await;
        ignores(&test_cluster, "DaskWorkerGroup", GROUP, &[WORKER_FIELD]).await;
        assert_eq!(events(context, &cluster).await, 1);
        assert_eq!(events(context, &group).await, 1);
        let versions = test_cluster.versions().await;
        stays(Duration::from_secs(2), async || {
            if test_cluster.versions().await == versions { Ok(()) } else { Err("something is written".to_owned()) }
        })
        .await;
    })
    .await;
}

#[tokio::test]
#[ignore = "needs a cluster: make live"]
async fn fields_are_no_longer_named_once_the_spec_is_fixed() {
    with_setup(Setup { change: with_typos, ..Setup::of(1) }, |test_cluster| async move {
        let context = &test_cluster.context;
        let all = [SCHEDULER_FIELD, SERVICE_FIELD, WORKER_FIELD];
        ignores(&test_cluster, "DaskCluster", "demo", &all).await;
        let mut manifest = test_cluster.manifest(1);
        with_typos(&mut manifest);
        let service = manifest["spec"]["scheduler"]["service"].as_object_mut().unwrap();
        service.remove("typo");
        context.apply(&manifest).await;
        ignores(&test_cluster, "DaskCluster", "demo", &[SCHEDULER_FIELD, WORKER_FIELD]).await;
        manifest["spec"]["worker"] = test_cluster.manifest(1)["spec"]["worker"].clone();
        context.apply(&manifest).await;
        ignores(&test_cluster, "DaskWorkerGroup", GROUP, &[]).await;
        ignores(&test_cluster, "DaskCluster", "demo", &[SCHEDULER_FIELD]).await;
        // Nothing is left of the record, either.
        context
            .until("DaskWorkerGroup", GROUP, |group| {
                group["metadata"]["annotations"].get("operator.dask.org/worker-warnings").is_none()
            })
            .await;
        context.apply(&test_cluster.manifest(1)).await;
        ignores(&test_cluster, "DaskCluster", "demo", &[]).await;
        // Updates of existing components report warnings as well.
        let mut manifest = test_cluster.manifest(1);
        manifest["spec"]["scheduler"]["service"]["typo"] = json!(1);
        context.apply(&manifest).await;
        ignores(&test_cluster, "DaskCluster", "demo", &[SERVICE_FIELD]).await;
    })
    .await;
}

#[tokio::test]
#[ignore = "needs a cluster: make live"]
async fn a_job_whose_runner_has_unknown_fields_runs_and_an_event_names_them() {
    with_controller(async |context| {
        let job = context.create(&job_of("demo", |spec| spec["job"]["spec"]["containers"][0]["typo"] = json!(1))).await;
        context.until("DaskJob", "demo", |job| job["status"]["jobStatus"] == "ClusterCreated").await;
        eventually("an Event", async || {
            let events = context.list("Event", "").await;
            let ours = |event: &&Value| event["regarding"]["uid"] == uid(&job) && event["reason"] == "FieldsIgnored";
            let notes: Vec<&str> = events.iter().filter(ours).filter_map(|event| event["note"].as_str()).collect();
            match notes.as_slice() {
                [note] if note.contains("spec.job.spec.containers[0].typo") => Ok(()),
                notes => Err(format!("there are {notes:?}")),
            }
        })
        .await;
    })
    .await;
}
