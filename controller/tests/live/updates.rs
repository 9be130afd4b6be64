//! Existing clusters when their spec changes, when their pods fail, and when dask-kubernetes created them.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use serde_json::{Value, json};

use crate::support::{
    TestContext, by_name, condition, eventually, kubelet, message, name, owned_by, stays,
    test_cluster::{GROUP, Setup, TestCluster, with_setup, with_workers},
    uid, with_temp_ns, within,
};

/// How soon a problem must be reported.
const REPORTED_WITHIN: Duration = Duration::from_secs(10);
const NEW_IMAGE: &str = "ghcr.io/dask/dask:new";
const HELD: &str = "example.org/held";
const KOPF_FINALIZER: &str = "kopf.zalando.org/KopfFinalizerMarker";

fn image(deployment: &Value) -> &Value {
    &deployment["spec"]["template"]["spec"]["containers"][0]["image"]
}

fn with_worker_image(mut manifest: Value) -> Value {
    manifest["spec"]["worker"]["spec"]["containers"][0]["image"] = json!(NEW_IMAGE);
    manifest
}

fn with_scheduler_image(mut manifest: Value) -> Value {
    manifest["spec"]["scheduler"]["spec"]["containers"][0]["image"] = json!(NEW_IMAGE);
    manifest
}

async fn scheduler(test_cluster: &TestCluster) -> Value {
    test_cluster.context.expect("Deployment", "demo-scheduler").await
}

/// Waits until the cluster's condition has this status and reason.
async fn says(test_cluster: &TestCluster, type_: &str, status: &str, reason: &str) -> Value {
    let what = format!("{type_} to be {status} because of {reason}");
    within(REPORTED_WITHIN, &what, async || {
        let cluster = test_cluster.context.expect("DaskCluster", "demo").await;
        let found = condition(&cluster, type_);
        if found == (status, reason) { Ok(cluster.clone()) } else { Err(format!("it is {found:?}")) }
    })
    .await
}

// --- Workers ---

/// The smallest number of registered workers since it was created.
struct Fewest(Arc<AtomicUsize>);

