//! Labels by which objects are selected: they come back when somebody removes or changes them, and nothing is created twice.

use std::{collections::BTreeMap, time::Duration};

use serde_json::{Value, json};

use crate::{
    job::job_of,
    support::{
        NUDGE, condition, eventually, name,
        plugin::TestPlugin,
        test_cluster::{GROUP, Setup, TestCluster, with_setup, with_workers},
        uid, with_controller, within,
    },
};

/// How soon everything must be as before. Kubernetes' own controllers have to act, too.
const BACK_WITHIN: Duration = Duration::from_secs(20);
/// The labels that the controller selects by.
const SELECTED_BY: [&str; 4] =
    ["dask.org/component", "dask.org/cluster-name", "dask.org/workergroup-name", "dask.org/worker-id"];
const INSTANCE: &str = "app.kubernetes.io/instance";

/// Returns the labels of `object` that the controller selects by.
fn labels(object: &Value) -> BTreeMap<String, String> {
    let labels = object["metadata"]["labels"].as_object().into_iter().flatten();
    let selected = labels.filter(|(key, _)| SELECTED_BY.contains(&key.as_str()));
    selected.map(|(key, value)| (key.clone(), value.as_str().unwrap().to_owned())).collect()
}

/// Returns the changes to try on an object: each label removed, each with other values, and all removed.
fn changes(object: &Value) -> Vec<Value> {
    let labels = labels(object);
    let single = labels.keys().flat_map(|key| {
        let others = if key == "dask.org/component" { vec!["worker", "scheduler", "x"] } else { vec!["x"] };
        let values = others.into_iter().filter(|value| labels[key] != **value).map(|value| json!(value));
        values.chain([Value::Null]).map(move |value| json!({key: value}))
    });
    single.collect()
}

fn all_removed(object: &Value) -> Value {
    json!(labels(object).into_keys().map(|key| (key, Value::Null)).collect::<BTreeMap<_, _>>())
}

/// What exists: kinds, owners and labels. Pods are counted by their labels, because one may be replaced.
async fn inventory(test_cluster: &TestCluster) -> Vec<String> {
    let mut found = Vec::new();
    for kind in ["Deployment", "Service", "DaskWorkerGroup", "Pod"] {
        let mut objects = test_cluster.context.list(kind, "").await;
        objects.retain(|object| object["metadata"]["deletionTimestamp"].is_null());
        let of =
            |object: &Value| if kind == "Pod" { String::new() } else { format!("{} {}", name(object), uid(object)) };
        found.extend(objects.iter().map(|object| format!("{kind} {} {:?}", of(object), labels(object))));
    }
    found.sort();
    found
}

/// Waits until everything exists as `before`.
async fn is_as_before(test_cluster: &TestCluster, before: &[String], what: &str) {
    within(BACK_WITHIN, &format!("all to be as before: {what}"), async || {
        let now = inventory(test_cluster).await;
        if now == before { Ok(()) } else { Err(format!("there are {now:#?} instead of {before:#?}")) }
    })
    .await;
}

async fn objects(test_cluster: &TestCluster) -> Vec<(&'static str, Value)> {
    let context = &test_cluster.context;
    let worker = test_cluster.workers(GROUP).await.into_iter().next().unwrap();
    let mut objects = Vec::new();
    for (kind, name) in [
        ("Service", "demo-scheduler"),
        ("Deployment", "demo-scheduler"),
        ("DaskWorkerGroup", GROUP),
        ("Deployment", worker.as_str()),
    ] {
        objects.push((kind, context.expect(kind, name).await));
    }
    for selector in ["dask.org/component=scheduler", "dask.org/component=worker"] {
        let mut pods = context.list("Pod", selector).await;
        pods.retain(|pod| pod["metadata"]["deletionTimestamp"].is_null());
        objects.push(("Pod", pods.remove(0)));
    }
    objects
}

