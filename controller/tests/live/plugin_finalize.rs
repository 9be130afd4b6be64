//! Plugins with the hook Finalize, and Kubernetes' garbage collector.

use std::time::{Duration, Instant};

use kube::api::DeleteParams;
use plugin_server_kit::protocol::{EventReason, Hook};
use serde_json::{Value, json};

use crate::support::{
    TestContext, cluster, condition, eventually, name,
    plugin::{Call, Reply, TestPlugin, config},
    uid, with_controller, with_temp_ns,
};

const CHILD: &str = "demo-scheduler-echo-config";
const SUBJECT: &str = "demo-scheduler";
const FINALIZER: &str = "plugin.kubernetes.dask.org/echo";
/// A deadline that no test reaches.
const FAR: u32 = 300;
/// A deadline that tests wait for.
const NEAR: u32 = 3;

/// Returns a plugin that wants one ConfigMap for each scheduler, and answers with `reply` when it finalizes.
fn finalizing(context: &TestContext, farewell: Reply) -> TestPlugin {
    let plugin = TestPlugin::new(context, "echo");
    plugin.serve_finalize();
    say(&plugin, farewell);
    plugin
}

fn say(plugin: &TestPlugin, farewell: Reply) {
    plugin.respond_with(move |request| match request.hook {
        Hook::Finalize => farewell.clone(),
        _ => Reply::Children(vec![config("config", "first")]),
    });
}

fn manifest(plugin: &TestPlugin, deadline: u32) -> Value {
    let mut manifest = plugin.manifest();
    manifest["spec"]["finalize"] = json!({"enabled": true, "deadlineSeconds": deadline});
    manifest
}

/// Creates a cluster with a child and a finalizer, and their plugin.
async fn held(context: &TestContext, farewell: Reply, deadline: u32) -> TestPlugin {
    context.create_settled("demo", 0).await;
    let mut plugin = finalizing(context, farewell);
    plugin.install_as(&manifest(&plugin, deadline)).await;
    plugin.until_counts(1, 1, 0).await;
    assert!(has_finalizer(&context.expect("DaskCluster", "demo").await));
    plugin.forget_calls();
    plugin
}

fn has_finalizer(object: &Value) -> bool {
    object["metadata"]["finalizers"].as_array().is_some_and(|list| list.contains(&json!(FINALIZER)))
}

fn is_going(object: &Value) -> bool {
    object["metadata"]["deletionTimestamp"].is_string()
}

/// Deletes the cluster and waits until the plugin was called.
async fn delete_and_ask(context: &TestContext, plugin: &TestPlugin) {
    context.delete("DaskCluster", "demo").await;
    plugin.until_called("the hook Finalize", |calls| !calls.is_empty()).await;
}

/// Waits for the Warning about the Dask resource with this uid.
async fn warning(context: &TestContext, uid: &str) -> Value {
    eventually("a Warning", async || {
        let events = context.list("Event", "").await;
        let about = |event: &&Value| event["regarding"]["uid"] == uid && event["reason"] == "FinalizeDeadlineExceeded";
        events.iter().find(about).cloned().ok_or_else(|| "there is none".to_owned())
    })
    .await
}

fn asked_to(hook: Hook, call: &Call) -> bool {
    call.request.hook == hook
}

#[tokio::test]
#[ignore = "needs a cluster: make live"]
async fn a_cluster_stays_until_its_plugin_holds_nothing_and_then_goes_with_its_children() {
    with_controller(async |context| {
        let mut plugin = held(&context, Reply::Pending, FAR).await;
        delete_and_ask(&context, &plugin).await;
        // It is called until it has finalized, and never to sync.
        context.nudge("demo").await;
        context.delete("ConfigMap", CHILD).await;
        plugin.until_called("three calls", |calls| calls.len() >= 3).await;
        let demo = context.expect("DaskCluster", "demo").await;
        assert!(is_going(&demo) && has_finalizer(&demo));
        assert_eq!(context.get("ConfigMap", CHILD).await, None, "nothing is made for a cluster that goes");

        let calls = plugin.calls();
        assert!(calls.iter().all(|call| asked_to(Hook::Finalize, call)), "{calls:?}");
        let request = &calls[0].request;
        assert_eq!((request.event.reason, request.subject.name()), (EventReason::Deleting, SUBJECT));
        assert_eq!(request.observed.children["config"].object["data"], json!({"value": "first"}));
        assert!(is_going(&request.owner.object));
        assert_eq!(request.owner.object["metadata"].get("finalizers"), None, "plugins do not see each other");

        say(&plugin, Reply::Finalized);
        context.goes("DaskCluster", "demo").await;
        context.goes("Service", SUBJECT).await;
        plugin.until_counts(0, 0, 0).await;
        plugin.stop().await;
    })
    .await;
}

