//! DaskJobs on a real API server, with the real controller. There is no node: the tests play the kubelet.
//! Run them with `make live`.

use std::collections::BTreeSet;

use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

use crate::support::{
    TestContext, alone_with_temp_ns, cluster, eventually, name, owned_by, uid, version, with_temp_ns,
};

const CLUSTER: &str = "DaskCluster";
const JOB: &str = "DaskJob";
const POD: &str = "Pod";
const RUNNER: &str = "demo-runner";

/// A job of one worker after `edit` of its spec.
fn job_of(name: &str, edit: impl FnOnce(&mut Value)) -> Value {
    let mut spec = json!({
        "job": {"spec": {"containers": [{"name": "job", "image": "dask", "env": [{"name": "MINE", "value": "1"}]}]}},
        "cluster": {"spec": cluster(name, 1)["spec"]},
    });
    edit(&mut spec);
    json!({"apiVersion": "kubernetes.dask.org/v1", "kind": JOB, "metadata": {"name": name}, "spec": spec})
}

fn job(edit: impl FnOnce(&mut Value)) -> Value {
    job_of("demo", edit)
}

fn never_restarted(spec: &mut Value) {
    spec["job"]["spec"]["restartPolicy"] = json!("Never");
}

fn ago(seconds: i64) -> String {
    let now = Timestamp::from_second(Timestamp::now().as_second()).unwrap();
    now.checked_sub(SignedDuration::from_secs(seconds)).unwrap().to_string()
}

fn running(since: &str) -> Value {
    json!({"running": {"startedAt": since}})
}

fn exited(code: i32, from: &str, to: &str) -> Value {
    json!({"terminated": {"exitCode": code, "startedAt": from, "finishedAt": to}})
}

/// A container's status as kubelets write it.
fn container(name: &str, state: &Value, restarts: u32) -> Value {
    json!({
        "name": name, "image": "dask", "imageID": "", "ready": false, "restartCount": restarts, "state": state,
    })
}

/// Plays the kubelet for the runner of `job`, which has no sidecars.
async fn kubelet(context: &TestContext, job: &str, phase: &str, state: Value) {
    let containers = [container("job", &state, 0)];
    let status = json!({"status": {"phase": phase, "startTime": ago(0), "containerStatuses": containers}});
    context.merge_status(POD, &format!("{job}-runner"), status).await;
}

async fn is(context: &TestContext, job_status: &str) -> Value {
    context.until(JOB, "demo", |job| job["status"]["jobStatus"] == job_status).await
}

/// Waits until the job runs, and the runner's uid.
async fn runs(context: &TestContext, since: &str) -> String {
    is(context, "ClusterCreated").await;
    kubelet(context, "demo", "Running", running(since)).await;
    is(context, "Running").await;
    uid(&context.expect(POD, RUNNER).await).to_owned()
}

fn keys(status: &Value) -> BTreeSet<&str> {
    status.as_object().unwrap().keys().map(String::as_str).collect()
}

/// Waits for an Event with this reason about the job.
async fn told(context: &TestContext, job: &Value, reason: &str) -> Value {
    eventually(&format!("an Event {reason}"), async || {
        let events = context.list("Event", "").await;
        let ours = |event: &&Value| event["regarding"]["uid"] == uid(job) && event["reason"] == reason;
        events.iter().find(ours).cloned().ok_or_else(|| format!("there are {} others", events.len()))
    })
    .await
}

// --- What a job consists of, and how it ends ---