impl Fewest {
    fn of(test_cluster: &TestCluster) -> Self {
        let fewest = Arc::new(AtomicUsize::new(usize::MAX));
        let (scheduler, found) = (Arc::clone(&test_cluster.scheduler), Arc::clone(&fewest));
        tokio::spawn(async move {
            loop {
                found.fetch_min(scheduler.workers().len(), Ordering::Relaxed);
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
        });
        Self(fewest)
    }
}

/// Waits until all workers of the group have the new image.
async fn all_new(test_cluster: &TestCluster, count: usize) {
    eventually("all workers to be new", async || {
        let images: Vec<Value> =
            test_cluster.deployments(GROUP).await.iter().map(|worker| image(worker).clone()).collect();
        if images == vec![json!(NEW_IMAGE); count] { Ok(()) } else { Err(format!("they are {images:?}")) }
    })
    .await;
    test_cluster.context.until("DaskWorkerGroup", GROUP, |group| group["status"]["updatedReplicas"] == count).await;
    test_cluster.has_workers(GROUP, count).await;
    test_cluster.connected(GROUP, count).await;
}

#[tokio::test]
#[ignore = "needs a cluster: make live"]
async fn workers_are_replaced_one_by_one_and_the_scheduler_stays() {
    with_workers(4, |test_cluster| async move {
        let (before, old) = (scheduler(&test_cluster).await, test_cluster.workers(GROUP).await);
        let fewest = Fewest::of(&test_cluster);
        let mut manifest = with_worker_image(test_cluster.manifest(4));
        manifest["spec"]["worker"]["updateStrategy"] = json!({"maxUnavailable": 1});
        test_cluster.context.apply(&manifest).await;
        all_new(&test_cluster, 4).await;
        assert_eq!(fewest.0.load(Ordering::Relaxed), 3);
        assert!(test_cluster.workers(GROUP).await.is_disjoint(&old));
        assert_eq!(test_cluster.retired().len(), 4);
        let after = scheduler(&test_cluster).await;
        assert_eq!((uid(&after), &after["metadata"]["generation"]), (uid(&before), &before["metadata"]["generation"]));
    })
    .await;
}

#[tokio::test]
#[ignore = "needs a cluster: make live"]
async fn as_many_workers_are_replaced_at_a_time_as_may_be_missing() {
    with_workers(4, |test_cluster| async move {
        let fewest = Fewest::of(&test_cluster);
        let mut manifest = with_worker_image(test_cluster.manifest(4));
        manifest["spec"]["worker"]["updateStrategy"] = json!({"maxUnavailable": "50%"});
        test_cluster.context.apply(&manifest).await;
        all_new(&test_cluster, 4).await;
        assert_eq!(fewest.0.load(Ordering::Relaxed), 2);
    })
    .await;
}

/// Workers that do not start must not replace those that work.
#[tokio::test]
#[ignore = "needs a cluster: make live"]
async fn an_update_to_workers_that_never_register_stops_after_the_first() {
    with_workers(3, |test_cluster| async move {
        test_cluster.kubelet.room_for(0);
        test_cluster.context.apply(&with_worker_image(test_cluster.manifest(3))).await;
        test_cluster.scaled_says(GROUP, "RollingUpdate").await;
        eventually("the first to go", async || match test_cluster.scheduler.workers().len() {
            2 => Ok(()),
            count => Err(format!("{count} are registered")),
        })
        .await;
        stays(Duration::from_secs(12), async || match test_cluster.scheduler.workers().len() {
            2 => Ok(()),
            count => Err(format!("{count} are registered")),
        })
        .await;
        test_cluster.context.apply(&test_cluster.manifest(3)).await;
        eventually("the new one to go", async || {
            let workers = test_cluster.deployments(GROUP).await;
            let new = workers.iter().filter(|worker| image(worker) == NEW_IMAGE).count();
            if (workers.len(), new) == (3, 0) { Ok(()) } else { Err(format!("{new} of {} are new", workers.len())) }
        })
        .await;
        test_cluster.kubelet.room_for(3);
        test_cluster.connected(GROUP, 3).await;
        assert_eq!(test_cluster.retired().len(), 1);
    })
    .await;
}

#[tokio::test]
#[ignore = "needs a cluster: make live"]
async fn with_on_delete_only_workers_that_are_made_later_are_new() {
    let change = |manifest: &mut Value| manifest["spec"]["worker"]["updateStrategy"] = json!({"type": "OnDelete"});
    with_setup(Setup { change, ..Setup::of(2) }, |test_cluster| async move {
        let old = by_name(&test_cluster.deployments(GROUP).await, uid);
        let mut manifest = with_worker_image(test_cluster.manifest(3));
        change(&mut manifest);
        test_cluster.context.apply(&manifest).await;
        test_cluster.scaled_says(GROUP, "Outdated").await;
        test_cluster.has_workers(GROUP, 3).await;
        test_cluster.connected(GROUP, 3).await;
        for worker in test_cluster.deployments(GROUP).await {
            let is_old = old.get(name(&worker)).is_some_and(|old| old == uid(&worker));
            assert_eq!(image(&worker) == NEW_IMAGE, !is_old, "{}", name(&worker));
        }
        assert_eq!(test_cluster.retired(), Vec::<String>::new());
        // The new one was created after the change, so that everything new is up to date.
        let group = test_cluster.context.expect("DaskWorkerGroup", GROUP).await;
        assert_eq!(group["status"]["updatedReplicas"], 1);
    })
    .await;
}

#[tokio::test]
#[ignore = "needs a cluster: make live"]
async fn all_that_a_cluster_says_of_workers_reaches_the_group_but_not_its_size() {
    with_workers(1, |test_cluster| async move {
        test_cluster.scale(GROUP, 2).await;
        test_cluster.has_workers(GROUP, 2).await;
        let mut manifest = with_worker_image(test_cluster.manifest(1));
        manifest["spec"]["worker"]["retireDeadlineSeconds"] = json!(600);
        test_cluster.context.apply(&manifest).await;
        let mut expected = manifest["spec"]["worker"].clone();
        expected["replicas"] = json!(2);
        expected["metadata"] = json!({});
        let group = test_cluster
            .context
            .until("DaskWorkerGroup", GROUP, |group| group["spec"]["worker"]["retireDeadlineSeconds"] == 600)
            .await;
        assert_eq!(group["spec"]["worker"], expected);
        all_new(&test_cluster, 2).await;
    })
    .await;
}

// --- The scheduler ---

#[tokio::test]
#[ignore = "needs a cluster: make live"]
async fn a_scheduler_is_not_replaced_unasked_and_a_condition_says_that_it_differs() {
    with_workers(0, |test_cluster| async move {
        let before = scheduler(&test_cluster).await;
        test_cluster.context.apply(&with_scheduler_image(test_cluster.manifest(0))).await;
        let cluster = says(&test_cluster, "SchedulerUpToDate", "False", "SpecDiffers").await;
        assert!(message(&cluster, "SchedulerUpToDate").contains("delete its Deployment"));
        let after = scheduler(&test_cluster).await;
        assert_eq!((uid(&after), &after["spec"]), (uid(&before), &before["spec"]));
        test_cluster.context.apply(&test_cluster.manifest(0)).await;
        says(&test_cluster, "SchedulerUpToDate", "True", "UpToDate").await;
        test_cluster.context.apply(&with_scheduler_image(test_cluster.manifest(0))).await;
        says(&test_cluster, "SchedulerUpToDate", "False", "SpecDiffers").await;
        test_cluster.context.delete("Deployment", "demo-scheduler").await;
        says(&test_cluster, "SchedulerUpToDate", "True", "UpToDate").await;
        let is_new = |deployment: &Value| image(deployment) == NEW_IMAGE;
        test_cluster.context.until("Deployment", "demo-scheduler", is_new).await;
    })
    .await;
}

#[tokio::test]
#[ignore = "needs a cluster: make live"]
async fn a_scheduler_that_may_be_replaced_is_recreated_once_and_only_after_the_old_one_is_gone() {
    with_workers(0, |test_cluster| async move {
        let old = scheduler(&test_cluster).await;
        let pods = test_cluster.context.list("Pod", "dask.org/component=scheduler").await;
        let pod = name(&pods[0]).to_owned();
        test_cluster.context.merge("Pod", &pod, json!({"metadata": {"finalizers": [HELD]}})).await;
        let mut manifest = with_scheduler_image(test_cluster.manifest(0));
        manifest["spec"]["scheduler"]["updatePolicy"] = json!("Recreate");
        test_cluster.context.apply(&manifest).await;
        test_cluster.context.until("Pod", &pod, |pod| pod["metadata"]["deletionTimestamp"].is_string()).await;
        says(&test_cluster, "SchedulerUpToDate", "False", "Recreating").await;
        stays(Duration::from_secs(3), async || {
            let cluster = test_cluster.context.expect("DaskCluster", "demo").await;
            let found = (
                uid(&scheduler(&test_cluster).await).to_owned(),
                condition(&cluster, "SchedulerUpToDate").1.to_owned(),
            );
            if found == (uid(&old).to_owned(), "Recreating".to_owned()) { Ok(()) } else { Err(format!("{found:?}")) }
        })
        .await;
        test_cluster.context.merge("Pod", &pod, json!({"metadata": {"finalizers": null}})).await;
        says(&test_cluster, "SchedulerUpToDate", "True", "UpToDate").await;
        let new = test_cluster.context.until("Deployment", "demo-scheduler", |new| uid(new) != uid(&old)).await;
        assert_eq!(image(&new), NEW_IMAGE);
        says(&test_cluster, "SchedulerReady", "True", "Ready").await;
        assert_eq!(uid(&scheduler(&test_cluster).await), uid(&new));
    })
    .await;
}

// --- Labels and annotations ---

/// The children of the cluster.
const CHILDREN: [(&str, &str); 3] =
    [("Deployment", "demo-scheduler"), ("Service", "demo-scheduler"), ("DaskWorkerGroup", GROUP)];

async fn children(test_cluster: &TestCluster) -> Vec<(&'static str, String)> {
    let workers = test_cluster.workers(GROUP).await.into_iter().map(|worker| ("Deployment", worker));
    CHILDREN.iter().map(|(kind, name)| (*kind, (*name).to_owned())).chain(workers).collect()
}

/// Returns the specs of Deployments by name. (The generation of a Deployment counts changes of its annotations too.)
async fn specs(test_cluster: &TestCluster) -> BTreeMap<String, Value> {
    let deployments = test_cluster.context.list("Deployment", "").await;
    deployments.iter().map(|deployment| (name(deployment).to_owned(), deployment["spec"].clone())).collect()
}

/// All Deployments and pods, by name.
async fn uids(test_cluster: &TestCluster) -> [BTreeMap<String, String>; 2] {
    let (deployments, pods) =
        (test_cluster.context.list("Deployment", "").await, test_cluster.context.list("Pod", "").await);
    [by_name(&deployments, uid), by_name(&pods, uid)]
}

#[tokio::test]
#[ignore = "needs a cluster: make live"]
async fn labels_and_annotations_follow_those_of_the_cluster_and_no_pod_is_replaced() {
    with_workers(2, |test_cluster| async move {
        let before = (specs(&test_cluster).await, uids(&test_cluster).await);
        for (kind, name) in children(&test_cluster).await {
            test_cluster.context.merge(kind, &name, json!({"metadata": {"labels": {"theirs": "x"}}})).await;
        }
        let mut manifest = test_cluster.manifest(2);
        manifest["metadata"]["labels"] = json!({"team": "a"});
        manifest["metadata"]["annotations"] = json!({"note": "b"});
        test_cluster.context.apply(&manifest).await;
        for (kind, name) in children(&test_cluster).await {
            let has = |object: &Value| {
                let metadata = &object["metadata"];
                metadata["labels"]["team"] == "a" && metadata["annotations"]["note"] == "b"
            };
            test_cluster.context.until(kind, &name, has).await;
        }
        test_cluster.context.apply(&test_cluster.manifest(2)).await;
        for (kind, name) in children(&test_cluster).await {
            let has_not = |object: &Value| {
                let metadata = &object["metadata"];
                metadata["labels"]["team"].is_null() && metadata["annotations"]["note"].is_null()
            };
            let child = test_cluster.context.until(kind, &name, has_not).await;
            assert_eq!(child["metadata"]["labels"]["theirs"], "x");
        }
        assert_eq!((specs(&test_cluster).await, uids(&test_cluster).await), before);
    })
    .await;
}

// --- The Service ---

#[tokio::test]
#[ignore = "needs a cluster: make live"]
async fn the_service_follows_its_spec_and_keeps_its_address() {
    with_workers(0, |test_cluster| async move {
        let before = test_cluster.context.expect("Service", "demo-scheduler").await;
        let mut manifest = test_cluster.manifest(0);
        let service = &mut manifest["spec"]["scheduler"]["service"];
        service["type"] = json!("NodePort");
        service["ports"][1]["port"] = json!(9999);
        test_cluster.context.apply(&manifest).await;
        let changed = test_cluster
            .context
            .until("Service", "demo-scheduler", |service| {
                service["spec"]["type"] == "NodePort" && service["spec"]["ports"][1]["port"] == 9999
            })
            .await;
        assert_eq!(changed["spec"]["clusterIP"], before["spec"]["clusterIP"]);
        test_cluster.context.apply(&test_cluster.manifest(0)).await;
        let back = test_cluster
            .context
            .until("Service", "demo-scheduler", |service| service["spec"]["type"] == "ClusterIP")
            .await;
        assert_eq!((uid(&back), &back["spec"]), (uid(&before), &before["spec"]));
        says(&test_cluster, "ComponentsCreated", "True", "Created").await;
    })
    .await;
}

#[tokio::test]
#[ignore = "needs a cluster: make live"]
async fn a_service_that_the_api_server_refuses_is_reported_and_fixed() {
    with_workers(0, |test_cluster| async move {
        let before = test_cluster.context.expect("Service", "demo-scheduler").await;
        let mut manifest = test_cluster.manifest(0);
        manifest["spec"]["scheduler"]["service"]["sessionAffinity"] = json!("Nonsense");
        test_cluster.context.apply(&manifest).await;
        let cluster = says(&test_cluster, "ComponentsCreated", "False", "Invalid").await;
        assert!(message(&cluster, "ComponentsCreated").contains("sessionAffinity"));
        test_cluster.context.apply(&test_cluster.manifest(0)).await;
        says(&test_cluster, "ComponentsCreated", "True", "Created").await;
        let after = test_cluster.context.expect("Service", "demo-scheduler").await;
        assert_eq!((uid(&after), &after["spec"]), (uid(&before), &before["spec"]));
    })
    .await;
}

// --- Problems ---

#[tokio::test]
#[ignore = "needs a cluster: make live"]
async fn an_exhausted_quota_is_reported_until_there_is_room() {
    with_workers(0, |test_cluster| async move {
        let quota = json!({"apiVersion": "v1", "kind": "ResourceQuota", "metadata": {"name": "pods"},
            "spec": {"hard": {"pods": "1"}}});
        test_cluster.context.create(&quota).await;
        test_cluster.context.until("ResourceQuota", "pods", |quota| quota["status"]["used"]["pods"] == "1").await;
        test_cluster.scale(GROUP, 1).await;
        let cluster = says(&test_cluster, "WorkersAvailable", "False", "QuotaExceeded").await;
        assert!(message(&cluster, "WorkersAvailable").contains("exceeded quota: pods"));
        test_cluster.context.delete("ResourceQuota", "pods").await;
        test_cluster.connected(GROUP, 1).await;
        says(&test_cluster, "WorkersAvailable", "True", "Available").await;
    })
    .await;
}

#[tokio::test]
#[ignore = "needs a cluster: make live"]
async fn a_missing_service_account_is_reported_until_it_exists() {
    let change = |manifest: &mut Value| manifest["spec"]["worker"]["spec"]["serviceAccountName"] = json!("mine");
    with_setup(Setup { change, ..Setup::of(0) }, |test_cluster| async move {
        test_cluster.scale(GROUP, 1).await;
        let cluster = says(&test_cluster, "WorkersAvailable", "False", "ServiceAccountNotFound").await;
        assert!(message(&cluster, "WorkersAvailable").contains("mine"));
        let account = json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "mine"}});
        test_cluster.context.create(&account).await;
        test_cluster.connected(GROUP, 1).await;
        says(&test_cluster, "WorkersAvailable", "True", "Available").await;
    })
    .await;
}