#[tokio::test]
#[ignore = "needs a cluster: make live"]
async fn after_the_deadline_a_cluster_goes_with_a_warning_whatever_its_plugin_says() {
    with_controller(async |context| {
        let plugin = held(&context, Reply::Failure("Never", "I keep it"), NEAR).await;
        let demo = context.expect("DaskCluster", "demo").await;
        delete_and_ask(&context, &plugin).await;
        let failure = plugin.until_failing("PluginFailure").await;
        assert_eq!(failure["hook"], "Finalize");
        context.goes("DaskCluster", "demo").await;
        let event = warning(&context, uid(&demo)).await;
        assert_eq!(event["type"], "Warning");
        assert!(event["note"].as_str().unwrap().contains("has not finalized 1"), "{event}");
    })
    .await;
}

#[tokio::test]
#[ignore = "needs a cluster: make live"]
async fn a_plugin_that_is_down_holds_a_cluster_until_the_deadline_only() {
    with_controller(async |context| {
        let mut plugin = held(&context, Reply::Pending, NEAR).await;
        let demo = context.expect("DaskCluster", "demo").await;
        plugin.stop().await;
        context.delete("DaskCluster", "demo").await;
        context.goes("DaskCluster", "demo").await;
        warning(&context, uid(&demo)).await;
    })
    .await;
}

/// The controller has not synced this plugin since it started.
#[tokio::test]
#[ignore = "needs a cluster: make live"]
async fn a_plugin_that_is_suspended_holds_a_cluster_until_the_deadline_only() {
    with_temp_ns(|context| async move {
        let controller = context.start_controller().await;
        let plugin = held(&context, Reply::Pending, NEAR).await;
        let demo = context.expect("DaskCluster", "demo").await;
        context.merge("DaskOperatorPlugin", "echo", json!({"spec": {"suspend": true}})).await;
        plugin.until_ready("False", "Suspended").await;
        controller.kill().await;
        let _controller = context.start_controller().await;
        assert!(has_finalizer(&context.expect("DaskCluster", "demo").await), "it may be resumed");
        let begin = Instant::now();
        context.delete("DaskCluster", "demo").await;
        context.goes("DaskCluster", "demo").await;
        assert!(begin.elapsed() >= Duration::from_secs(u64::from(NEAR) - 1), "it could have been resumed until then");
        let event = warning(&context, uid(&demo)).await;
        assert!(event["note"].as_str().unwrap().contains("could not be called"), "{event}");
        assert!(plugin.calls().is_empty());
    })
    .await;
}

#[tokio::test]
#[ignore = "needs a cluster: make live"]
async fn with_its_resource_a_plugins_finalizers_go_and_orphans_lose_nothing() {
    with_controller(async |context| {
        context.create(&cluster("going", 0)).await;
        context.running("going").await;
        context.create(&cluster("demo", 0)).await;
        context.running("demo").await;
        let mut plugin = finalizing(&context, Reply::Pending);
        let mut manifest = manifest(&plugin, FAR);
        manifest["spec"]["deletionPolicy"] = json!("Orphan");
        plugin.install_as(&manifest).await;
        plugin.until_counts(2, 2, 0).await;
        let child = context.expect("ConfigMap", CHILD).await;
        plugin.forget_calls();
        context.delete("DaskCluster", "going").await;
        plugin.until_called("the hook Finalize", |calls| !calls.is_empty()).await;

        context.delete("DaskOperatorPlugin", "echo").await;
        context.goes("DaskCluster", "going").await;
        context.until("DaskCluster", "demo", |demo| !has_finalizer(demo)).await;
        let left = context.expect("ConfigMap", CHILD).await;
        assert_eq!(left["metadata"]["labels"], child["metadata"]["labels"]);
        assert_eq!(left["metadata"]["ownerReferences"], child["metadata"]["ownerReferences"]);
    })
    .await;
}

#[tokio::test]
#[ignore = "needs a cluster: make live"]
async fn finalizers_of_a_plugin_that_was_deleted_while_no_controller_ran_go_at_the_start() {
    with_temp_ns(|context| async move {
        let controller = context.start_controller().await;
        let _plugin = held(&context, Reply::Pending, FAR).await;
        context
            .merge("DaskCluster", "demo", json!({"metadata": {"finalizers": ["example.com/mine", FINALIZER]}}))
            .await;
        controller.kill().await;
        context.delete("DaskOperatorPlugin", "echo").await;
        let _controller = context.start_controller().await;
        let demo = context.until("DaskCluster", "demo", |demo| !has_finalizer(demo)).await;
        assert_eq!(demo["metadata"]["finalizers"], json!(["example.com/mine"]));
        context.merge("DaskCluster", "demo", json!({"metadata": {"finalizers": null}})).await;
    })
    .await;
}

