//! Children of plugins when responses, other writers and allow-lists change.

use std::{
    sync::atomic::{AtomicUsize, Ordering},
    time::Duration,
};

use plugin_server_kit::protocol::{Child, PluginRequest};
use serde_json::{Value, json};

use crate::support::{
    Controller, DEADLINE, NUDGE, TestContext, by_name, cluster, eventually, name,
    plugin::{Reply, TestPlugin, config},
    uid, version, with_controller, with_temp_ns, within,
};

/// The name of the child with the key `config` of the plugin `echo` for the cluster `demo`.
const CHILD: &str = "demo-scheduler-echo-config";
/// Selects the children of all plugins.
const OURS: &str = "plugin.kubernetes.dask.org/plugin";
const KEY: &str = "plugin.kubernetes.dask.org/key";

/// Creates a cluster and a plugin that answers with `reply`.
async fn installed(context: &TestContext, reply: Reply) -> (Controller, TestPlugin) {
    let controller = context.start_controller().await;
    context.create_settled("demo", 0).await;
    let mut plugin = TestPlugin::new(context, "echo");
    plugin.answer(reply);
    plugin.install().await;
    plugin.until_counts(1, 1, 0).await;
    (controller, plugin)
}

/// Waits until a pass that began after this call has ended: there is one at a time.
async fn barrier(context: &TestContext, plugin: &TestPlugin) {
    for _ in 0..2 {
        let value = context.nudge("demo").await;
        plugin
            .until_called("a call about the change", |calls| {
                calls.iter().any(|call| call.request.owner.object["metadata"]["annotations"][NUDGE] == value)
            })
            .await;
    }
}

fn configs(numbers: std::ops::Range<usize>) -> Reply {
    Reply::Children(numbers.map(|number| config(&format!("config-{number}"), "x")).collect())
}

// --- The prune guard ---

/// The response of a plugin that lost its configuration looks like that of one that wants no children.
#[tokio::test]
#[ignore = "needs a cluster: make live"]
async fn an_answer_that_drops_most_children_is_held_until_a_person_lets_it_go() {
    with_temp_ns(|context| async move {
        let (_controller, plugin) = installed(&context, configs(0..12)).await;
        let before = by_name(&context.list("ConfigMap", OURS).await, uid);
        assert_eq!(before.len(), 12);

        plugin.answer(configs(0..2));
        context.nudge("demo").await;
        let failure = plugin.until_failing("PruneHeld").await;
        let message = failure["message"].as_str().unwrap();
        let annotation = "plugin.kubernetes.dask.org/allow-prune";
        for words in ["10 of the plugin's 12 children", annotation] {
            assert!(message.contains(words), "{message}");
        }
        context.annotate("DaskOperatorPlugin", "echo", annotation, "true").await;
        barrier(&context, &plugin).await;
        plugin.until_counts(1, 0, 1).await;
        assert_eq!(by_name(&context.list("ConfigMap", OURS).await, uid), before);

        let now = jiff::Timestamp::now().to_string();
        context.annotate("DaskOperatorPlugin", "echo", annotation, &now).await;
        within(Duration::from_secs(15), "the children to go", async || match context.count("ConfigMap", OURS).await {
            2 => Ok(()),
            count => Err(format!("there are {count}")),
        })
        .await;
        plugin.until_counts(1, 1, 0).await;
    })
    .await;
}

#[tokio::test]
#[ignore = "needs a cluster: make live"]
async fn what_is_held_is_kept_for_good_if_the_plugin_takes_it_back() {
    with_temp_ns(|context| async move {
        let (_controller, plugin) = installed(&context, configs(0..12)).await;
        let before = by_name(&context.list("ConfigMap", OURS).await, version);
        plugin.answer(configs(0..0));
        context.nudge("demo").await;
        plugin.until_failing("PruneHeld").await;
        plugin.answer(configs(0..12));
        context.nudge("demo").await;
        plugin.until_counts(1, 1, 0).await;
        assert_eq!(by_name(&context.list("ConfigMap", OURS).await, version), before);
        // The prune guard is off again.
        plugin.answer(configs(0..11));
        context.nudge("demo").await;
        context.goes("ConfigMap", "demo-scheduler-echo-config-11").await;
    })
    .await;
}

// --- Drift ---

