//! DaskJobs that use what dask-kubernetes does not have: several containers, more worker groups, an autoscaler, a start
//! deadline and deletion rules. What goes wrong in a job's cluster is reported on the job.

use serde_json::{Value, json};

use crate::{
    job::{
        CLUSTER, JOB, POD, RUNNER, ago, container, exited, is, job, job_of, keys, kubelet, running, runs, until_event,
    },
    support::{
        TestContext, condition, eventually, fake_cluster::mark_scheduler_ready, message, owned_by, uid, version,
        with_controller,
    },
};

const GROUP: &str = "DaskWorkerGroup";
const SCALER: &str = "DaskAutoscaler";

/// Adds a worker group `gpu` and an autoscaler of it.
fn scaled(spec: &mut Value) {
    let worker = json!({"replicas": 2, "spec": {"containers": [{"name": "worker", "image": "dask"}]}});
    spec["cluster"]["workerGroups"] = json!([{"name": "gpu", "worker": worker}]);
    spec["cluster"]["autoscaler"] = json!({"minimum": 1, "maximum": 4, "workerGroup": "gpu"});
}

fn rule(policy: &str, outcome: &str, ttl: i64) -> Value {
    json!({"policy": policy, "condition": {"jobStatus": outcome, "ttlSeconds": ttl}})
}

// --- The runner ---

#[tokio::test]
#[ignore = "needs a cluster: make live"]
async fn a_job_ends_when_all_containers_that_it_lists_have_ended() {
    with_controller(async |context| {
        let two = |spec: &mut Value| {
            let uploader = json!({"name": "uploader", "image": "uploader"});
            spec["job"]["spec"]["containers"].as_array_mut().unwrap().push(uploader);
            spec["job"]["spec"]["restartPolicy"] = json!("Never");
        };
        context.create(&job(two)).await;
        is(&context, "ClusterCreated").await;
        let (start, middle, end) = (ago(30), ago(10), ago(2));
        let report = async |uploader: &Value| {
            // A service mesh injects its proxy after the API server has admitted the pod.
            let proxy = container("istio-proxy", &running(&start), 0);
            let own = [container("job", &exited(0, &start, &middle), 0), container("uploader", uploader, 0), proxy];
            context.merge_status(POD, RUNNER, json!({"status": {"phase": "Running", "containerStatuses": own}})).await;
        };
        report(&running(&start)).await;
        is(&context, "Running").await;
        context.create(&job_of("barrier", |_| {})).await;
        context.until(JOB, "barrier", |job| job["status"]["jobStatus"] == "ClusterCreated").await;
        assert_eq!(context.expect(JOB, "demo").await["status"]["jobStatus"], "Running");
        report(&exited(0, &start, &end)).await;
        let status = is(&context, "Successful").await["status"].clone();
        assert_eq!((&status["startTime"], &status["endTime"]), (&json!(start), &json!(end)));
        assert_eq!(keys(&status).len(), 5);
        context.goes(CLUSTER, "demo").await;
    })
    .await;
}

// --- The cluster ---

#[tokio::test]
#[ignore = "needs a cluster: make live"]
async fn worker_groups_and_an_autoscaler_of_a_job_belong_to_its_cluster_and_come_and_go_with_it() {
    with_controller(async |context| {
        context.create(&job(scaled)).await;
        let group = context.appears(GROUP, "demo-gpu").await;
        let scaler = context.appears(SCALER, "demo").await;
        let cluster = context.expect(CLUSTER, "demo").await;
        assert_eq!(group["metadata"]["ownerReferences"], owned_by(&cluster, true));
        assert_eq!(scaler["metadata"]["ownerReferences"], owned_by(&cluster, true));
        assert_eq!((&group["spec"]["cluster"], &group["spec"]["worker"]["replicas"]), (&json!("demo"), &json!(2)));
        let spec = json!({"cluster": "demo", "minimum": 1, "maximum": 4, "workerGroup": "demo-gpu"});
        assert_eq!(scaler["spec"], spec);
        assert_eq!(keys(&is(&context, "ClusterCreated").await["status"]).len(), 5);

        for (kind, name, first) in [(GROUP, "demo-gpu", &group), (SCALER, "demo", &scaler)] {
            context.delete(kind, name).await;
            eventually("another one", async || match context.get(kind, name).await {
                Some(second) if uid(&second) != uid(first) => Ok(()),
                _ => Err(format!("there is no other {kind}")),
            })
            .await;
        }
        context.merge(JOB, "demo", json!({"spec": {"suspend": true}})).await;
        is(&context, "Suspended").await;
        context.goes(GROUP, "demo-gpu").await;
        context.goes(SCALER, "demo").await;
        context.merge(JOB, "demo", json!({"spec": {"suspend": false}})).await;
        let group = context.appears(GROUP, "demo-gpu").await;
        assert_eq!(group["metadata"]["ownerReferences"], owned_by(&context.expect(CLUSTER, "demo").await, true));
    })
    .await;
}