#[tokio::test]
#[ignore = "needs a cluster: make live"]
async fn a_finalizer_goes_when_the_resource_asks_for_it_no_longer() {
    with_controller(async |context| {
        let plugin = held(&context, Reply::Pending, FAR).await;
        context.merge("DaskOperatorPlugin", "echo", json!({"spec": {"finalize": {"enabled": false}}})).await;
        context.until("DaskCluster", "demo", |demo| !has_finalizer(demo)).await;
        context.expect("ConfigMap", CHILD).await;
        assert!(!plugin.calls().iter().any(|call| asked_to(Hook::Finalize, call)));
        context.delete("DaskCluster", "demo").await;
        context.goes("DaskCluster", "demo").await;
    })
    .await;
}

#[tokio::test]
#[ignore = "needs a cluster: make live"]
async fn a_subject_that_stops_matching_is_finalized_and_then_pruned() {
    with_temp_ns(|context| async move {
        let controller = context.start_controller().await;
        let mut demo = cluster("demo", 0);
        demo["metadata"]["labels"] = json!({"expose": "yes"});
        context.create(&demo).await;
        context.settled("demo", 0).await;
        let mut plugin = finalizing(&context, Reply::Pending);
        let mut manifest = manifest(&plugin, FAR);
        manifest["spec"]["match"] = json!({"objectSelector": {"matchLabels": {"expose": "yes"}}});
        plugin.install_as(&manifest).await;
        plugin.until_counts(1, 1, 0).await;
        plugin.forget_calls();

        // The Service follows.
        context.merge("DaskCluster", "demo", json!({"metadata": {"labels": {"expose": null}}})).await;
        plugin.until_called("the hook Finalize", |calls| !calls.is_empty()).await;
        // Another process continues what was begun.
        controller.kill().await;
        plugin.forget_calls();
        let _controller = context.start_controller().await;
        plugin.until_called("two calls", |calls| calls.len() >= 2).await;
        context.expect("ConfigMap", CHILD).await;
        assert!(has_finalizer(&context.expect("DaskCluster", "demo").await));
        for call in plugin.calls() {
            assert_eq!((call.request.hook, call.request.event.reason), (Hook::Finalize, EventReason::Unmatched));
        }

        say(&plugin, Reply::Finalized);
        context.goes("ConfigMap", CHILD).await;
        context.until("DaskCluster", "demo", |demo| !has_finalizer(demo)).await;
        plugin.until_counts(0, 0, 0).await;

        context.merge("DaskCluster", "demo", json!({"metadata": {"labels": {"expose": "yes"}}})).await;
        context.appears("ConfigMap", CHILD).await;
        assert!(has_finalizer(&context.expect("DaskCluster", "demo").await));
        context.delete("DaskCluster", "demo").await;
        context.goes("DaskCluster", "demo").await;
    })
    .await;
}

#[tokio::test]
#[ignore = "needs a cluster: make live"]
async fn an_unmatched_subject_loses_its_children_after_the_deadline() {
    with_controller(async |context| {
        let plugin = held(&context, Reply::Failure("Never", "I keep it"), NEAR).await;
        let match_ = json!({"objectSelector": {"matchLabels": {"expose": "yes"}}});
        context.merge("DaskOperatorPlugin", "echo", json!({"spec": {"match": match_}})).await;
        plugin.until_failing("PluginFailure").await;
        context.expect("ConfigMap", CHILD).await;
        context.goes("ConfigMap", CHILD).await;
        context.until("DaskCluster", "demo", |demo| !has_finalizer(demo)).await;
        plugin.until_counts(0, 0, 0).await;
    })
    .await;
}