#[tokio::test]
#[ignore = "needs a cluster: make live"]
async fn containers_that_do_not_start_are_reported_until_they_do() {
    with_setup(Setup { room: 0, ..Setup::of(1) }, |test_cluster| async move {
        let pod = eventually("the worker's pod", async || {
            let pods = test_cluster.context.list("Pod", "dask.org/component=worker").await;
            pods.first().map(|pod| name(pod).to_owned()).ok_or_else(|| "there is none".to_owned())
        })
        .await;
        says(&test_cluster, "WorkersAvailable", "False", "Unschedulable").await;
        let scheduled = json!({"type": "PodScheduled", "status": "True"});
        let pull = json!({"waiting": {"reason": "ImagePullBackOff", "message": "no such image"}});
        let crash = json!({"waiting": {"reason": "CrashLoopBackOff"}});
        for (state, reason) in [(pull, "ImagePullFailed"), (crash, "CrashLoopBackOff")] {
            let status = json!({"status": {
                "conditions": [scheduled],
                "containerStatuses": [{"name": "worker", "image": "", "imageID": "", "ready": false,
                    "restartCount": 0, "state": state}],
            }});
            test_cluster.context.merge_status("Pod", &pod, status).await;
            let cluster = says(&test_cluster, "WorkersAvailable", "False", reason).await;
            assert!(message(&cluster, "WorkersAvailable").contains(&pod));
        }
        test_cluster.kubelet.room_for(1);
        test_cluster.connected(GROUP, 1).await;
        says(&test_cluster, "WorkersAvailable", "True", "Available").await;
    })
    .await;
}

