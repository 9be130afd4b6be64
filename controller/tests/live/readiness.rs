//! The conditions `Ready` and `Stalled`, as `kubectl wait`, kstatus and people understand them.

use operator_runtime::testing::{is_met, kstatus};
use serde_json::{Value, json};

use crate::support::{
    TestContext, cluster, condition,
    fake_cluster::{mark_scheduler_ready, mark_scheduler_unready},
    message,
    test_cluster::{GROUP, with_workers},
    version, with_temp_ns,
};

/// Waits until the condition `Ready` of the cluster `demo` has this reason. Returns what kstatus computes.
async fn kstatus_when(context: &TestContext, reason: &str) -> &'static str {
    kstatus(&context.until("DaskCluster", "demo", |demo| condition(demo, "Ready").1 == reason).await)
}

/// Returns a quota that allows no Deployments.
fn no_deployments() -> Value {
    json!({
        "apiVersion": "v1", "kind": "ResourceQuota", "metadata": {"name": "none"},
        "spec": {"hard": {"count/deployments.apps": "0"}},
    })
}

/// Without a default of the status, kstatus would take new objects for current.
#[tokio::test]
#[ignore = "needs a cluster: make live"]
async fn an_object_that_no_controller_has_seen_is_not_current() {
    with_temp_ns(|context| async move {
        let new = context.create(&cluster("demo", 1)).await;
        assert_eq!((kstatus(&new), &new["status"]["observedGeneration"]), ("InProgress", &json!(-1)));
        let group = json!({
            "apiVersion": "kubernetes.dask.org/v1", "kind": "DaskWorkerGroup", "metadata": {"name": "more"},
            "spec": {"cluster": "demo", "worker": new["spec"]["worker"]},
        });
        let autoscaler = json!({
            "apiVersion": "kubernetes.dask.org/v1", "kind": "DaskAutoscaler", "metadata": {"name": "demo"},
            "spec": {"cluster": "demo", "minimum": 1, "maximum": 2},
        });
        for manifest in [group, autoscaler] {
            assert_eq!(kstatus(&context.create(&manifest).await), "InProgress");
        }
    })
    .await;
}

#[tokio::test]
#[ignore = "needs a cluster: make live"]
async fn a_cluster_is_ready_while_clients_can_connect_and_its_spec_is_applied() {
    with_temp_ns(|context| async move {
        let controller = context.start_controller().await;
        context.create_settled("demo", 1).await;
        let starting = context.until("DaskCluster", "demo", |demo| condition(demo, "Ready").1 == "Unschedulable").await;
        assert_eq!((kstatus(&starting), is_met(&starting, "Ready")), ("InProgress", false));

        mark_scheduler_ready(&context, "demo").await;
        let ready = context.until("DaskCluster", "demo", |demo| is_met(demo, "Ready")).await;
        assert_eq!((kstatus(&ready), condition(&ready, "WorkersAvailable").0), ("Current", "False"));

        // A restarted controller observes the same.
        assert!(controller.stop().await.success());
        let _controller = context.start_controller().await;
        context.create_settled("other", 0).await;
        assert_eq!(version(&context.expect("DaskCluster", "demo").await), version(&ready));

        let service = |selector: &str| json!({"spec": {"scheduler": {"service": {"selector": {"app": selector}}}}});
        let changed = context.merge("DaskCluster", "demo", service("other")).await;
        assert_eq!((kstatus(&changed), is_met(&changed, "Ready")), ("InProgress", false), "{changed}");
        assert_eq!(kstatus_when(&context, "ServiceSelectsNothing").await, "Failed");
        let fixed = json!({"spec": {"scheduler": {"service": {"selector": {"app": null}}}}});
        context.merge("DaskCluster", "demo", fixed).await;
        assert_eq!(kstatus_when(&context, "Ready").await, "Current");

        let host_network = json!({"spec": {"scheduler": {"spec": {"hostNetwork": true}}}});
        context.merge("DaskCluster", "demo", host_network).await;
        assert_eq!(kstatus_when(&context, "SpecDiffers").await, "Failed");
        let recreate = json!({"spec": {"scheduler": {"updatePolicy": "Recreate"}}});
        context.merge("DaskCluster", "demo", recreate).await;
        assert_eq!(kstatus_when(&context, "Unschedulable").await, "InProgress");
        mark_scheduler_ready(&context, "demo").await;
        assert_eq!(kstatus_when(&context, "Ready").await, "Current");
    })
    .await;
}

/// Clients of such a cluster wait without any error.
#[tokio::test]
#[ignore = "needs a cluster: make live"]
async fn a_service_that_leads_to_no_pod_is_reported_with_its_cause() {
    with_temp_ns(|context| async move {
        let _controller = context.start_controller().await;
        let says = async |reason: &str, text: &str| {
            let is_said = |demo: &Value| condition(demo, "SchedulerReady").1 == reason;
            let demo = context
                .until("DaskCluster", "demo", |demo| is_said(demo) && message(demo, "SchedulerReady").contains(text))
                .await;
            assert_eq!(condition(&demo, "Ready").0, "False", "{demo}");
        };
        let mut manifest = cluster("demo", 0);
        manifest["spec"]["scheduler"]["service"]["selector"].take();
        // Kubernetes' own scheduler would report at any later moment that the pod fits on no node.
        manifest["spec"]["scheduler"]["spec"]["schedulerName"] = json!("none");
        context.create(&manifest).await;
        mark_scheduler_unready(&context, "demo").await;
        says("Starting", "runs and is not ready, so the Service leads to no pod").await;
        mark_scheduler_ready(&context, "demo").await;
        says("ServiceSelectsNothing", "the Service has no selector").await;

        let selector = json!({"dask.org/cluster-name": "demo", "dask.org/component": "scheduler"});
        let ports = json!([{"name": "tcp-comm", "port": 8786, "targetPort": "comm"}]);
        let service = json!({"spec": {"scheduler": {"service": {"selector": selector, "ports": ports}}}});
        context.merge("DaskCluster", "demo", service).await;
        says("ServicePortNotFound", "the Service's targetPort comm is the name of no port").await;
    })
    .await;
}