#[tokio::test]
#[ignore = "needs a cluster: make live"]
async fn a_worker_group_of_somebody_else_is_never_taken_over_and_does_not_stop_the_job() {
    with_controller(async |context| {
        let worker = json!({"replicas": 0, "spec": {"containers": [{"name": "worker", "image": "dask"}]}});
        let theirs = context
            .create(&json!({
                "apiVersion": "kubernetes.dask.org/v1", "kind": GROUP, "metadata": {"name": "demo-gpu"},
                "spec": {"cluster": "another", "worker": worker},
            }))
            .await;
        let demo = context.create(&job(scaled)).await;
        until_event(&context, &demo, "NameTaken").await;
        context.appears(SCALER, "demo").await;
        kubelet(&context, "demo", "Running", running(&ago(1))).await;
        is(&context, "Running").await;
        let now = context.expect(GROUP, "demo-gpu").await;
        assert_eq!((uid(&now), &now["metadata"]["ownerReferences"]), (uid(&theirs), &Value::Null));
        context.delete(GROUP, "demo-gpu").await;
        let cluster = context.expect(CLUSTER, "demo").await;
        context
            .until(GROUP, "demo-gpu", |group| group["metadata"]["ownerReferences"] == owned_by(&cluster, true))
            .await;
    })
    .await;
}

#[tokio::test]
#[ignore = "needs a cluster: make live"]
async fn fields_that_contradict_each_other_are_refused_by_the_api_server() {
    with_controller(async |context| {
        let named = |name: &str| {
            let mut spec = json!({"cluster": {}});
            scaled(&mut spec);
            let mut group = spec["cluster"]["workerGroups"][0].clone();
            group["name"] = json!(name);
            group
        };
        let groups = |groups: &[Value]| json!({"cluster": {"workerGroups": groups}});
        let autoscaler = |autoscaler: Value| json!({"cluster": {"autoscaler": autoscaler}});
        let rules = |rules: &[Value]| json!({"deletionRules": rules});
        let (workers, cluster) = (rule("DeleteWorkers", "Failed", 9), rule("DeleteCluster", "Failed", 8));
        let everything = rule("DeleteSelf", "Failed", 5);
        let table = [
            (groups(&[named("default")]), "spec.cluster.workerGroups[0]"),
            (groups(&[named("Gpu")]), "spec.cluster.workerGroups[0].name"),
            (groups(&[named("gpu"), named("gpu")]), "spec.cluster.workerGroups[1]: Duplicate value"),
            (groups(&[named(&"a".repeat(59))]), "at most 62 characters together"),
            (autoscaler(json!({"minimum": 2, "maximum": 1})), "minimum must not be greater"),
            (autoscaler(json!({"minimum": 0, "maximum": 1, "workerGroup": "gpu"})), "one of workerGroups"),
            (rules(&[workers.clone(), cluster.clone()]), "workers must not be deleted after the cluster"),
            (rules(&[cluster.clone(), cluster.clone()]), "one rule at most"),
            (rules(&[cluster.clone(), rule("DeleteNone", "Failed", 0)]), "the only rule"),
            (rules(&[rule("DeleteNone", "Running", 0)]), "jobStatus"),
            (json!({"deletionRules": [everything], "ttlSecondsAfterFinished": 9}), "exclude each other"),
            (json!({"deletionRules": [cluster], "ttlSecondsAfterFinished": 7}), "must not come after"),
            (json!({"startDeadlineSeconds": 0}), "spec.startDeadlineSeconds"),
        ];
        for (change, expected) in table {
            let manifest = job(|spec| merge(spec, &change));
            let error = context.try_create(&manifest).await.map(|_| ()).unwrap_err().to_string();
            assert!(error.contains(expected), "{change}: {error}");
        }
        let order = [workers, rule("DeleteCluster", "Failed", 9), rule("DeleteNone", "Successful", 0)];
        let good = job(|spec| merge(spec, &json!({"deletionRules": order, "ttlSecondsAfterFinished": 9})));
        context.create(&good).await;
    })
    .await;
}

