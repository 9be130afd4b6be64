//! DaskJobs as dask-kubernetes has them, and the limits of Kubernetes Jobs. `job_features` has the rest.

use std::collections::BTreeSet;

use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

use crate::support::{TestContext, cluster, eventually, name, owned_by, uid, version, with_controller, with_temp_ns};

pub(crate) const CLUSTER: &str = "DaskCluster";
pub(crate) const JOB: &str = "DaskJob";
pub(crate) const POD: &str = "Pod";
pub(crate) const RUNNER: &str = "demo-runner";

/// Returns a job of one worker after `edit` of its spec.
pub(crate) fn job_of(name: &str, edit: impl FnOnce(&mut Value)) -> Value {
    let mut spec = json!({
        "job": {"spec": {"containers": [{"name": "job", "image": "dask", "env": [{"name": "MINE", "value": "1"}]}]}},
        "cluster": {"spec": cluster(name, 1)["spec"]},
    });
    edit(&mut spec);
    json!({"apiVersion": "kubernetes.dask.org/v1", "kind": JOB, "metadata": {"name": name}, "spec": spec})
}

pub(crate) fn job(edit: impl FnOnce(&mut Value)) -> Value {
    job_of("demo", edit)
}

pub(crate) fn never_restarted(spec: &mut Value) {
    spec["job"]["spec"]["restartPolicy"] = json!("Never");
}

pub(crate) fn ago(seconds: i64) -> String {
    let now = Timestamp::from_second(Timestamp::now().as_second()).unwrap();
    now.checked_sub(SignedDuration::from_secs(seconds)).unwrap().to_string()
}

pub(crate) fn running(since: &str) -> Value {
    json!({"running": {"startedAt": since}})
}

pub(crate) fn exited(code: i32, from: &str, to: &str) -> Value {
    json!({"terminated": {"exitCode": code, "startedAt": from, "finishedAt": to}})
}

/// Returns a container's status as kubelets write it.
pub(crate) fn container(name: &str, state: &Value, restarts: u32) -> Value {
    json!({
        "name": name, "image": "dask", "imageID": "", "ready": false, "restartCount": restarts, "state": state,
    })
}

/// Writes the status of the runner of `job`, which has no sidecars.
pub(crate) async fn kubelet(context: &TestContext, job: &str, phase: &str, state: Value) {
    let containers = [container("job", &state, 0)];
    let status = json!({"status": {"phase": phase, "startTime": ago(0), "containerStatuses": containers}});
    context.merge_status(POD, &format!("{job}-runner"), status).await;
}

pub(crate) async fn is(context: &TestContext, job_status: &str) -> Value {
    context.until(JOB, "demo", |job| job["status"]["jobStatus"] == job_status).await
}

/// Waits until the job runs. Returns the runner's uid.
pub(crate) async fn runs(context: &TestContext, since: &str) -> String {
    is(context, "ClusterCreated").await;
    kubelet(context, "demo", "Running", running(since)).await;
    is(context, "Running").await;
    uid(&context.expect(POD, RUNNER).await).to_owned()
}

pub(crate) fn keys(status: &Value) -> BTreeSet<&str> {
    status.as_object().unwrap().keys().map(String::as_str).collect()
}

/// Waits for an Event with this reason about the job.
pub(crate) async fn until_event(context: &TestContext, job: &Value, reason: &str) -> Value {
    eventually(&format!("an Event {reason}"), async || {
        let events = context.list("Event", "").await;
        let ours = |event: &&Value| event["regarding"]["uid"] == uid(job) && event["reason"] == reason;
        events.iter().find(ours).cloned().ok_or_else(|| format!("there are {} others", events.len()))
    })
    .await
}

// --- The parts of a job, and its end ---