/// A kind without a generation does not show what changed, and an apply that changes nothing is a write all the same.
#[tokio::test]
#[ignore = "needs a cluster: make live"]
async fn fields_of_others_stay_without_a_write_and_fields_of_ours_are_restored() {
    with_temp_ns(|context| async move {
        let (_controller, plugin) = installed(&context, Reply::Children(vec![config("config", "first")])).await;
        let patch = json!({"data": {"theirs": "kept"}, "metadata": {"annotations": {"theirs": "kept"}}});
        let touched = context.merge("ConfigMap", CHILD, patch).await;
        barrier(&context, &plugin).await;
        assert_eq!(version(&context.expect("ConfigMap", CHILD).await), version(&touched));
        assert_eq!(applies(&touched), applies(&context.expect("ConfigMap", CHILD).await));

        context.merge("ConfigMap", CHILD, json!({"data": {"value": "edited"}})).await;
        let child = context.until_value(CHILD, "first").await;
        assert_eq!(child["data"]["theirs"], "kept");
        assert_eq!(child["metadata"]["annotations"]["theirs"], "kept");
    })
    .await;
}

/// Returns what the controller's field manager applied, and when.
fn applies(child: &Value) -> Vec<Value> {
    let managers = child["metadata"]["managedFields"].as_array().unwrap();
    managers.iter().filter(|entry| entry["manager"] == "dask-operator/echo").cloned().collect()
}

#[tokio::test]
#[ignore = "needs a cluster: make live"]
async fn a_plugin_that_ignores_drift_gets_its_child_back_at_the_next_call() {
    with_controller(async |context| {
        context.create_settled("demo", 0).await;
        let mut plugin = TestPlugin::new(&context, "echo");
        let mut manifest = plugin.manifest();
        manifest["spec"]["drift"] = json!("Ignore");
        plugin.install_as(&manifest).await;
        plugin.until_counts(1, 1, 0).await;
        context.delete("ConfigMap", CHILD).await;
        context.goes("ConfigMap", CHILD).await;
        // When another plugin was called, this one would have been called if its children were restored.
        let _other = TestPlugin::installed(&context, "barrier").await;
        let theirs = "demo-scheduler-barrier-config";
        let old = context.appears("ConfigMap", theirs).await;
        context.delete("ConfigMap", theirs).await;
        context.until("ConfigMap", theirs, |new| uid(new) != uid(&old)).await;
        assert_eq!(context.get("ConfigMap", CHILD).await, None);
        context.nudge("demo").await;
        context.appears("ConfigMap", CHILD).await;
    })
    .await;
}

/// Changes the child again whenever it is restored, until the task is stopped. Counts the changes.
async fn rival(context: &TestContext, repairs: &AtomicUsize) {
    let params = kube::api::PatchParams { field_manager: Some("rival".to_owned()), ..Default::default() };
    let patch = kube::api::Patch::Merge(json!({"data": {"value": "rival"}}));
    loop {
        context.until_value(CHILD, "first").await;
        repairs.fetch_add(1, Ordering::SeqCst);
        context.api("ConfigMap").patch(CHILD, &params, &patch).await.unwrap();
    }
}

/// Waits until the conflict is noticed, and checks that writes are slow from then on.
async fn is_noticed(plugin: &TestPlugin, repairs: &AtomicUsize) {
    let failure = plugin.until_failing("DriftLoop").await;
    assert!(failure["message"].as_str().unwrap().contains("\"rival\""), "{failure}");
    let (begin, before) = (std::time::Instant::now(), repairs.load(Ordering::SeqCst));
    eventually("some more repairs", async || {
        let more = repairs.load(Ordering::SeqCst) - before;
        if more >= 3 { Ok(()) } else { Err(format!("there were {more}")) }
    })
    .await;
    assert!(begin.elapsed() > Duration::from_secs(2), "{:?}", begin.elapsed());
}

#[tokio::test]
#[ignore = "needs a cluster: make live"]
async fn a_fight_over_a_child_slows_down_names_the_rival_and_ends_when_the_rival_stops() {
    with_temp_ns(|context| async move {
        let (_controller, plugin) = installed(&context, Reply::Children(vec![config("config", "first")])).await;
        let repairs = AtomicUsize::new(0);
        tokio::select! {
            () = rival(&context, &repairs) => {}
            () = is_noticed(&plugin, &repairs) => {}
        }
        context.until_value(CHILD, "first").await;
        within(3 * DEADLINE, "the fight to be over", async || {
            let resource = context.expect("DaskOperatorPlugin", "echo").await;
            let counts = &resource["status"]["subjects"];
            if counts["synced"] == 1 { Ok(()) } else { Err(counts.to_string()) }
        })
        .await;
    })
    .await;
}

