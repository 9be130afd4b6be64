//! Tests of updates of components that exist.

use dask_operator_api::DaskCluster;
use kube::api::ObjectMeta;
use serde::de::DeserializeOwned;

use super::*;
use crate::{
    cluster::{
        build::{Desired, build},
        validate::validate,
    },
    test_fixtures::mk_cluster,
};

fn built(cluster: &DaskCluster) -> (ValidatedCluster, Desired) {
    let valid = validate(cluster).unwrap();
    let desired = build(&valid);
    (valid, desired)
}

/// Returns the component as it was created from `manifest`, with the fields that the API server adds.
fn live<K: DeserializeOwned>(manifest: &Value) -> Arc<K> {
    let mut object = manifest.clone();
    object["metadata"]["uid"] = json!("live-uid");
    object["metadata"]["resourceVersion"] = json!("7");
    Arc::new(serde_json::from_value(object).unwrap())
}

/// Returns the component as dask-kubernetes created it: without the controller's annotations.
fn foreign<K: DeserializeOwned>(manifest: &Value) -> Arc<K> {
    let mut object = manifest.clone();
    object["metadata"]["annotations"] = json!({});
    live(&object)
}

fn edited(edit: impl FnOnce(&mut DaskCluster)) -> DaskCluster {
    let mut cluster = mk_cluster("demo");
    edit(&mut cluster);
    cluster
}

fn service_update(cluster: &DaskCluster, live: &Arc<Service>) -> Option<Update> {
    let (valid, desired) = built(cluster);
    of_service(&valid, live, &desired.service)
}

fn group_update(cluster: &DaskCluster, live: &Arc<DaskWorkerGroup>) -> Option<Update> {
    let (valid, desired) = built(cluster);
    of_group(&valid, live, &desired.group)
}

fn scheduler_update(cluster: &DaskCluster, live: &Arc<DeploymentView>) -> Option<Update> {
    let (valid, desired) = built(cluster);
    of_scheduler(&valid, live, &desired.scheduler)
}

fn old() -> Desired {
    built(&mk_cluster("demo")).1
}

/// Returns the value that the operations set at `path`.
fn set<'a>(operations: &'a [Value], path: &str) -> Option<&'a Value> {
    operations.iter().find(|operation| operation["path"] == path && operation["op"] != "test").map(|it| &it["value"])
}

#[test]
fn components_that_are_up_to_date_are_left_alone() {
    let cluster = mk_cluster("demo");
    assert!(scheduler_update(&cluster, &live(&old().scheduler.manifest())).is_none());
    assert!(service_update(&cluster, &live(&old().service.manifest())).is_none());
    assert!(group_update(&cluster, &live(&old().group.manifest())).is_none());
}

#[test]
fn a_label_of_the_cluster_reaches_all_components_and_restarts_none() {
    let cluster = edited(|cluster| cluster.metadata.labels = Some(meta::map_of([("team", "a")])));
    let labels = json!({"team": "a"});
    match scheduler_update(&cluster, &live(&old().scheduler.manifest())) {
        Some(Update::SchedulerMetadata(_, patch)) => assert_eq!(patch["labels"], labels),
        other => panic!("{other:?}"),
    }
    match service_update(&cluster, &live(&old().service.manifest())) {
        Some(Update::ServiceMetadata(_, patch)) => assert_eq!(patch["labels"], labels),
        other => panic!("{other:?}"),
    }
    match group_update(&cluster, &live(&old().group.manifest())) {
        Some(Update::GroupMetadata(_, patch)) => assert_eq!(patch["labels"], labels),
        other => panic!("{other:?}"),
    }
}

/// Replacing it would lose all results.
#[test]
fn the_scheduler_is_replaced_only_if_the_cluster_says_so() {
    let change = |cluster: &mut DaskCluster| {
        cluster.spec.scheduler.spec.set("nodeName", json!("n"));
    };
    let live: Arc<DeploymentView> = live(&old().scheduler.manifest());
    assert!(scheduler_update(&edited(change), &live).is_none());
    let recreate = edited(|cluster| {
        change(cluster);
        cluster.spec.scheduler.update_policy = Some(SchedulerUpdatePolicy::Recreate);
    });
    assert!(matches!(scheduler_update(&recreate, &live), Some(Update::RecreateScheduler(_))));
}