fn merge(spec: &mut Value, change: &Value) {
    match (spec, change) {
        (Value::Object(spec), Value::Object(change)) => {
            for (key, change) in change {
                merge(spec.entry(key.clone()).or_insert(Value::Null), change);
            }
        }
        (spec, change) => *spec = change.clone(),
    }
}

// --- Time ---

#[tokio::test]
#[ignore = "needs a cluster: make live"]
async fn a_job_whose_runner_does_not_start_in_time_fails_and_a_suspension_does_not_count() {
    with_controller(async |context| {
        let limited = |spec: &mut Value| spec["startDeadlineSeconds"] = json!(15);
        let waiting = job_of("waiting", |spec| {
            limited(spec);
            spec["suspend"] = json!(true);
        });
        context.create(&waiting).await;
        let demo = context.create(&job(limited)).await;
        is(&context, "ClusterCreated").await;
        let status = is(&context, "Failed").await["status"].clone();
        assert_eq!((&status["startTime"], keys(&status).len()), (&Value::Null, 5));
        until_event(&context, &demo, "StartDeadlineExceeded").await;
        context.goes(CLUSTER, "demo").await;
        context.goes(POD, RUNNER).await;

        context.merge(JOB, "waiting", json!({"spec": {"suspend": false}})).await;
        let waits = |job: &Value| job["status"]["jobStatus"] == "ClusterCreated";
        let waiting = context.until(JOB, "waiting", waits).await;
        assert!(waiting["status"]["resumeTime"].is_string(), "{}", waiting["status"]);
        kubelet(&context, "waiting", "Running", running(&ago(0))).await;
        context.until(JOB, "waiting", |job| job["status"]["jobStatus"] == "Running").await;
    })
    .await;
}

#[tokio::test]
#[ignore = "needs a cluster: make live"]
async fn workers_cluster_and_job_are_deleted_as_the_rules_say() {
    with_controller(async |context| {
        let stages =
            [rule("DeleteWorkers", "Failed", 0), rule("DeleteCluster", "Failed", 20), rule("DeleteSelf", "Failed", 25)];
        let rules = |rules: &[Value], spec: &mut Value| {
            scaled(spec);
            spec["job"]["spec"]["restartPolicy"] = json!("Never");
            spec["deletionRules"] = json!(rules);
        };
        context.create(&job(|spec| rules(&stages, spec))).await;
        context.appears(SCALER, "demo").await;
        context.appears(GROUP, "demo-gpu").await;
        let start = ago(0);
        runs(&context, &start).await;
        kubelet(&context, "demo", "Failed", exited(1, &start, &ago(0))).await;
        is(&context, "Failed").await;
        context.goes(SCALER, "demo").await;
        for group in ["demo-default", "demo-gpu"] {
            context.until(GROUP, group, |group| group["spec"]["worker"]["replicas"] == 0).await;
        }
        let kept = context.expect(CLUSTER, "demo").await;
        assert_eq!(kept["metadata"]["deletionTimestamp"], Value::Null);
        // The rule holds on.
        context.merge(GROUP, "demo-gpu", json!({"spec": {"worker": {"replicas": 1}}})).await;
        context.until(GROUP, "demo-gpu", |group| group["spec"]["worker"]["replicas"] == 0).await;
        context.goes(CLUSTER, "demo").await;
        context.expect(JOB, "demo").await;
        context.goes(JOB, "demo").await;

        let forever = [rule("DeleteNone", "Successful", 0)];
        context.create(&job_of("kept", |spec| rules(&forever, spec))).await;
        context.appears(SCALER, "kept").await;
        kubelet(&context, "kept", "Succeeded", exited(0, &start, &ago(0))).await;
        context.until(JOB, "kept", |job| job["status"]["jobStatus"] == "Successful").await;
        context.create(&job_of("barrier", |_| {})).await;
        context.until(JOB, "barrier", |job| job["status"]["jobStatus"] == "ClusterCreated").await;
        let cluster = context.expect(CLUSTER, "kept").await;
        assert_eq!(cluster["metadata"]["deletionTimestamp"], Value::Null);
        context.expect(SCALER, "kept").await;
    })
    .await;
}