// --- Taking over ---

fn upstream_labels(component: &str) -> Value {
    let mut labels = json!({"dask.org/cluster-name": "demo", "dask.org/component": component, "team": "red"});
    if component != "workergroup" {
        labels["sidecar.istio.io/inject"] = json!("false");
    }
    if component == "worker" {
        labels["dask.org/workergroup-name"] = json!(GROUP);
    }
    labels
}

/// Returns a Deployment as dask-kubernetes creates it: all labels select, and the template has the Deployment's metadata.
fn upstream_deployment(name: &str, component: &str, owner: &Value, pod: &Value) -> Value {
    let labels = upstream_labels(component);
    let metadata = json!({"name": name, "labels": labels, "annotations": {"note": "x"},
        "ownerReferences": owned_by(owner, true)});
    json!({
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": metadata,
        "spec": {
            "replicas": 1,
            "selector": {"matchLabels": labels},
            "template": {"metadata": metadata, "spec": pod},
        },
    })
}

fn upstream_worker(manifest: &Value, group: &Value, id: &str, namespace: &str) -> Value {
    let name = format!("{GROUP}-worker-{id}");
    let mut pod = manifest["spec"]["worker"]["spec"].clone();
    let env = pod["containers"][0]["env"].as_array_mut().unwrap();
    env.push(json!({"name": "DASK_WORKER_NAME", "value": name}));
    let address = format!("tcp://demo-scheduler.{namespace}.svc.cluster.local:8786");
    env.push(json!({"name": "DASK_SCHEDULER_ADDRESS", "value": address}));
    upstream_deployment(&name, "worker", group, &pod)
}