#[tokio::test]
#[ignore = "needs a cluster: make live"]
async fn labels_that_objects_are_selected_by_come_back_and_nothing_is_made_twice() {
    with_workers(2, |test_cluster| async move {
        let before = inventory(&test_cluster).await;
        let kinds = objects(&test_cluster).await.len();
        for place in 0..kinds {
            let (_, example) = objects(&test_cluster).await.swap_remove(place);
            for change in changes(&example) {
                // The pod may have been replaced after the last change.
                let (kind, object) = objects(&test_cluster).await.swap_remove(place);
                test_cluster.context.merge(kind, name(&object), json!({"metadata": {"labels": change}})).await;
                is_as_before(&test_cluster, &before, &format!("{kind} {} with {change}", name(&object))).await;
            }
            let (kind, object) = objects(&test_cluster).await.swap_remove(place);
            // Nothing is left that tells whose pod it is, and nothing has to be: no Service selects it.
            if kind != "Pod" {
                let change = json!({"metadata": {"labels": all_removed(&object)}});
                test_cluster.context.merge(kind, name(&object), change).await;
                is_as_before(&test_cluster, &before, &format!("{kind} {} without labels", name(&object))).await;
            }
        }
        let demo = |demo: &Value| condition(demo, "ComponentsCreated").0 == "True";
        test_cluster.context.until("DaskCluster", "demo", demo).await;
        test_cluster.scale(GROUP, 1).await;
        test_cluster.has_workers(GROUP, 1).await;
    })
    .await;
}

/// Otherwise two schedulers would run, and a worker would run beside its replacement.
#[tokio::test]
#[ignore = "needs a cluster: make live"]
async fn labels_that_are_lost_while_no_controller_runs_come_back() {
    with_workers(2, |mut test_cluster| async move {
        let before = inventory(&test_cluster).await;
        test_cluster.kill_controller().await;
        for (kind, object) in objects(&test_cluster).await {
            let gone = if kind == "Pod" { json!({"dask.org/component": null}) } else { all_removed(&object) };
            test_cluster.context.merge(kind, name(&object), json!({"metadata": {"labels": gone}})).await;
        }
        // The ReplicaSets have replaced the pods that they no longer select.
        eventually("five pods", async || match test_cluster.context.count("Pod", "").await {
            5 => Ok(()),
            count => Err(format!("there are {count}")),
        })
        .await;
        test_cluster.restart_controller().await;
        is_as_before(&test_cluster, &before, "after a restart").await;
    })
    .await;
}

#[tokio::test]
#[ignore = "needs a cluster: make live"]
async fn the_labels_of_a_jobs_cluster_and_runner_come_back() {
    with_controller(async |context| {
        context.create(&job_of("demo", |_| {})).await;
        context.until("DaskJob", "demo", |job| job["status"]["jobStatus"] == "ClusterCreated").await;
        for (kind, name) in [("Pod", "demo-runner"), ("DaskCluster", "demo")] {
            let before = context.appears(kind, name).await;
            for change in changes(&before).into_iter().chain([all_removed(&before)]) {
                context.merge(kind, name, json!({"metadata": {"labels": change}})).await;
                within(BACK_WITHIN, &format!("the labels of {kind} {name} after {change}"), async || {
                    let now = context.expect(kind, name).await;
                    let is_same = labels(&now) == labels(&before) && uid(&now) == uid(&before);
                    if is_same { Ok(()) } else { Err(format!("they are {:?}", labels(&now))) }
                })
                .await;
            }
        }
        let job = context.expect("DaskJob", "demo").await;
        assert_eq!(job["status"]["jobStatus"], "ClusterCreated");
        assert_eq!(context.count("Pod", "dask.org/component=job-runner").await, 1);
    })
    .await;
}

/// Returns the number of addresses behind the scheduler's Service.
async fn endpoints(test_cluster: &TestCluster) -> usize {
    let slices = test_cluster.context.list("EndpointSlice", "kubernetes.io/service-name=demo-scheduler").await;
    slices.iter().filter_map(|slice| slice["endpoints"].as_array()).map(Vec::len).sum()
}