#[tokio::test]
#[ignore = "needs a cluster: make live"]
async fn another_key_for_the_same_object_keeps_the_object() {
    with_temp_ns(|context| async move {
        let named = |key: &str| {
            let mut child = config(key, "x");
            child.manifest["metadata"] = json!({"name": "named"});
            Reply::Children(vec![child])
        };
        let (_controller, plugin) = installed(&context, named("old")).await;
        let before = context.expect("ConfigMap", "named").await;
        plugin.answer(named("new"));
        context.nudge("demo").await;
        let after = context.until("ConfigMap", "named", |child| child["metadata"]["labels"][KEY] == "new").await;
        assert_eq!(uid(&after), uid(&before));
        plugin.until_counts(1, 1, 0).await;
    })
    .await;
}

#[tokio::test]
#[ignore = "needs a cluster: make live"]
async fn another_name_under_the_same_key_is_no_drop() {
    with_temp_ns(|context| async move {
        let named = |prefix: &str| {
            let child = |number: usize| {
                let mut child = config(&format!("key-{number}"), "x");
                child.manifest["metadata"] = json!({"name": format!("{prefix}-{number}")});
                child
            };
            Reply::Children((0..12).map(child).collect())
        };
        let (_controller, plugin) = installed(&context, named("old")).await;
        plugin.answer(named("new"));
        context.nudge("demo").await;
        for number in 0..12 {
            context.appears("ConfigMap", &format!("new-{number}")).await;
            context.goes("ConfigMap", &format!("old-{number}")).await;
        }
        assert_eq!(context.count("ConfigMap", OURS).await, 12);
    })
    .await;
}

// --- Forged and foreign ---

/// Anyone may copy or remove labels and owner references.
#[tokio::test]
#[ignore = "needs a cluster: make live"]
async fn objects_that_look_like_children_hold_no_prune_and_what_a_person_took_over_stays() {
    with_controller(async |context| {
        context.create_settled("demo", 0).await;
        let mut plugin = TestPlugin::new(&context, "echo");
        let mut manifest = plugin.manifest();
        manifest["spec"]["drift"] = json!("Ignore");
        plugin.answer(configs(0..3));
        plugin.install_as(&manifest).await;
        plugin.until_counts(1, 1, 0).await;
        let [first, second, third] = [0, 1, 2].map(|number| format!("demo-scheduler-echo-config-{number}"));

        let child = context.expect("ConfigMap", &first).await;
        for number in 0..12 {
            let metadata = json!({
                "name": format!("forged-{number}"),
                "labels": child["metadata"]["labels"],
                "ownerReferences": child["metadata"]["ownerReferences"],
            });
            context.create(&json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata})).await;
        }
        let theirs = json!({"metadata": {
            "labels": {OURS: null, "plugin.kubernetes.dask.org/subject-uid": null}, "ownerReferences": null,
        }});
        context.merge("ConfigMap", &second, theirs).await;
        plugin.answer(configs(0..1));
        context.nudge("demo").await;
        context.goes("ConfigMap", &third).await;
        plugin.until_counts(1, 1, 0).await;
        barrier(&context, &plugin).await;
        context.expect("ConfigMap", &first).await;
        context.expect("ConfigMap", &second).await;
        for number in 0..12 {
            context.expect("ConfigMap", &format!("forged-{number}")).await;
        }
    })
    .await;
}

// --- Immutable fields ---

fn fixed(value: &str) -> Reply {
    let mut child = config("config", value);
    child.manifest["immutable"] = json!(true);
    Reply::Children(vec![child])
}

#[tokio::test]
#[ignore = "needs a cluster: make live"]
async fn an_immutable_field_is_reported_and_the_object_stays() {
    with_temp_ns(|context| async move {
        let (_controller, plugin) = installed(&context, fixed("first")).await;
        let before = context.expect("ConfigMap", CHILD).await;
        plugin.answer(fixed("second"));
        context.nudge("demo").await;
        let failure = plugin.until_failing("Immutable").await;
        let message = failure["message"].as_str().unwrap();
        assert!(message.starts_with("config: data cannot be changed"), "{message}");
        assert!(message.contains("recreateOnImmutable"), "{message}");
        assert_eq!(context.expect("ConfigMap", CHILD).await, before);
    })
    .await;
}