#[tokio::test]
#[ignore = "needs a cluster: make live"]
async fn a_job_gets_a_cluster_and_a_runner_and_ends_with_five_keys_when_the_runner_succeeds() {
    with_controller(async |context| {
        let mut manifest = job(|spec| {
            spec["cluster"]["metadata"] = json!({"labels": {"tier": "c"}});
            spec["cluster"]["spec"]["idleTimeout"] = json!(600);
            spec["cluster"]["spec"]["scheduler"]["service"]["ports"][0]["port"] = json!(9000);
        });
        manifest["metadata"]["labels"] = json!({"team": "a", "app.kubernetes.io/instance": "release"});
        let demo = context.create(&manifest).await;
        let status = json!({
            "clusterName": "demo", "jobRunnerPodName": RUNNER, "jobStatus": "ClusterCreated",
            "startTime": null, "endTime": null,
        });
        assert_eq!(is(&context, "ClusterCreated").await["status"], status);

        let cluster = context.expect(CLUSTER, "demo").await;
        let labels = json!({"team": "a", "tier": "c", "dask.org/cluster-name": "demo"});
        assert_eq!(cluster["metadata"]["labels"], labels);
        assert_eq!(cluster["metadata"]["ownerReferences"], owned_by(&demo, true));
        assert_eq!(cluster["spec"], demo["spec"]["cluster"]["spec"]);
        assert_eq!(cluster["spec"]["idleTimeout"], 600);
        let pod = context.expect(POD, RUNNER).await;
        let labels = json!({
            "team": "a", "dask.org/cluster-name": "demo", "dask.org/component": "job-runner",
            "sidecar.istio.io/inject": "false",
        });
        assert_eq!(pod["metadata"]["labels"], labels);
        assert_eq!(pod["metadata"]["annotations"], Value::Null);
        assert_eq!(pod["metadata"]["ownerReferences"], owned_by(&demo, true));
        assert_eq!(pod["spec"]["restartPolicy"], "OnFailure");
        let address = format!("tcp://demo-scheduler.{}.svc.cluster.local:9000", context.namespace);
        let env = json!([{"name": "MINE", "value": "1"}, {"name": "DASK_SCHEDULER_ADDRESS", "value": address}]);
        assert_eq!(pod["spec"]["containers"][0]["env"], env);

        let (start, end) = (ago(9), ago(1));
        kubelet(&context, "demo", "Running", running(&start)).await;
        assert_eq!(is(&context, "Running").await["status"]["startTime"], start);
        kubelet(&context, "demo", "Succeeded", exited(0, &start, &end)).await;
        let status = is(&context, "Successful").await["status"].clone();
        let expected = json!({
            "clusterName": "demo", "jobRunnerPodName": RUNNER, "jobStatus": "Successful",
            "startTime": start, "endTime": end,
        });
        assert_eq!(status, expected);
        let five = BTreeSet::from(["clusterName", "jobRunnerPodName", "jobStatus", "startTime", "endTime"]);
        assert_eq!(keys(&status), five);
        context.goes(CLUSTER, "demo").await;
        context.expect(POD, RUNNER).await;
        let log = context.controller_log();
        for sentence in ["A DaskJob has been created", "Job succeeded, deleting Dask cluster."] {
            assert!(log.contains(sentence), "{sentence}");
        }
    })
    .await;
}

#[tokio::test]
#[ignore = "needs a cluster: make live"]
async fn a_job_fails_when_its_runner_does_and_its_start_is_known_even_if_nobody_saw_it_run() {
    with_controller(async |context| {
        context.create(&job(never_restarted)).await;
        is(&context, "ClusterCreated").await;
        let (start, end) = (ago(9), ago(1));
        kubelet(&context, "demo", "Failed", exited(1, &start, &end)).await;
        let status = is(&context, "Failed").await["status"].clone();
        assert_eq!((&status["startTime"], &status["endTime"]), (&json!(start), &json!(end)));
        assert_eq!(keys(&status).len(), 5);
        context.goes(CLUSTER, "demo").await;
        context.expect(POD, RUNNER).await;
        assert!(context.controller_log().contains("Job failed, deleting Dask cluster."));
    })
    .await;
}

#[tokio::test]
#[ignore = "needs a cluster: make live"]
async fn a_job_ends_with_its_runner_although_a_container_that_others_injected_never_does() {
    with_controller(async |context| {
        context.create(&job(|_| {})).await;
        is(&context, "ClusterCreated").await;
        let ended = async |at: &str| {
            let containers = [container("a-proxy", &running(at), 0), container("job", &exited(0, at, at), 0)];
            let status = json!({"status": {"phase": "Running", "containerStatuses": containers}});
            context.merge_status(POD, RUNNER, status).await;
        };
        ended(&ago(0)).await;
        is(&context, "Successful").await;
        context.goes(CLUSTER, "demo").await;
        // Logs can still be read.
        context.expect(POD, RUNNER).await;
        context.delete(JOB, "demo").await;
        context.goes(POD, RUNNER).await;

        context.create(&job(|_| {})).await;
        is(&context, "ClusterCreated").await;
        ended(&ago(400)).await;
        context.goes(POD, RUNNER).await;
        assert_eq!(context.expect(JOB, "demo").await["status"]["jobStatus"], "Successful");
    })
    .await;
}