#[test]
fn the_service_gets_the_users_fields_and_keeps_kubernetes_own() {
    let mut manifest = old().service.manifest();
    manifest["spec"]["clusterIP"] = json!("10.96.0.7");
    let cluster = edited(|cluster| {
        let mut service = cluster.spec.scheduler.service.object();
        service.remove("selector");
        service.insert("type".to_owned(), json!("LoadBalancer"));
        cluster.spec.scheduler.service.0 = service.into();
    });
    let Some(Update::ServiceSpec(_, operations)) = service_update(&cluster, &live(&manifest)) else { panic!() };
    assert_eq!(set(&operations, "/spec/type"), Some(&json!("LoadBalancer")));
    assert_eq!(operations[0], json!({"op": "remove", "path": "/spec/selector"}));
    assert!(!operations.iter().any(|operation| operation["path"] == "/spec/clusterIP"));
    let fields = set(&operations, "/metadata/annotations/operator.dask.org~1service-fields");
    assert_eq!(fields, Some(&json!("ports,type")));
}

#[test]
fn a_new_template_reaches_the_group_and_leaves_its_size() {
    let mut manifest = old().group.manifest();
    manifest["spec"]["worker"]["replicas"] = json!(9); // Scaled by a client.
    let cluster = edited(|cluster| cluster.spec.worker.spec.set("nodeName", json!("n")));
    let Some(Update::GroupSpec(_, operations)) = group_update(&cluster, &live(&manifest)) else { panic!() };
    let worker = set(&operations, "/spec/worker").unwrap();
    assert_eq!((&worker["replicas"], &worker["spec"]["nodeName"]), (&json!(9), &json!("n")));
    assert_eq!(operations[0], json!({"op": "test", "path": "/metadata/resourceVersion", "value": "7"}));
}

#[test]
fn a_new_number_of_workers_reaches_the_group() {
    let cluster = edited(|cluster| cluster.spec.worker.replicas = 5);
    let Some(Update::GroupSpec(_, operations)) = group_update(&cluster, &live(&old().group.manifest())) else {
        panic!()
    };
    assert_eq!(set(&operations, "/spec/worker/replicas"), Some(&json!(5)));
    let noted = set(&operations, "/metadata/annotations/operator.dask.org~1cluster-replicas");
    assert_eq!(noted, Some(&json!("5")));
}

/// `helm upgrade` with the same number must not undo what `scale()` or an autoscaler did.
#[test]
fn the_same_number_of_workers_again_does_not_undo_a_scaling_of_the_group() {
    let mut manifest = old().group.manifest();
    manifest["spec"]["worker"]["replicas"] = json!(9);
    assert!(group_update(&mk_cluster("demo"), &live(&manifest)).is_none());
}