#[tokio::test]
#[ignore = "needs a cluster: make live"]
async fn a_plugin_that_does_not_serve_the_hook_is_synced_and_holds_nothing_and_its_status_says_so() {
    with_controller(async |context| {
        context.create(&cluster("demo", 0)).await;
        context.running("demo").await;
        let mut plugin = TestPlugin::new(&context, "echo");
        plugin.install_as(&manifest(&plugin, FAR)).await;
        let resource = plugin.until_counts(1, 1, 0).await;
        assert_eq!(condition(&resource, "Discovered"), ("False", "HookNotServed"));
        assert_eq!(condition(&resource, "Ready"), ("True", "Ready"));
        assert!(!has_finalizer(&context.expect("DaskCluster", "demo").await));

        // A new version of the plugin serves it.
        plugin.serve_finalize();
        plugin.touch_endpoints().await;
        context.until("DaskCluster", "demo", has_finalizer).await;
        plugin.until(|plugin| condition(plugin, "Discovered") == ("True", "Answered")).await;
        say(&plugin, Reply::Finalized);
        context.delete("DaskCluster", "demo").await;
        context.goes("DaskCluster", "demo").await;
    })
    .await;
}

#[tokio::test]
#[ignore = "needs a cluster: make live"]
async fn a_controller_that_is_killed_before_the_first_child_and_while_finalizing_continues_where_it_was() {
    with_temp_ns(|context| async move {
        let mut controller = context.start_controller().await;
        context.create_settled("demo", 0).await;
        let mut plugin = finalizing(&context, Reply::Pending);
        plugin.answer(Reply::Hang);
        plugin.install_as(&manifest(&plugin, FAR)).await;
        plugin.until_called("a first call", |calls| !calls.is_empty()).await;
        let demo = context.expect("DaskCluster", "demo").await;
        assert!(has_finalizer(&demo), "the finalizer comes before the first call");
        controller.kill().await;

        say(&plugin, Reply::Pending);
        controller = context.start_controller().await;
        context.appears("ConfigMap", CHILD).await;
        plugin.forget_calls();
        delete_and_ask(&context, &plugin).await;
        controller.kill().await;

        plugin.forget_calls();
        let _controller = context.start_controller().await;
        plugin.until_called("the hook Finalize again", |calls| !calls.is_empty()).await;
        assert!(plugin.calls().iter().all(|call| asked_to(Hook::Finalize, call)));
        say(&plugin, Reply::Finalized);
        context.goes("DaskCluster", "demo").await;
    })
    .await;
}

/// The garbage collector deletes the workers while their group still exists.
#[tokio::test]
#[ignore = "needs a cluster: make live"]
async fn a_cluster_that_is_deleted_in_the_foreground_is_not_held_by_workers_that_are_gone() {
    with_controller(async |context| {
        context.create_settled("demo", 2).await;
        let mut plugin = finalizing(&context, Reply::Pending);
        let mut manifest = manifest(&plugin, FAR);
        manifest["spec"]["subjects"] =
            json!([{"kind": "Deployment", "component": "worker"}, {"kind": "DaskWorkerGroup"}]);
        plugin.respond_with(|request| match (request.hook, request.subject.kind()) {
            (Hook::Finalize, "DaskWorkerGroup") => Reply::Finalized,
            (Hook::Finalize, _) => Reply::Pending,
            _ => Reply::Children(vec![config("config", "first")]),
        });
        plugin.install_as(&manifest).await;
        plugin.until_counts(3, 3, 0).await;
        assert!(has_finalizer(&context.expect("DaskWorkerGroup", "demo-default").await));
        assert!(!has_finalizer(&context.expect("DaskCluster", "demo").await), "the nearest Dask resource is held");
        context.api("DaskCluster").delete("demo", &DeleteParams::foreground()).await.unwrap();
        context.goes("DaskCluster", "demo").await;
        context.goes("DaskWorkerGroup", "demo-default").await;
        let finalized = plugin.calls().into_iter().filter(|call| asked_to(Hook::Finalize, call));
        assert!(finalized.map(|call| name(&call.request.subject.object).to_owned()).any(|name| name == "demo-default"));
    })
    .await;
}

/// Each of them would cost a request and delay other deletions.
#[tokio::test]
#[ignore = "needs a cluster: make live"]
async fn any_number_of_finalizers_that_no_plugin_has_leaves_at_once_and_those_of_others_stay() {
    with_controller(async |context| {
        let foreign = "example.org/mine";
        let mut pill = cluster("pill", 0);
        let made_up = (0..10_000).map(|number| format!("plugin.kubernetes.dask.org/made-up-{number}"));
        pill["metadata"]["finalizers"] = made_up.chain([foreign.to_owned()]).collect();
        context.create(&pill).await;
        let is_free = |pill: &Value| pill["metadata"]["finalizers"] == json!([foreign]);
        context.until("DaskCluster", "pill", is_free).await;
        context.merge("DaskCluster", "pill", json!({"metadata": {"finalizers": null}})).await;
    })
    .await;
}