// --- Losses ---

#[tokio::test]
#[ignore = "needs a cluster: make live"]
async fn a_job_fails_and_loses_its_cluster_when_its_runner_is_deleted() {
    with_controller(async |context| {
        let demo = context.create(&job(|_| {})).await;
        runs(&context, &ago(5)).await;
        context.delete(POD, RUNNER).await;
        let status = is(&context, "Failed").await["status"].clone();
        assert_eq!(keys(&status).len(), 5);
        assert!(status["endTime"].is_string(), "{status}");
        context.goes(CLUSTER, "demo").await;
        until_event(&context, &demo, "RunnerLost").await;
        assert_eq!(context.count(POD, "dask.org/component=job-runner").await, 0);
    })
    .await;
}

#[tokio::test]
#[ignore = "needs a cluster: make live"]
async fn a_job_fails_and_loses_its_runner_when_its_cluster_is_deleted() {
    with_controller(async |context| {
        let demo = context.create(&job(|_| {})).await;
        runs(&context, &ago(5)).await;
        context.delete(CLUSTER, "demo").await;
        is(&context, "Failed").await;
        context.goes(POD, RUNNER).await;
        until_event(&context, &demo, "ClusterLost").await;
        assert_eq!(context.count(CLUSTER, "").await, 0);
    })
    .await;
}

/// dask-kubernetes deletes the cluster first. If it cannot write afterwards, it fails for ever because the cluster is missing.
#[tokio::test]
#[ignore = "needs a cluster: make live"]
async fn a_job_that_dask_kubernetes_left_stuck_is_repaired_on_start() {
    with_temp_ns(|context| async move {
        let controller = context.start_controller().await;
        context.create(&job(|_| {})).await;
        runs(&context, &ago(9)).await;
        controller.kill().await;
        let (start, end) = (ago(9), ago(3));
        kubelet(&context, "demo", "Succeeded", exited(0, &start, &end)).await;
        context.delete(CLUSTER, "demo").await;
        context.goes(CLUSTER, "demo").await;
        context.merge_status(JOB, "demo", json!({"status": {"startTime": null}})).await;

        let _controller = context.start_controller().await;
        let status = is(&context, "Successful").await["status"].clone();
        assert_eq!((&status["startTime"], &status["endTime"]), (&json!(start), &json!(end)));
    })
    .await;
}

// --- Features that dask-kubernetes does not have ---

#[tokio::test]
#[ignore = "needs a cluster: make live"]
async fn a_suspended_job_has_no_children_until_it_is_resumed() {
    with_controller(async |context| {
        context.create(&job(|spec| spec["suspend"] = json!(true))).await;
        is(&context, "Suspended").await;
        assert_eq!((context.count(CLUSTER, "").await, context.count(POD, "").await), (0, 0));

        let suspend = async |suspend: bool| {
            context.merge(JOB, "demo", json!({"spec": {"suspend": suspend}})).await;
        };
        suspend(false).await;
        let first = runs(&context, &ago(5)).await;
        suspend(true).await;
        let status = is(&context, "Suspended").await["status"].clone();
        assert_eq!(status["startTime"], Value::Null);
        context.goes(CLUSTER, "demo").await;
        context.goes(POD, RUNNER).await;

        // At once, while the caches still lag.
        for _ in 0..5 {
            suspend(false).await;
            is(&context, "ClusterCreated").await;
            suspend(true).await;
            is(&context, "Suspended").await;
        }
        suspend(false).await;
        let start = ago(1);
        let second = runs(&context, &start).await;
        assert_ne!(first, second);
        kubelet(&context, "demo", "Succeeded", exited(0, &start, &ago(0))).await;
        assert_eq!(is(&context, "Successful").await["status"]["startTime"], start);
    })
    .await;
}