/// Creates what dask-kubernetes leaves behind: a cluster with three workers that is stuck in `Pending`.
async fn left_by_upstream(test_cluster: &TestCluster) {
    let context = &test_cluster.context;
    let mut manifest = test_cluster.manifest(3);
    manifest["metadata"]["labels"] = json!({"team": "red"});
    let handled = json!({"kopf.zalando.org/last-handled-configuration": "{}\n"});
    manifest["metadata"]["annotations"] = json!({"note": "x"});
    let mut marked = manifest.clone();
    marked["metadata"]["annotations"]["kopf.zalando.org/last-handled-configuration"] = json!("{}\n");
    marked["metadata"]["finalizers"] = json!([KOPF_FINALIZER]);
    let cluster = context.create(&marked).await;
    context.merge_status("DaskCluster", "demo", json!({"status": {"phase": "Pending"}})).await;
    let pod = &manifest["spec"]["scheduler"]["spec"];
    context.create(&upstream_deployment("demo-scheduler", "scheduler", &cluster, pod)).await;
    let mut labels = upstream_labels("scheduler");
    labels.as_object_mut().unwrap().remove("sidecar.istio.io/inject");
    context
        .create(&json!({
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": {"name": "demo-scheduler", "labels": labels, "annotations": {"note": "x"},
                "ownerReferences": owned_by(&cluster, true)},
            "spec": manifest["spec"]["scheduler"]["service"],
        }))
        .await;
    let mut group = test_cluster.group(GROUP, 3);
    group["metadata"]["labels"] = upstream_labels("workergroup");
    group["metadata"]["annotations"] = handled;
    group["metadata"]["ownerReferences"] = owned_by(&cluster, true);
    let group = context.create(&group).await;
    for id in ["74c05b95de", "0d7e6380a1", "ffffffffff"] {
        context.create(&upstream_worker(&manifest, &group, id, &context.namespace)).await;
    }
    eventually("the workers to be registered", async || match test_cluster.scheduler.workers().len() {
        3 => Ok(()),
        count => Err(format!("{count} are")),
    })
    .await;
}