async fn until_reachable(test_cluster: &TestCluster) {
    eventually("the Service to have an endpoint", async || match endpoints(test_cluster).await {
        1 => Ok(()),
        count => Err(format!("it has {count}")),
    })
    .await;
    let ready = |demo: &Value| condition(demo, "SchedulerReady").0 == "True";
    test_cluster.context.until("DaskCluster", "demo", ready).await;
}

fn selecting_by_tools_labels(manifest: &mut Value) {
    manifest["metadata"]["labels"] =
        json!({INSTANCE: "run-7", "app.kubernetes.io/managed-by": "platform", "team": "a"});
    manifest["spec"]["scheduler"]["service"]["selector"] = json!({
        INSTANCE: "run-7", "app.kubernetes.io/managed-by": "platform", "team": "a", "dask.org/component": "scheduler",
    });
}

#[tokio::test]
#[ignore = "needs a cluster: make live"]
async fn a_service_that_selects_by_labels_of_deployment_tools_reaches_its_scheduler() {
    let setup = Setup { change: selecting_by_tools_labels, ..Setup::of(1) };
    with_setup(setup, |test_cluster| async move {
        until_reachable(&test_cluster).await;
        let context = &test_cluster.context;
        // Tools prune what has their labels and is not in their repository.
        for (kind, name) in
            [("Deployment", "demo-scheduler"), ("Service", "demo-scheduler"), ("DaskWorkerGroup", GROUP)]
        {
            assert_eq!(context.expect(kind, name).await["metadata"]["labels"].get(INSTANCE), None, "{kind}");
        }
        let pod = context.list("Pod", "dask.org/component=scheduler").await.remove(0);
        context.merge("Pod", name(&pod), json!({"metadata": {"labels": {INSTANCE: null}}})).await;
        context.until("Pod", name(&pod), |pod| pod["metadata"]["labels"][INSTANCE] == "run-7").await;
        until_reachable(&test_cluster).await;
    })
    .await;
}

/// Its pods have no such labels: an older controller created it, or its Service was changed.
#[tokio::test]
#[ignore = "needs a cluster: make live"]
async fn a_scheduler_that_runs_is_reached_by_a_new_selector_and_not_replaced() {
    with_workers(0, |test_cluster| async move {
        let context = &test_cluster.context;
        let before = context.expect("Deployment", "demo-scheduler").await;
        let pod = context.list("Pod", "dask.org/component=scheduler").await.remove(0);
        let mut manifest = test_cluster.manifest(0);
        selecting_by_tools_labels(&mut manifest);
        context.apply(&manifest).await;
        context.until("Service", "demo-scheduler", |service| service["spec"]["selector"][INSTANCE] == "run-7").await;
        until_reachable(&test_cluster).await;
        let after = context.expect("Deployment", "demo-scheduler").await;
        assert_eq!((uid(&after), &after["spec"]), (uid(&before), &before["spec"]));
        assert_eq!(uid(&context.expect("Pod", name(&pod)).await), uid(&pod));
    })
    .await;
}

/// An Ingress that is deleted and created again may get another address.
#[tokio::test]
#[ignore = "needs a cluster: make live"]
async fn children_of_plugins_stay_when_their_subject_loses_a_label() {
    with_controller(async |context| {
        context.create_settled("demo", 0).await;
        let _plugin = TestPlugin::installed(&context, "echo").await;
        let child = "demo-scheduler-echo-config";
        let before = context.appears("ConfigMap", child).await;
        let service = context.expect("Service", "demo-scheduler").await;
        for change in changes(&service).into_iter().chain([all_removed(&service)]) {
            context.merge("Service", "demo-scheduler", json!({"metadata": {"labels": change}})).await;
            context.until("Service", "demo-scheduler", |now| labels(now) == labels(&service)).await;
            // A new response shows that the plugin's worker has handled the change.
            let value = context.nudge("demo").await;
            context.until("Service", "demo-scheduler", |now| now["metadata"]["annotations"][NUDGE] == value).await;
            assert_eq!(uid(&context.expect("ConfigMap", child).await), uid(&before), "{change}");
        }
    })
    .await;
}