#[tokio::test]
#[ignore = "needs a cluster: make live"]
async fn a_finished_job_is_deleted_with_all_children_when_its_time_is_over() {
    with_controller(async |context| {
        context.create(&job(|spec| spec["ttlSecondsAfterFinished"] = json!(3))).await;
        runs(&context, &ago(9)).await;
        kubelet(&context, "demo", "Succeeded", exited(0, &ago(9), &ago(0))).await;
        let demo = is(&context, "Successful").await;
        let end: Timestamp = demo["status"]["endTime"].as_str().unwrap().parse().unwrap();
        context.goes(JOB, "demo").await;
        let after = Timestamp::now().duration_since(end);
        assert!((3.0..6.0).contains(&after.as_secs_f64()), "{after}");
        context.goes(POD, RUNNER).await;
        context.goes(CLUSTER, "demo").await;
    })
    .await;
}

#[tokio::test]
#[ignore = "needs a cluster: make live"]
async fn a_job_fails_at_its_deadline_and_nothing_continues() {
    with_controller(async |context| {
        let demo = context.create(&job(|spec| spec["activeDeadlineSeconds"] = json!(5))).await;
        let start = ago(3);
        runs(&context, &start).await;
        let status = is(&context, "Failed").await["status"].clone();
        let time = |field: &str| status[field].as_str().unwrap().parse::<Timestamp>().unwrap();
        let ran = time("endTime").duration_since(time("startTime"));
        assert!((5..8).contains(&ran.as_secs()), "{ran}");
        context.goes(CLUSTER, "demo").await;
        context.goes(POD, RUNNER).await;
        until_event(&context, &demo, "DeadlineExceeded").await;
    })
    .await;
}

#[tokio::test]
#[ignore = "needs a cluster: make live"]
async fn a_runner_that_fails_is_replaced_as_often_as_allowed() {
    with_controller(async |context| {
        context
            .create(&job(|spec| {
                never_restarted(spec);
                spec["backoffLimit"] = json!(1);
            }))
            .await;
        let start = ago(20);
        let first = runs(&context, &start).await;
        kubelet(&context, "demo", "Failed", exited(1, &start, &ago(9))).await;
        let second = context.until(POD, RUNNER, |pod| uid(pod) != first).await;
        assert_eq!(second["metadata"]["annotations"]["dask.org/failed-runners"], "1");
        let retried = |job: &Value| job["status"]["jobRunnerPodName"] == RUNNER;
        let demo = context.until(JOB, "demo", retried).await;
        assert_eq!((&demo["status"]["failedRunners"], &demo["status"]["jobStatus"]), (&json!(1), &json!("Running")));
        kubelet(&context, "demo", "Failed", exited(1, &ago(5), &ago(1))).await;
        let demo = is(&context, "Failed").await;
        assert_eq!(demo["status"]["startTime"], start);
        assert_eq!(uid(&context.expect(POD, RUNNER).await), uid(&second));
        context.goes(CLUSTER, "demo").await;
    })
    .await;
}

#[tokio::test]
#[ignore = "needs a cluster: make live"]
async fn restarts_by_the_kubelet_count_against_the_limit() {
    with_controller(async |context| {
        let demo = context.create(&job(|spec| spec["backoffLimit"] = json!(2))).await;
        runs(&context, &ago(9)).await;
        let restarted = async |restarts: u32| {
            let containers = [container("job", &running(&ago(0)), restarts)];
            context.merge_status(POD, RUNNER, json!({"status": {"containerStatuses": containers}})).await;
        };
        restarted(2).await;
        // Another job shows that the controller has seen it.
        context.create(&job_of("barrier", |_| {})).await;
        context.until(JOB, "barrier", |job| job["status"]["jobStatus"] == "ClusterCreated").await;
        assert_eq!(context.expect(JOB, "demo").await["status"]["jobStatus"], "Running");
        restarted(3).await;
        is(&context, "Failed").await;
        context.goes(POD, RUNNER).await;
        until_event(&context, &demo, "BackoffLimitExceeded").await;
    })
    .await;
}

// --- Jobs that cannot work ---

#[tokio::test]
#[ignore = "needs a cluster: make live"]
async fn a_job_that_can_never_work_fails_and_says_why() {
    with_controller(async |context| {
        let long = "a".repeat(54);
        let table = [
            (job_of(&long, |_| {}), "InvalidName"),
            (job_of("empty", |spec| spec["job"] = json!({})), "NoRunner"),
            (job_of("refused", |spec| spec["job"]["spec"]["restartPolicy"] = json!("Sometimes")), "Invalid"),
        ];
        for (manifest, reason) in table {
            let job = context.create(&manifest).await;
            context.until(JOB, name(&job), |job| job["status"]["jobStatus"] == "Failed").await;
            until_event(&context, &job, reason).await;
            context.goes(CLUSTER, name(&job)).await;
        }
    })
    .await;
}