async fn taken_over<Test: Future<Output = ()>>(test: impl FnOnce(TestCluster) -> Test) {
    with_temp_ns(|context| async move {
        let mut test_cluster = TestCluster::around(&context, kubelet::by_name, usize::MAX).await;
        left_by_upstream(&test_cluster).await;
        let before = (specs(&test_cluster).await, uids(&test_cluster).await);
        let service = context.expect("Service", "demo-scheduler").await;
        test_cluster.controller = Some(context.start_controller().await);
        context.running("demo").await;
        test_cluster.has_workers(GROUP, 3).await;
        test_cluster.connected(GROUP, 3).await;
        assert_eq!((specs(&test_cluster).await, uids(&test_cluster).await), before);
        assert_eq!(context.expect("Service", "demo-scheduler").await["spec"], service["spec"]);
        test(test_cluster).await;
    })
    .await;
}

#[tokio::test]
#[ignore = "needs a cluster: make live"]
async fn clusters_of_dask_kubernetes_get_notes_and_a_phase_and_keep_what_runs() {
    taken_over(|test_cluster| async move {
        let context = &test_cluster.context;
        let cluster = context.expect("DaskCluster", "demo").await;
        assert_eq!(cluster["metadata"]["finalizers"], Value::Null);
        let handled = "kopf.zalando.org/last-handled-configuration";
        assert_eq!(cluster["metadata"]["annotations"][handled], "{}\n");
        for (type_, reason) in
            [("ComponentsCreated", "Created"), ("SchedulerUpToDate", "UpToDate"), ("WorkersAvailable", "Available")]
        {
            says(&test_cluster, type_, "True", reason).await;
        }
        for (kind, name) in children(&test_cluster).await {
            let child = context.expect(kind, &name).await;
            assert!(child["metadata"]["annotations"]["operator.dask.org/template"].is_string(), "{kind} {name}");
            assert_eq!(child["metadata"]["labels"]["team"], "red");
        }
        assert_eq!(test_cluster.retired(), Vec::<String>::new());
    })
    .await;
}