// --- Problems ---

/// Returns the number of Events about `object` with this reason.
async fn events(context: &TestContext, object: &Value, reason: &str) -> usize {
    let events = context.list("Event", "").await;
    let ours = |event: &&Value| event["regarding"]["uid"] == uid(object) && event["reason"] == reason;
    events.iter().filter(ours).count()
}

#[tokio::test]
#[ignore = "needs a cluster: make live"]
async fn what_is_wrong_with_a_jobs_cluster_is_an_event_of_the_job_once() {
    with_controller(async |context| {
        let demo = context
            .create(&job(|spec| {
                let service = &mut spec["cluster"]["spec"]["scheduler"]["service"];
                service["selector"]["app"] = json!("another");
            }))
            .await;
        is(&context, "ClusterCreated").await;
        mark_scheduler_ready(&context, "demo").await;
        let event = until_event(&context, &demo, "ServiceSelectsNothing").await;
        let cluster = context.expect(CLUSTER, "demo").await;
        assert_eq!(event["note"], message(&cluster, "SchedulerReady"));
        assert_eq!((&event["type"], keys(&context.expect(JOB, "demo").await["status"]).len()), (&json!("Warning"), 5));

        // The cluster changes, which makes the job be reconciled again.
        let before = context.expect(JOB, "demo").await;
        context.merge(CLUSTER, "demo", json!({"spec": {"idleTimeout": 600}})).await;
        context.until(CLUSTER, "demo", |demo| demo["status"]["observedGeneration"] == 2).await;
        let waiting = json!({"waiting": {"reason": "ImagePullBackOff", "message": "no such image"}});
        // There is no node, and the kube-scheduler has said so.
        let scheduled = json!([{"type": "PodScheduled", "status": "True"}]);
        let status = json!({"conditions": scheduled, "containerStatuses": [container("job", &waiting, 0)]});
        context.merge_status(POD, RUNNER, json!({"status": status})).await;
        let event = until_event(&context, &demo, "ImagePullFailed").await;
        assert!(event["note"].as_str().unwrap().contains("no such image"), "{event}");
        assert_eq!(events(&context, &demo, "ServiceSelectsNothing").await, 1);
        assert_eq!(version(&context.expect(JOB, "demo").await), version(&before));
    })
    .await;
}

#[tokio::test]
#[ignore = "needs a cluster: make live"]
async fn a_cluster_of_a_job_that_cannot_be_created_is_an_event_of_the_job() {
    with_controller(async |context| {
        let service = json!({
            "apiVersion": "v1", "kind": "Service", "metadata": {"name": "taken-scheduler"},
            "spec": {"ports": [{"port": 1}]},
        });
        context.create(&service).await;
        let taken = context.create(&job_of("taken", |_| {})).await;
        let invalid = |spec: &mut Value| {
            spec["cluster"]["spec"]["scheduler"]["service"]["sessionAffinity"] = json!("Nonsense");
        };
        let refused = context.create(&job_of("refused", invalid)).await;
        for (job, reason) in [(&taken, "NameTaken"), (&refused, "Invalid")] {
            let event = until_event(&context, job, reason).await;
            let cluster = context.expect(CLUSTER, job["metadata"]["name"].as_str().unwrap()).await;
            assert_eq!(condition(&cluster, "ComponentsCreated"), ("False", reason));
            assert_eq!(event["note"], message(&cluster, "ComponentsCreated"));
        }
    })
    .await;
}