#[tokio::test]
#[ignore = "needs a cluster: make live"]
async fn a_job_that_exceeds_a_quota_says_so_and_continues_when_the_quota_allows_it() {
    with_temp_ns(|context| async move {
        let quota = json!({
            "apiVersion": "v1", "kind": "ResourceQuota", "metadata": {"name": "none"},
            "spec": {"hard": {"pods": "0"}},
        });
        context.create(&quota).await;
        context.until("ResourceQuota", "none", |quota| quota["status"]["hard"]["pods"] == "0").await;
        let _controller = context.start_controller().await;
        let demo = context.create(&job(|_| {})).await;
        until_event(&context, &demo, "Forbidden").await;
        assert_eq!(context.expect(JOB, "demo").await["status"]["jobStatus"], "JobCreated");
        context.delete("ResourceQuota", "none").await;
        is(&context, "ClusterCreated").await;
        context.expect(POD, RUNNER).await;
    })
    .await;
}

/// It may do somebody's work. If the controller adopted it, the garbage collector would delete it.
#[tokio::test]
#[ignore = "needs a cluster: make live"]
async fn a_foreign_object_of_the_needed_name_is_never_taken_over() {
    with_temp_ns(|context| async move {
        let pod = json!({
            "apiVersion": "v1", "kind": POD, "metadata": {"name": RUNNER},
            "spec": {"containers": [{"name": "a", "image": "a"}]},
        });
        context.create(&pod).await;
        context.create(&cluster("second", 0)).await;
        let _controller = context.start_controller().await;
        context.running("second").await;
        let (foreign_pod, foreign_cluster) =
            (context.expect(POD, RUNNER).await, context.expect(CLUSTER, "second").await);

        let first = context.create(&job(|_| {})).await;
        let second = context.create(&job_of("second", |_| {})).await;
        until_event(&context, &first, "NameTaken").await;
        until_event(&context, &second, "NameTaken").await;
        context.goes(POD, "second-runner").await;
        assert_eq!(uid(&context.expect(POD, RUNNER).await), uid(&foreign_pod));
        let cluster_now = context.expect(CLUSTER, "second").await;
        assert_eq!(uid(&cluster_now), uid(&foreign_cluster));
        for field in ["/metadata/generation", "/metadata/labels", "/metadata/ownerReferences"] {
            assert_eq!(cluster_now.pointer(field), foreign_cluster.pointer(field), "{field}");
        }
        context.delete(POD, RUNNER).await;
        context.delete(CLUSTER, "second").await;
        is(&context, "ClusterCreated").await;
        context.until(JOB, "second", |job| job["status"]["jobStatus"] == "ClusterCreated").await;
        assert_ne!(uid(&context.expect(POD, RUNNER).await), uid(&foreign_pod));
    })
    .await;
}

// --- Restarts ---

#[tokio::test]
#[ignore = "needs a cluster: make live"]
async fn a_finished_job_causes_no_writes_not_even_when_its_runner_goes_and_the_controller_starts_again() {
    with_temp_ns(|context| async move {
        let controller = context.start_controller().await;
        context.create(&job(|_| {})).await;
        runs(&context, &ago(9)).await;
        kubelet(&context, "demo", "Succeeded", exited(0, &ago(9), &ago(1))).await;
        is(&context, "Successful").await;
        context.goes(CLUSTER, "demo").await;
        let before = context.expect(JOB, "demo").await;
        let barrier = async |name: &str| {
            context.create(&job_of(name, |_| {})).await;
            context.until(JOB, name, |job| job["status"]["jobStatus"] == "ClusterCreated").await;
        };
        assert!(controller.stop().await.success());
        let controller = context.start_controller().await;
        barrier("with-runner").await;
        context.delete(POD, RUNNER).await;
        barrier("without-runner").await;
        controller.kill().await;
        let _controller = context.start_controller().await;
        barrier("after-restart").await;
        assert_eq!(version(&context.expect(JOB, "demo").await), version(&before));
        assert_eq!(context.get(POD, RUNNER).await, None);
        assert_eq!(context.get(CLUSTER, "demo").await, None);
    })
    .await;
}