/// Taking over a cluster of dask-kubernetes changes only annotations, even if its components differ.
#[test]
fn components_of_an_older_controller_get_notes_and_nothing_else() {
    let cluster = edited(|cluster| {
        cluster.spec.worker.replicas = 7;
        cluster.spec.scheduler.update_policy = Some(SchedulerUpdatePolicy::Recreate);
        cluster.spec.scheduler.service.set("type", json!("NodePort"));
        cluster.spec.scheduler.spec.set("nodeName", json!("n"));
    });
    let notes = |patch: &Map<String, Value>| -> Vec<String> {
        let annotations = patch["annotations"].as_object().unwrap();
        assert_eq!(patch.len(), 1, "{patch:?}");
        annotations.keys().map(|key| key.strip_prefix("operator.dask.org/").unwrap().to_owned()).collect()
    };
    match scheduler_update(&cluster, &foreign(&old().scheduler.manifest())) {
        Some(Update::SchedulerMetadata(_, patch)) => {
            assert_eq!(notes(&patch), ["propagated", "template", "template-meaning"]);
        }
        other => panic!("{other:?}"),
    }
    match service_update(&cluster, &foreign(&old().service.manifest())) {
        Some(Update::ServiceMetadata(_, patch)) => {
            assert_eq!(notes(&patch), ["propagated", "service-fields", "template", "template-meaning"]);
        }
        other => panic!("{other:?}"),
    }
    match group_update(&cluster, &foreign(&old().group.manifest())) {
        Some(Update::GroupMetadata(_, patch)) => {
            assert_eq!(notes(&patch), ["cluster-replicas", "propagated", "template", "template-meaning"]);
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_label_is_added_even_where_there_are_none_yet() {
    let service = Service { metadata: ObjectMeta::default(), ..Service::default() };
    let operations = metadata(&service, &Propagation::new(meta::map_of([("a/b~c", "1")]), meta::Map::new()));
    assert_eq!(operations[0], json!({"op": "add", "path": "/metadata/labels", "value": {}}));
    assert_eq!(operations[1], json!({"op": "add", "path": "/metadata/labels/a~1b~0c", "value": "1"}));
}

/// Two spellings of one meaning, and what a spelling must not be taken for.
#[test]
fn another_spelling_of_the_spec_updates_nothing_but_the_record() {
    let respelled = edited(|cluster| {
        let scheduler = &mut cluster.spec.scheduler;
        scheduler.update_policy = Some(SchedulerUpdatePolicy::Recreate);
        scheduler.spec.set("volumes", json!([]));
        scheduler.spec.set("dnsPolicy", json!("ClusterFirst"));
        scheduler.service.set("sessionAffinity", json!("None"));
        cluster.spec.worker.spec.set("restartPolicy", json!("Always"));
        cluster.spec.worker.spec.set("nodeSelector", json!({}));
    });
    let old = old();
    let scheduler = scheduler_update(&respelled, &live(&old.scheduler.manifest()));
    assert!(matches!(scheduler, Some(Update::SchedulerMetadata(..))), "{scheduler:?}");
    let service = service_update(&respelled, &live(&old.service.manifest()));
    assert!(matches!(service, Some(Update::ServiceMetadata(..))), "{service:?}");
    let group = group_update(&respelled, &live(&old.group.manifest()));
    assert!(matches!(group, Some(Update::GroupMetadata(..))), "{group:?}");
    let changed = edited(|cluster| cluster.spec.worker.spec.set("nodeSelector", json!({"gpu": ""})));
    let group = group_update(&changed, &live(&old.group.manifest()));
    assert!(matches!(group, Some(Update::GroupSpec(..))), "{group:?}");
}

/// Returns the cluster with this prefix of its dashboard.
fn prefixed(prefix: &str) -> DaskCluster {
    edited(|cluster| {
        let scheduler = json!({"name": "scheduler", "args": ["dask-scheduler", "--dashboard-prefix", prefix]});
        cluster.spec.scheduler.spec.set("containers", json!([scheduler]));
    })
}

/// Returns the annotation that the Service gets, if it is updated.
fn prefix_after(cluster: &DaskCluster, running: &DaskCluster, service: &Arc<Service>) -> Option<Value> {
    let live: Arc<DeploymentView> = live(&built(running).1.scheduler.manifest());
    let (valid, desired) = built(cluster);
    let desired = desired.beside(Some(&live.metadata));
    match of_service(&valid, service, &desired.service)? {
        Update::ServiceMetadata(_, patch) => patch.get("annotations")?.get(meta::DASHBOARD_PREFIX).cloned(),
        other => panic!("{other:?}"),
    }
}

#[test]
fn an_existing_service_says_where_the_dashboard_is() {
    let without: Arc<Service> = live(&old().service.manifest());
    assert_eq!(prefix_after(&prefixed("/p"), &prefixed("/p"), &without), Some(json!("/p")));
    let with: Arc<Service> = live(&built(&prefixed("/p")).1.service.manifest());
    assert!(prefix_after(&prefixed("/p"), &prefixed("/p"), &with).is_none());
    let none = mk_cluster("demo");
    assert_eq!(prefix_after(&none, &none, &with), Some(Value::Null));
}

/// The scheduler that runs still has the old prefix until it is created again.
#[test]
fn the_service_says_what_applies_to_the_scheduler_that_runs() {
    let with: Arc<Service> = live(&built(&prefixed("/p")).1.service.manifest());
    assert!(prefix_after(&prefixed("/new"), &prefixed("/p"), &with).is_none());
    assert_eq!(prefix_after(&prefixed("/new"), &prefixed("/new"), &with), Some(json!("/new")));
    // A change of the Service itself does not change it either.
    let mut cluster = prefixed("/new");
    cluster.spec.scheduler.service.set("type", json!("NodePort"));
    let live: Arc<DeploymentView> = live(&built(&prefixed("/p")).1.scheduler.manifest());
    let (valid, desired) = built(&cluster);
    let desired = desired.beside(Some(&live.metadata));
    let Some(Update::ServiceSpec(_, operations)) = of_service(&valid, &with, &desired.service) else { unreachable!() };
    let touched = operations.iter().any(|operation| operation["path"].as_str().unwrap().contains("dashboard-prefix"));
    assert!(!touched, "{operations:?}");
}

// --- Pods ---

type Labels<'a> = &'a [(&'a str, &'a str)];

/// Returns the labels that a pod of the scheduler with these `labels` gets.
fn restored(cluster: &DaskCluster, labels: Labels<'_>, name: &str) -> Option<Value> {
    let (valid, desired) = built(cluster);
    let mut all: std::collections::BTreeMap<_, _> = labels.iter().copied().collect();
    all.insert("pod-template-hash", "5d8f7c");
    let pod = json!({"metadata": {"name": name, "namespace": "ns", "labels": all}});
    let observed = Observed {
        scheduler: Some(live(&desired.scheduler.manifest())),
        astray_pods: vec![Arc::new(serde_json::from_value(pod).unwrap())],
        ..Observed::default()
    };
    of_pods(&valid, &observed).pop().map(|update| match update {
        Update::PodLabels(_, labels) => labels,
        other => panic!("{other:?}"),
    })
}

#[test]
fn a_pod_of_the_scheduler_gets_back_the_labels_that_its_deployment_selects_by() {
    let (component, cluster) = ((meta::COMPONENT, "scheduler"), (meta::CLUSTER_NAME, "demo"));
    let (demo, pod) = (mk_cluster("demo"), "demo-scheduler-5d8f7c-abcde");
    let table: [(Labels<'_>, &str, Option<Value>); 5] = [
        (&[component, cluster], pod, None),
        (&[cluster], pod, Some(json!({meta::COMPONENT: "scheduler"}))),
        (&[component, (meta::CLUSTER_NAME, "other")], pod, Some(json!({meta::CLUSTER_NAME: "demo"}))),
        (&[], pod, Some(json!({meta::COMPONENT: "scheduler", meta::CLUSTER_NAME: "demo"}))),
        (&[cluster], "demo-scheduler-tool-5d8f7c-abcde", None),
    ];
    for (labels, name, expected) in table {
        assert_eq!(restored(&demo, labels, name), expected, "{labels:?} {name}");
    }
}

/// Such a cluster exists before an upgrade. Otherwise nobody could reach its scheduler until that is replaced. A label of
/// another value stays: a Deployment of dask-kubernetes may select by it, and would replace the pod.
#[test]
fn a_pod_that_the_service_cannot_select_gets_the_labels_that_it_lacks() {
    let cluster = edited(|cluster| {
        cluster.metadata.labels = Some(meta::map_of([("app.kubernetes.io/instance", "run-7"), ("team", "a")]));
        let mut service = json!(cluster.spec.scheduler.service);
        service["selector"] = json!({"app.kubernetes.io/instance": "run-7", "team": "a"});
        cluster.spec.scheduler.service = serde_json::from_value(service).unwrap();
    });
    let base = [(meta::COMPONENT, "scheduler"), (meta::CLUSTER_NAME, "demo"), ("team", "old")];
    let expected = json!({"app.kubernetes.io/instance": "run-7"});
    assert_eq!(restored(&cluster, &base, "demo-scheduler-5d8f7c-abcde"), Some(expected));
}

/// A warning about a spec that was fixed would stay for ever.
#[test]
fn a_new_spec_of_the_service_removes_the_warnings_about_the_old_one() {
    let mut before = old().service.manifest();
    before["metadata"]["annotations"][meta::WARNINGS] = json!("[]");
    let cluster =
        edited(|cluster| cluster.spec.scheduler.service = serde_json::from_value(json!({"ports": []})).unwrap());
    let Some(Update::ServiceSpec(_, operations)) = service_update(&cluster, &live(&before)) else { panic!() };
    let remove = json!({"op": "remove", "path": "/metadata/annotations/operator.dask.org~1warnings"});
    assert!(operations.contains(&remove), "{operations:?}");
}