#[tokio::test]
#[ignore = "needs a cluster: make live"]
async fn where_the_rule_says_so_a_child_with_an_immutable_field_is_made_again() {
    with_controller(async |context| {
        context.create(&cluster("demo", 0)).await;
        let mut plugin = TestPlugin::new(&context, "echo");
        plugin.answer(fixed("first"));
        let mut manifest = plugin.manifest();
        manifest["spec"]["children"][0]["recreateOnImmutable"] = json!(true);
        plugin.install_as(&manifest).await;
        let before = context.until_value(CHILD, "first").await;
        plugin.answer(fixed("second"));
        context.nudge("demo").await;
        let after = context.until_value(CHILD, "second").await;
        assert_ne!(uid(&after), uid(&before));
        assert_eq!(after["metadata"]["ownerReferences"], before["metadata"]["ownerReferences"]);
        plugin.until_counts(1, 1, 0).await;

        // An invalid manifest must not delete the object.
        let mut wrong = config("config", "third");
        wrong.manifest["immutable"] = json!(true);
        wrong.manifest["data"] = json!({"not a key": "x"});
        plugin.answer(Reply::Children(vec![wrong]));
        context.nudge("demo").await;
        plugin.until_failing("Invalid").await;
        assert_eq!(uid(&context.expect("ConfigMap", CHILD).await), uid(&after));
    })
    .await;
}

// --- One object, two plugins that want it ---

/// A Service and a Deployment with the same name have children with the same default name, and are synced at the same time.
#[tokio::test]
#[ignore = "needs a cluster: make live"]
async fn of_two_subjects_of_one_name_each_gets_a_child_of_its_own() {
    with_controller(async |context| {
        let clusters: Vec<String> = (0..6).map(|number| format!("c{number}")).collect();
        for name in &clusters {
            context.create(&cluster(name, 0)).await;
        }
        for name in &clusters {
            context.settled(name, 0).await;
        }
        let mut plugin = TestPlugin::new(&context, "echo");
        plugin.respond_with(|request: &PluginRequest| Reply::Children(vec![config("config", request.subject.kind())]));
        let mut manifest = plugin.manifest();
        manifest["spec"]["subjects"] =
            json!([{"kind": "Service", "component": "scheduler"}, {"kind": "Deployment", "component": "scheduler"}]);
        plugin.install_as(&manifest).await;
        plugin.until_counts(12, 12, 0).await;
        let children = context.list("ConfigMap", "plugin.kubernetes.dask.org/plugin=echo").await;
        assert_eq!(children.len(), 12);
        for cluster in &clusters {
            let first = format!("{cluster}-scheduler-echo-config");
            let own: Vec<&Value> = children.iter().filter(|child| name(child).starts_with(&first)).collect();
            assert_eq!(own.len(), 2, "{cluster}");
            assert!(own.iter().any(|child| name(child) == first), "the first default name is not used");
            for kind in ["Service", "Deployment"] {
                let child = own.iter().find(|child| child["data"]["value"] == kind).unwrap();
                let subject = context.expect(kind, &format!("{cluster}-scheduler")).await;
                let label = child["metadata"]["labels"]["plugin.kubernetes.dask.org/subject-uid"].as_str();
                assert_eq!(label, Some(uid(&subject)), "label and content are of one subject");
            }
        }
    })
    .await;
}

// --- The allow-list ---

fn ingress() -> Child {
    let backend = json!({"service": {"name": "any", "port": {"number": 80}}});
    let spec = json!({"defaultBackend": backend});
    Child::new("web", json!({"apiVersion": "networking.k8s.io/v1", "kind": "Ingress", "spec": spec}))
}

#[tokio::test]
#[ignore = "needs a cluster: make live"]
async fn children_of_a_kind_that_is_listed_no_more_go_and_the_others_stay() {
    with_temp_ns(|context| async move {
        let both = Reply::Children(vec![config("config", "first"), ingress()]);
        let (_controller, plugin) = installed(&context, both).await;
        let kept = context.expect("ConfigMap", CHILD).await;
        let foreign = json!({
            "apiVersion": "networking.k8s.io/v1",
            "kind": "Ingress",
            "metadata": {"name": "foreign", "labels": {OURS: "echo"}},
            "spec": ingress().manifest["spec"],
        });
        context.create(&foreign).await;
        plugin.answer(Reply::Children(vec![config("config", "first")]));
        let fewer = json!([{"apiVersion": "v1", "kind": "ConfigMap"}]);
        context.merge("DaskOperatorPlugin", "echo", json!({"spec": {"children": fewer}})).await;
        context.goes("Ingress", "demo-scheduler-echo-web").await;
        plugin.until_counts(1, 1, 0).await;
        assert_eq!(version(&context.expect("ConfigMap", CHILD).await), version(&kept));
        context.expect("Ingress", "foreign").await;
    })
    .await;
}