#[tokio::test]
#[ignore = "needs a cluster: make live"]
async fn a_job_gets_a_cluster_and_a_runner_and_ends_with_five_keys_when_the_runner_succeeds() {
    with_temp_ns(|context| async move {
        let _controller = context.start_controller().await;
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
    with_temp_ns(|context| async move {
        let _controller = context.start_controller().await;
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
async fn a_job_ends_with_its_runner_although_a_sidecar_never_does() {
    with_temp_ns(|context| async move {
        let _controller = context.start_controller().await;
        let demo = context
            .create(&job(|spec| {
                let sidecar = json!({"name": "a-proxy", "image": "proxy"});
                spec["job"]["spec"]["containers"].as_array_mut().unwrap().push(sidecar);
            }))
            .await;
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

        context.create(&job(|spec| *spec = demo["spec"].clone())).await;
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
    with_temp_ns(|context| async move {
        let _controller = context.start_controller().await;
        let demo = context.create(&job(|_| {})).await;
        runs(&context, &ago(5)).await;
        context.delete(POD, RUNNER).await;
        let status = is(&context, "Failed").await["status"].clone();
        assert_eq!(keys(&status).len(), 5);
        assert!(status["endTime"].is_string(), "{status}");
        context.goes(CLUSTER, "demo").await;
        told(&context, &demo, "RunnerLost").await;
        assert_eq!(context.count(POD, "dask.org/component=job-runner").await, 0);
    })
    .await;
}

#[tokio::test]
#[ignore = "needs a cluster: make live"]
async fn a_job_fails_and_loses_its_runner_when_its_cluster_is_deleted() {
    with_temp_ns(|context| async move {
        let _controller = context.start_controller().await;
        let demo = context.create(&job(|_| {})).await;
        runs(&context, &ago(5)).await;
        context.delete(CLUSTER, "demo").await;
        is(&context, "Failed").await;
        context.goes(POD, RUNNER).await;
        told(&context, &demo, "ClusterLost").await;
        assert_eq!(context.count(CLUSTER, "").await, 0);
    })
    .await;
}

/// dask-kubernetes deletes the cluster first, and if it then cannot write, fails for ever on its absence.
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
    with_temp_ns(|context| async move {
        let _controller = context.start_controller().await;
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
    with_temp_ns(|context| async move {
        let _controller = context.start_controller().await;
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
async fn a_job_fails_at_its_deadline_and_nothing_goes_on() {
    with_temp_ns(|context| async move {
        let _controller = context.start_controller().await;
        let demo = context.create(&job(|spec| spec["activeDeadlineSeconds"] = json!(5))).await;
        let start = ago(3);
        runs(&context, &start).await;
        let status = is(&context, "Failed").await["status"].clone();
        let time = |field: &str| status[field].as_str().unwrap().parse::<Timestamp>().unwrap();
        let ran = time("endTime").duration_since(time("startTime"));
        assert!((5..8).contains(&ran.as_secs()), "{ran}");
        context.goes(CLUSTER, "demo").await;
        context.goes(POD, RUNNER).await;
        told(&context, &demo, "DeadlineExceeded").await;
    })
    .await;
}

#[tokio::test]
#[ignore = "needs a cluster: make live"]
async fn a_runner_that_fails_is_replaced_as_often_as_allowed() {
    with_temp_ns(|context| async move {
        let _controller = context.start_controller().await;
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
    with_temp_ns(|context| async move {
        let _controller = context.start_controller().await;
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
        told(&context, &demo, "BackoffLimitExceeded").await;
    })
    .await;
}

// --- What cannot work ---

#[tokio::test]
#[ignore = "needs a cluster: make live"]
async fn a_job_that_can_never_work_fails_and_says_why() {
    with_temp_ns(|context| async move {
        let _controller = context.start_controller().await;
        let long = "a".repeat(54);
        let table = [
            (job_of(&long, |_| {}), "InvalidName"),
            (job_of("empty", |spec| spec["job"] = json!({})), "NoRunner"),
            (job_of("refused", |spec| spec["job"]["spec"]["restartPolicy"] = json!("Sometimes")), "Invalid"),
            (job_of("unknown", |spec| spec["job"]["spec"]["containrs"] = json!([])), "Invalid"),
        ];
        for (manifest, reason) in table {
            let job = context.create(&manifest).await;
            context.until(JOB, name(&job), |job| job["status"]["jobStatus"] == "Failed").await;
            told(&context, &job, reason).await;
            context.goes(CLUSTER, name(&job)).await;
        }
    })
    .await;
}

#[tokio::test]
#[ignore = "needs a cluster: make live"]
async fn a_job_that_a_quota_keeps_back_says_so_and_goes_on_when_it_may() {
    with_temp_ns(|context| async move {
        let quota = json!({
            "apiVersion": "v1", "kind": "ResourceQuota", "metadata": {"name": "none"},
            "spec": {"hard": {"pods": "0"}},
        });
        context.create(&quota).await;
        context.until("ResourceQuota", "none", |quota| quota["status"]["hard"]["pods"] == "0").await;
        let _controller = context.start_controller().await;
        let demo = context.create(&job(|_| {})).await;
        told(&context, &demo, "Forbidden").await;
        assert_eq!(context.expect(JOB, "demo").await["status"]["jobStatus"], "JobCreated");
        context.delete("ResourceQuota", "none").await;
        is(&context, "ClusterCreated").await;
        context.expect(POD, RUNNER).await;
    })
    .await;
}

/// It may be somebody's running work, and adopting it would let the garbage collector delete it.
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
        told(&context, &first, "NameTaken").await;
        told(&context, &second, "NameTaken").await;
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

/// How far a job is when the controller is killed.
#[derive(Clone, Copy, Debug)]
enum Moment {
    Cluster,
    Runner,
    Created,
    Running,
    Counted,
    Replaced,
    Ended,
}

const MOMENTS: [Moment; 7] = [
    Moment::Cluster,
    Moment::Runner,
    Moment::Created,
    Moment::Running,
    Moment::Counted,
    Moment::Replaced,
    Moment::Ended,
];

impl Moment {
    async fn reached(self, context: &TestContext, name: &str) -> bool {
        let job = context.expect(JOB, name).await;
        let status = &job["status"];
        match self {
            Self::Cluster => context.get(CLUSTER, name).await.is_some(),
            Self::Runner => context.get(POD, &format!("{name}-runner")).await.is_some(),
            Self::Created => status["jobStatus"] == "ClusterCreated",
            Self::Running => status["jobStatus"] == "Running",
            Self::Counted => status["failedRunners"] == 1,
            Self::Replaced => status["failedRunners"] == 1 && status["jobRunnerPodName"].is_string(),
            Self::Ended => status["jobStatus"] == "Successful",
        }
    }
}

/// The first runner of each job fails after it ran, its successor succeeds; one step a call.
async fn play(context: &TestContext, job: &str) {
    let Some(pod) = context.get(POD, &format!("{job}-runner")).await else {
        return;
    };
    let status = context.expect(JOB, job).await["status"].clone();
    let is_first = pod["metadata"]["annotations"].is_null();
    let (start, end) = (ago(9), ago(1));
    let (phase, state) = match (pod["status"]["phase"].as_str(), is_first) {
        (Some("Pending"), _) => ("Running", running(&start)),
        (Some("Running"), true) if status["jobStatus"] == "Running" => ("Failed", exited(1, &start, &end)),
        (Some("Running"), false) => ("Succeeded", exited(0, &start, &end)),
        _ => return,
    };
    let containers = [container("job", &state, 0)];
    let patch = json!({"metadata": {"uid": uid(&pod)}, "status": {"phase": phase, "containerStatuses": containers}});
    // The runner may have been replaced in between.
    let _ = context.try_merge_status(POD, &format!("{job}-runner"), patch).await;
}

#[tokio::test]
#[ignore = "needs a cluster: make live"]
async fn a_controller_that_is_killed_at_any_moment_counts_nothing_twice_and_forgets_nothing() {
    alone_with_temp_ns(|context| async move {
        for (round, moment) in MOMENTS.into_iter().enumerate() {
            let name = format!("j{round}");
            let controller = context.spawn_controller();
            let manifest = job_of(&name, |spec| {
                never_restarted(spec);
                spec["backoffLimit"] = json!(1);
            });
            context.create(&manifest).await;
            eventually(&format!("{moment:?}"), async || {
                play(&context, &name).await;
                // No pause between looks: the moments are short.
                let reached = moment.reached(&context, &name).await;
                if reached { Ok(()) } else { Err("it did not come".to_owned()) }
            })
            .await;
            controller.kill().await;
        }
        let _controller = context.start_controller().await;
        for round in 0..MOMENTS.len() {
            let name = format!("j{round}");
            let status = eventually(&format!("the end of {name}"), async || {
                play(&context, &name).await;
                let status = context.expect(JOB, &name).await["status"].clone();
                if status["endTime"].is_string() { Ok(status) } else { Err(status.to_string()) }
            })
            .await;
            assert_eq!(status["jobStatus"], "Successful", "{name}: {status}");
            assert_eq!(status["failedRunners"], 1, "{name}: {status}");
            context.goes(CLUSTER, &name).await;
        }
        assert_eq!(context.count(POD, "dask.org/component=job-runner").await, MOMENTS.len());
    })
    .await;
}