/// These conditions said that the spec is valid, and that the scheduler is starting and up to date.
#[tokio::test]
#[ignore = "needs a cluster: make live"]
async fn of_a_cluster_whose_scheduler_is_refused_nothing_is_claimed_that_was_not_seen() {
    with_temp_ns(|context| async move {
        let _controller = context.start_controller().await;
        context.create(&no_deployments()).await;
        let is_enforced = |quota: &Value| quota["status"]["hard"]["count/deployments.apps"] == "0";
        context.until("ResourceQuota", "none", is_enforced).await;
        context.create(&cluster("demo", 1)).await;
        let refused = context.until("DaskCluster", "demo", |demo| condition(demo, "Ready").1 == "Forbidden").await;
        let statuses = ["Accepted", "ComponentsCreated", "SchedulerReady", "SchedulerUpToDate", "WorkersAvailable"];
        let statuses = statuses.map(|type_| condition(&refused, type_).0);
        assert_eq!(statuses[..4], ["False", "False", "Unknown", "Unknown"], "{refused}");
        assert_ne!(statuses[4], "True");
        assert!(message(&refused, "Ready").contains("exceeded quota"), "{}", message(&refused, "Ready"));
        assert_eq!((kstatus(&refused), condition(&refused, "Stalled").0), ("InProgress", "False"));

        context.delete("ResourceQuota", "none").await;
        context.until("DaskCluster", "demo", |demo| condition(demo, "SchedulerUpToDate").0 == "True").await;
        mark_scheduler_ready(&context, "demo").await;
        let ready = context.until("DaskCluster", "demo", |demo| is_met(demo, "Ready")).await;
        assert_eq!(condition(&ready, "Accepted").0, "True");
    })
    .await;
}

#[tokio::test]
#[ignore = "needs a cluster: make live"]
async fn an_object_that_cannot_become_ready_by_waiting_is_stalled() {
    with_temp_ns(|context| async move {
        let _controller = context.start_controller().await;
        context.create(&cluster("dotted.name", 1)).await;
        let invalid = context.until("DaskCluster", "dotted.name", |demo| condition(demo, "Ready").0 == "False").await;
        assert_eq!((kstatus(&invalid), condition(&invalid, "SchedulerReady").0), ("Failed", "Unknown"));

        let mut foreign = json!({
            "apiVersion": "v1", "kind": "Service", "metadata": {"name": "demo-scheduler"},
            "spec": {"ports": [{"port": 80}]},
        });
        foreign["spec"]["selector"] = json!({"app": "other"});
        context.create(&foreign).await;
        context.create(&cluster("demo", 0)).await;
        assert_eq!(kstatus_when(&context, "NameTaken").await, "Failed");
        context.delete("Service", "demo-scheduler").await;
        assert_eq!(kstatus_when(&context, "Unschedulable").await, "InProgress");
    })
    .await;
}

#[tokio::test]
#[ignore = "needs a cluster: make live"]
async fn a_group_and_an_autoscaler_are_ready_when_the_scheduler_knows_the_workers() {
    with_workers(2, |test_cluster| async move {
        test_cluster.connected(GROUP, 2).await;
        let context = &test_cluster.context;
        let group = context.until("DaskWorkerGroup", GROUP, |group| is_met(group, "Ready")).await;
        assert_eq!(kstatus(&group), "Current");
        context.until("DaskCluster", "demo", |demo| is_met(demo, "WorkersAvailable") && is_met(demo, "Ready")).await;

        let changed = context.merge("DaskWorkerGroup", GROUP, json!({"spec": {"worker": {"replicas": 3}}})).await;
        assert_eq!((kstatus(&changed), is_met(&changed, "Ready")), ("InProgress", false));
        let group = context.until("DaskWorkerGroup", GROUP, |group| is_met(group, "Ready")).await;
        assert_eq!((kstatus(&group), &group["status"]["connectedReplicas"]), ("Current", &json!(3)));

        let autoscaler = |group: &str| {
            json!({
                "apiVersion": "kubernetes.dask.org/v1", "kind": "DaskAutoscaler", "metadata": {"name": "demo"},
                "spec": {"cluster": "demo", "minimum": 1, "maximum": 3, "workerGroup": group},
            })
        };
        context.apply(&autoscaler("missing")).await;
        let waits = |demo: &Value| condition(demo, "Ready").1 == "GroupNotFound";
        let waiting = context.until("DaskAutoscaler", "demo", waits).await;
        assert_eq!((kstatus(&waiting), condition(&waiting, "Active").0), ("InProgress", "Unknown"));
        context.apply(&autoscaler(GROUP)).await;
        let active = context.until("DaskAutoscaler", "demo", |demo| is_met(demo, "Ready")).await;
        assert_eq!(kstatus(&active), "Current");
    })
    .await;
}