#[tokio::test]
#[ignore = "needs a cluster: make live"]
async fn workers_of_dask_kubernetes_are_retired_and_replaced_by_ours() {
    taken_over(|test_cluster| async move {
        let theirs = test_cluster.workers(GROUP).await;
        test_cluster.scale(GROUP, 1).await;
        let left = test_cluster.has_workers(GROUP, 1).await;
        assert!(left.is_subset(&theirs));
        assert_eq!(test_cluster.retired().len(), 2);
        test_cluster.scale(GROUP, 2).await;
        let now = test_cluster.has_workers(GROUP, 2).await;
        assert!(left.is_subset(&now));
        test_cluster.connected(GROUP, 2).await;
    })
    .await;
}

#[tokio::test]
#[ignore = "needs a cluster: make live"]
async fn workers_and_schedulers_of_dask_kubernetes_are_brought_up_to_date_when_the_spec_changes() {
    taken_over(|test_cluster| async move {
        let theirs: BTreeSet<String> = test_cluster.workers(GROUP).await;
        let mut manifest = with_scheduler_image(with_worker_image(test_cluster.manifest(3)));
        manifest["metadata"]["labels"] = json!({"team": "blue"});
        test_cluster.context.apply(&manifest).await;
        says(&test_cluster, "SchedulerUpToDate", "False", "SpecDiffers").await;
        all_new(&test_cluster, 3).await;
        assert!(test_cluster.workers(GROUP).await.is_disjoint(&theirs));
        let blue = |scheduler: &Value| scheduler["metadata"]["labels"]["team"] == "blue";
        test_cluster.context.until("Deployment", "demo-scheduler", blue).await;
    })
    .await;
}

#[tokio::test]
#[ignore = "needs a cluster: make live"]
async fn a_cluster_that_waits_for_kopf_to_let_it_go_goes() {
    with_temp_ns(|context: TestContext| async move {
        let mut manifest = crate::support::cluster("demo", 0);
        manifest["metadata"]["finalizers"] = json!([HELD, KOPF_FINALIZER]);
        context.create(&manifest).await;
        context.delete("DaskCluster", "demo").await;
        let _controller = context.start_controller().await;
        let freed = |cluster: &Value| cluster["metadata"]["finalizers"] == json!([HELD]);
        context.until("DaskCluster", "demo", freed).await;
        assert_eq!(context.count("Deployment", "").await, 0);
        context.merge("DaskCluster", "demo", json!({"metadata": {"finalizers": null}})).await;
        context.goes("DaskCluster", "demo").await;
    })
    .await;
}
