//! Plugins over mutual TLS or a Unix socket.

use std::time::Duration;

use operator_runtime::testing::kstatus;
use plugin_server_kit::protocol::{Child, EventReason, StatusInDigest, digest_of, headers};
use serde_json::{Value, json};

use crate::support::{
    TestContext, by_name, cluster, condition, eventually, message, name, owned_by,
    plugin::{Call, Reply, TestPlugin, config},
    uid, version, with_controller, with_temp_ns, within,
};

/// The name of the child with the key `config` of the plugin `echo` for the cluster `demo`.
const CHILD: &str = "demo-scheduler-echo-config";
const SUBJECT: &str = "demo-scheduler";

fn ingress(key: &str, host: &str) -> Child {
    let backend = json!({"service": {"name": "any", "port": {"number": 80}}});
    let path = json!({"path": "/", "pathType": "Prefix", "backend": backend});
    let spec = json!({"rules": [{"host": host, "http": {"paths": [path]}}]});
    Child::new(key, json!({"apiVersion": "networking.k8s.io/v1", "kind": "Ingress", "spec": spec}))
}

fn both(value: &str) -> Reply {
    Reply::Children(vec![config("config", value), ingress("web", "demo.example.org")])
}

// --- From a response to a child ---

#[tokio::test]
#[ignore = "needs a cluster: make live"]
async fn a_child_gets_owner_labels_namespace_and_field_manager() {
    with_controller(async |context| {
        let demo = context.create_settled("demo", 1).await;
        let _plugin = TestPlugin::installed(&context, "echo").await;

        let child = context.appears("ConfigMap", CHILD).await;
        assert_eq!(child["data"], json!({"value": "first"}));
        assert_eq!(child["metadata"]["namespace"], *context.namespace);
        assert_eq!(child["metadata"]["ownerReferences"], owned_by(&demo, false));
        let service = context.expect("Service", SUBJECT).await;
        let labels = json!({
            "app.kubernetes.io/managed-by": "dask-operator",
            "plugin.kubernetes.dask.org/plugin": "echo",
            "plugin.kubernetes.dask.org/subject-uid": uid(&service),
            "plugin.kubernetes.dask.org/key": "config",
        });
        assert_eq!(child["metadata"]["labels"], labels);
        let managers = child["metadata"]["managedFields"].as_array().unwrap();
        let managers: Vec<_> = managers.iter().map(|entry| (&entry["manager"], &entry["operation"])).collect();
        assert_eq!(managers, [(&json!("dask-operator/echo"), &json!("Apply"))]);
    })
    .await;
}

#[tokio::test]
#[ignore = "needs a cluster: make live"]
async fn the_status_of_a_plugin_says_that_all_is_well() {
    with_controller(async |context| {
        context.create(&cluster("demo", 1)).await;
        let plugin = TestPlugin::installed(&context, "echo").await;
        let resource = plugin.until_counts(1, 1, 0).await;
        for (type_, reason) in
            [("Accepted", "Valid"), ("Authorized", "Allowed"), ("Discovered", "Answered"), ("Ready", "Ready")]
        {
            assert_eq!(condition(&resource, type_), ("True", reason), "{type_}");
        }
        assert_eq!(kstatus(&resource), "Current");
        let status = &resource["status"];
        let discovered = json!({
            "name": "scripted", "version": "1.0.0", "protocolVersions": ["v1alpha1"], "hooks": ["Sync"], "capabilities": [],
        });
        assert_eq!(status["discovered"], discovered);
        assert_eq!(status["observedGeneration"], 1);
        assert_eq!(status.get("failures"), None);
        let endpoint = status["endpoint"].as_str().unwrap();
        assert!(endpoint.starts_with(&format!("https://echo.{}.svc:", context.namespace)), "{endpoint}");
    })
    .await;
}

#[tokio::test]
#[ignore = "needs a cluster: make live"]
async fn a_call_carries_cloud_events_headers_full_state_and_a_uid_that_is_its_digest() {
    with_controller(async |context| {
        let demo = context.create_settled("demo", 1).await;
        let plugin = TestPlugin::installed(&context, "echo").await;
        plugin.until_counts(1, 1, 0).await;

        let Call { headers: sent, query, request } = plugin.calls().remove(0);
        let header = |name: &str| sent.get(name).unwrap().to_str().unwrap();
        assert_eq!(header("content-type"), "application/json");
        assert_eq!(header(headers::CE_SPECVERSION), "1.0");
        assert_eq!(header(headers::CE_ID), request.uid);
        assert_eq!(header(headers::CE_TYPE), "org.dask.kubernetes.service.scheduler");
        assert_eq!(header(headers::CE_SUBJECT), format!("{}/demo-scheduler", context.namespace));
        let source =
            format!("/apis/kubernetes.dask.org/v1alpha1/namespaces/{}/daskoperatorplugins/echo", context.namespace);
        assert_eq!(header(headers::CE_SOURCE), source);
        assert!(header(headers::CE_TIME).ends_with('Z'));
        assert_eq!(query, "timeout=10s");

        assert_eq!(request.uid, digest_of(&request, StatusInDigest::Ignored).unwrap());
        assert_eq!(request.event.type_, "org.dask.kubernetes.service.scheduler");
        assert_eq!((request.attempt, request.event.reason), (1, EventReason::Created));
        assert_eq!(request.plugin.settings, json!({"domain": "example.org"}));
        assert_eq!((request.plugin.name.as_str(), request.plugin.namespace), ("echo", context.namespace.clone()));
        assert_eq!((request.owner.kind.as_str(), request.owner.name()), ("DaskCluster", "demo"));
        assert_eq!(request.owner.object["metadata"]["uid"], uid(&demo));
        assert_eq!(request.owner.object["spec"], demo["spec"]);
        assert_eq!(request.subject.component.as_deref(), Some("scheduler"));
        assert_eq!((request.subject.kind(), request.subject.name()), ("Service", SUBJECT));
        let service = context.expect("Service", SUBJECT).await;
        assert_eq!(request.subject.object["spec"], service["spec"]);
        assert_eq!(request.subject.object["metadata"].get("managedFields"), None);
        assert!(request.observed.children.is_empty());
        assert_eq!(plugin.calls().len(), 1, "one question is enough");
    })
    .await;
}

#[tokio::test]
#[ignore = "needs a cluster: make live"]
async fn a_plugin_for_workers_gets_a_child_for_each_owned_by_their_group() {
    with_controller(async |context| {
        context.create(&cluster("demo", 2)).await;
        let mut plugin = TestPlugin::new(&context, "echo");
        let mut manifest = plugin.manifest();
        manifest["spec"]["subjects"] = json!([{"kind": "Deployment", "component": "worker"}]);
        plugin.install_as(&manifest).await;
        plugin.until_counts(2, 2, 0).await;
        let group = context.expect("DaskWorkerGroup", "demo-default").await;
        for worker in context.list("Deployment", "dask.org/component=worker").await {
            let child = context.expect("ConfigMap", &format!("{}-echo-config", name(&worker))).await;
            assert_eq!(child["metadata"]["ownerReferences"], owned_by(&group, false));
        }
    })
    .await;
}

// --- Drift and pruning ---

const WEB: &str = "demo-scheduler-echo-web";

/// Installs a plugin that wants a ConfigMap and an Ingress: a kind without a generation, and one with it.
async fn install_with_both(context: &TestContext, subjects: u32) -> TestPlugin {
    let mut plugin = TestPlugin::new(context, "echo");
    plugin.answer(both("first"));
    plugin.install().await;
    plugin.until_counts(subjects, subjects, 0).await;
    plugin
}

#[tokio::test]
#[ignore = "needs a cluster: make live"]
async fn an_edited_child_is_restored() {
    with_controller(async |context| {
        context.create(&cluster("demo", 0)).await;
        let plugin = install_with_both(&context, 1).await;
        context.merge("ConfigMap", CHILD, json!({"data": {"value": "edited"}})).await;
        context.until_value(CHILD, "first").await;
        let edit = json!([{"op": "replace", "path": "/spec/rules/0/host", "value": "evil.example.org"}]);
        context.json_patch("Ingress", WEB, edit).await;
        context.until("Ingress", WEB, |web| web["spec"]["rules"][0]["host"] == "demo.example.org").await;

        // Labels and annotations do not change the generation.
        let unlabel = json!({"metadata": {"labels": {"app.kubernetes.io/managed-by": "somebody"}}});
        context.merge("Ingress", WEB, unlabel).await;
        let label = |web: &Value| web["metadata"]["labels"]["app.kubernetes.io/managed-by"] == "dask-operator";
        context.until("Ingress", WEB, label).await;
        plugin.until_counts(1, 1, 0).await;
    })
    .await;
}

#[tokio::test]
#[ignore = "needs a cluster: make live"]
async fn a_deleted_child_is_recreated() {
    with_controller(async |context| {
        context.create(&cluster("demo", 0)).await;
        let plugin = install_with_both(&context, 1).await;
        for (kind, child) in [("ConfigMap", CHILD), ("Ingress", WEB)] {
            let old = context.expect(kind, child).await;
            context.delete(kind, child).await;
            let new = context.until(kind, child, |new| uid(new) != uid(&old)).await;
            assert_eq!(new["metadata"]["ownerReferences"], old["metadata"]["ownerReferences"]);
        }
        plugin.until_counts(1, 1, 0).await;
    })
    .await;
}

#[tokio::test]
#[ignore = "needs a cluster: make live"]
async fn a_child_that_the_next_response_leaves_out_is_pruned() {
    with_controller(async |context| {
        context.create(&cluster("demo", 0)).await;
        let plugin = install_with_both(&context, 1).await;
        let kept = context.expect("ConfigMap", CHILD).await;
        plugin.answer(Reply::Children(vec![config("config", "first")]));
        context.nudge("demo").await;
        context.goes("Ingress", WEB).await;
        assert_eq!(version(&context.expect("ConfigMap", CHILD).await), version(&kept));
        plugin.until_counts(1, 1, 0).await;
    })
    .await;
}

#[tokio::test]
#[ignore = "needs a cluster: make live"]
async fn an_empty_response_prunes_all_children_of_its_subject_and_no_others() {
    with_controller(async |context| {
        for name in ["demo", "other"] {
            context.create(&cluster(name, 0)).await;
        }
        let plugin = install_with_both(&context, 2).await;
        plugin.answer(Reply::Children(vec![]));
        context.nudge("demo").await;
        context.goes("Ingress", WEB).await;
        context.goes("ConfigMap", CHILD).await;
        plugin.until_counts(2, 2, 0).await;
        for (kind, child) in [("ConfigMap", "other-scheduler-echo-config"), ("Ingress", "other-scheduler-echo-web")] {
            context.expect(kind, child).await;
        }
    })
    .await;
}

#[tokio::test]
#[ignore = "needs a cluster: make live"]
async fn a_subject_that_matches_no_longer_loses_its_children() {
    with_controller(async |context| {
        let mut manifest = cluster("demo", 0);
        manifest["metadata"]["labels"] = json!({"expose": "yes"});
        context.create(&manifest).await;
        context.create(&cluster("other", 0)).await;
        context.running("other").await;
        let mut plugin = TestPlugin::new(&context, "echo");
        let mut manifest = plugin.manifest();
        manifest["spec"]["match"] = json!({"objectSelector": {"matchLabels": {"expose": "yes"}}});
        plugin.install_as(&manifest).await;
        plugin.until_counts(1, 1, 0).await;
        // The Service has its labels from the cluster.
        context.merge("DaskCluster", "demo", json!({"metadata": {"labels": {"expose": null}}})).await;
        context.goes("ConfigMap", CHILD).await;
        plugin.until_counts(0, 0, 0).await;
        assert!(plugin.calls_about("other-scheduler").is_empty());

        // Identical to before: only the missing child shows that there is something to do.
        context.merge("DaskCluster", "demo", json!({"metadata": {"labels": {"expose": "yes"}}})).await;
        context.appears("ConfigMap", CHILD).await;
        plugin.until_counts(1, 1, 0).await;
    })
    .await;
}

/// The child of the old subject has the name that the child of the new one needs.
#[tokio::test]
#[ignore = "needs a cluster: make live"]
async fn a_subject_that_was_replaced_while_no_controller_ran_gets_a_child_of_its_own() {
    with_temp_ns(|context| async move {
        let controller = context.start_controller().await;
        context.create_settled("demo", 0).await;
        let plugin = TestPlugin::installed(&context, "echo").await;
        plugin.until_counts(1, 1, 0).await;
        controller.kill().await;
        context.delete("Service", SUBJECT).await;
        context.goes("Service", SUBJECT).await;

        let _controller = context.start_controller().await;
        let service = context.appears("Service", SUBJECT).await;
        let label = "plugin.kubernetes.dask.org/subject-uid";
        context.until("ConfigMap", CHILD, |child| child["metadata"]["labels"][label] == uid(&service)).await;
        plugin.until_counts(1, 1, 0).await;
    })
    .await;
}

#[tokio::test]
#[ignore = "needs a cluster: make live"]
async fn the_child_goes_with_its_cluster_by_garbage_collection() {
    with_temp_ns(|context| async move {
        let controller = context.start_controller().await;
        context.create(&cluster("demo", 0)).await;
        let mut plugin = TestPlugin::installed(&context, "echo").await;
        plugin.until_counts(1, 1, 0).await;
        // Without controller and plugin, only the garbage collector can delete it.
        controller.kill().await;
        plugin.stop().await;
        context.delete("DaskCluster", "demo").await;
        context.goes("ConfigMap", CHILD).await;
    })
    .await;
}

// --- Failures ---

/// Deleting on a failure would take dashboards down whenever a plugin is redeployed.
#[tokio::test]
#[ignore = "needs a cluster: make live"]
async fn a_failed_response_is_reported_and_leaves_children_alone_until_the_plugin_recovers() {
    with_controller(async |context| {
        context.create_settled("demo", 0).await;
        let plugin = TestPlugin::installed(&context, "echo").await;
        plugin.until_counts(1, 1, 0).await;
        let before = context.expect("ConfigMap", CHILD).await;
        let failing = [
            (Reply::Code(500), "ServerError", "500"),
            (Reply::Code(401), "AuthFailed", "401"),
            (Reply::Code(404), "NotServed", "404"),
            (Reply::Code(302), "ProtocolError", "redirect"),
            (Reply::Failure("NoHost", "there is no host left"), "PluginFailure", "NoHost: there is no host left"),
            (Reply::Text("{\"not\": \"a review\"}"), "ProtocolError", "malformed"),
            (Reply::Text("<html>"), "ProtocolError", "not JSON"),
            (Reply::OtherUid, "ProtocolError", "uid"),
        ];
        for (reply, reason, words) in failing {
            plugin.answer(reply);
            context.nudge("demo").await;
            let failure = plugin.until_failing(reason).await;
            assert_eq!(failure["subject"], format!("Service {}/{SUBJECT}", context.namespace));
            assert_eq!(failure["hook"], "Sync");
            assert!(failure["message"].as_str().unwrap().contains(words), "{failure}");
            let resource = plugin.until_counts(1, 0, 1).await;
            assert_eq!(context.expect("ConfigMap", CHILD).await, before);
            // The state of the plugin shows when it is called.
            let says = if reason == "NotServed" { ("False", "HookNotServed") } else { ("True", "Answered") };
            assert_eq!(condition(&resource, "Discovered"), says);

            plugin.answer(Reply::Children(vec![config("config", "first")]));
            context.nudge("demo").await;
            let resource = plugin.until_counts(1, 1, 0).await;
            assert_eq!(resource["status"].get("failures"), None);
            assert_eq!(condition(&resource, "Ready"), ("True", "Ready"));
        }
        assert_eq!(context.expect("ConfigMap", CHILD).await, before);
    })
    .await;
}

#[tokio::test]
#[ignore = "needs a cluster: make live"]
async fn a_plugin_that_says_it_is_gone_for_good_is_not_asked_again_before_its_resource_changes() {
    with_controller(async |context| {
        context.create_settled("demo", 0).await;
        let mut plugin = TestPlugin::new(&context, "echo");
        plugin.answer(Reply::Code(410));
        plugin.install().await;
        plugin.until_failing("Gone").await;
        plugin.answer(Reply::Children(vec![config("config", "back")]));
        context.nudge("demo").await;
        // The second plugin is called about the same change: by then the first would have been called.
        let barrier = TestPlugin::installed(&context, "barrier").await;
        barrier.until_counts(1, 1, 0).await;
        assert_eq!(plugin.calls().len(), 1);

        context.merge("DaskOperatorPlugin", "echo", json!({"spec": {"settings": {"again": true}}})).await;
        context.until_value(CHILD, "back").await;
    })
    .await;
}

#[tokio::test]
#[ignore = "needs a cluster: make live"]
async fn attempts_are_counted_for_each_question() {
    with_controller(async |context| {
        context.create_settled("demo", 0).await;
        let mut plugin = TestPlugin::new(&context, "echo");
        // A retry comes only after a minute, so that a second call is due to the change.
        plugin.answer(Reply::Code(401));
        plugin.install().await;
        plugin.until_failing("AuthFailed").await;
        context.nudge("demo").await;
        plugin.until_called("a call about the change", |calls| calls.len() >= 2).await;
        let calls = plugin.calls();
        assert_ne!(calls[0].request.uid, calls[1].request.uid);
        assert_eq!((calls[0].request.attempt, calls[1].request.attempt), (1, 1));
    })
    .await;
}

#[tokio::test]
#[ignore = "needs a cluster: make live"]
async fn a_server_error_is_tried_again_without_any_change() {
    with_controller(async |context| {
        context.create_settled("demo", 0).await;
        let mut plugin = TestPlugin::new(&context, "echo");
        plugin.respond_with(|request| match request.attempt {
            1 => Reply::Code(500),
            2 => Reply::Pending,
            _ => Reply::Children(vec![config("config", "third")]),
        });
        plugin.install().await;
        context.until_value(CHILD, "third").await;
        plugin.until_counts(1, 1, 0).await;
        let calls = plugin.calls();
        assert_eq!(calls.iter().map(|call| call.request.attempt).collect::<Vec<_>>(), [1, 2, 3]);
        assert!(calls.iter().all(|call| call.request.uid == calls[0].request.uid), "it is the same question");
    })
    .await;
}

#[tokio::test]
#[ignore = "needs a cluster: make live"]
async fn a_plugin_that_goes_away_delays_and_deletes_nothing_and_is_used_at_once_when_it_is_back() {
    with_controller(async |context| {
        context.create(&cluster("demo", 0)).await;
        let mut plugin = TestPlugin::installed(&context, "echo").await;
        plugin.until_counts(1, 1, 0).await;
        let before = context.expect("ConfigMap", CHILD).await;

        plugin.stop().await;
        plugin.touch_endpoints().await;
        // At once, and not at the time of the next resync.
        let unreachable = plugin.until_ready("False", "Unreachable");
        let resource = tokio::time::timeout(Duration::from_secs(15), unreachable).await.expect("it is reported soon");
        assert_eq!(resource["status"]["discovered"]["version"], "1.0.0", "what it said last stays readable");
        context.create(&cluster("later", 0)).await;
        context.running("later").await;
        plugin.until_failing("Unreachable").await;
        assert_eq!(context.expect("ConfigMap", CHILD).await, before);

        plugin.serve().await;
        plugin.touch_endpoints().await;
        within(Duration::from_secs(15), "the child of the later cluster", async || {
            context.get("ConfigMap", "later-scheduler-echo-config").await.ok_or_else(|| "it is not there".to_owned())
        })
        .await;
        plugin.until_ready("True", "Ready").await;
        plugin.until_counts(2, 2, 0).await;
        assert_eq!(context.expect("ConfigMap", CHILD).await, before);
    })
    .await;
}

#[tokio::test]
#[ignore = "needs a cluster: make live"]
async fn a_plugin_that_hangs_does_not_delay_clusters_and_gets_no_more_than_eight_calls_at_a_time() {
    with_controller(async |context| {
        let mut plugin = TestPlugin::new(&context, "echo");
        plugin.answer(Reply::Hang);
        let mut manifest = plugin.manifest();
        manifest["spec"]["timeoutSeconds"] = json!(30);
        plugin.install_as(&manifest).await;
        let names: Vec<String> = (0..10).map(|number| format!("c{number}")).collect();
        for name in &names {
            context.create(&cluster(name, 1)).await;
        }
        within(Duration::from_secs(25), "ten clusters", async || {
            let clusters = context.list("DaskCluster", "").await;
            let running = clusters.iter().filter(|cluster| cluster["status"]["phase"] == "Running").count();
            if running == names.len() { Ok(()) } else { Err(format!("{running} are running")) }
        })
        .await;
        eventually("eight calls under way", async || match plugin.in_flight() {
            (8, 8) => Ok(()),
            other => Err(format!("now and at most: {other:?}")),
        })
        .await;
        assert_eq!(plugin.calls().len(), 8, "the others wait");
        assert_eq!(condition(&plugin.until(|_| true).await, "Ready").0, "True");
    })
    .await;
}

// --- Refused children ---

#[tokio::test]
#[ignore = "needs a cluster: make live"]
async fn a_child_that_is_refused_is_reported_and_does_not_stop_its_siblings() {
    with_controller(async |context| {
        context.create_settled("demo", 0).await;
        let mut plugin = TestPlugin::new(&context, "echo");
        plugin.answer(both("first"));
        plugin.install().await;
        plugin.until_counts(1, 1, 0).await;
        let child = |api_version: &str, kind: &str| {
            Child::new("bad", json!({"apiVersion": api_version, "kind": kind, "metadata": {"name": "bad"}}))
        };
        let mut invalid = ingress("bad", "demo.example.org");
        invalid.manifest["spec"]["rules"][0]["host"] = json!("not a host");
        let refused = [
            (child("v1", "Secret"), "KindNotAllowed", "v1 Secret"),
            (child("rbac.authorization.k8s.io/v1", "RoleBinding"), "KindDenied", "RoleBinding"),
            (child("kubernetes.dask.org/v1", "DaskCluster"), "KindDenied", "DaskCluster"),
            (child("v1", "PersistentVolume"), "KindNotAllowed", "PersistentVolume"),
            (config("Not Valid", "x"), "InvalidKey", "Not Valid"),
            (config("config", "twice"), "DuplicateKey", "config"),
            (invalid, "Invalid", "host"),
        ];
        for (round, (bad, reason, words)) in refused.into_iter().enumerate() {
            let value = format!("round {round}");
            plugin.answer(Reply::Children(vec![config("config", &value), bad]));
            context.nudge("demo").await;
            context.until_value(CHILD, &value).await;
            plugin
                .until(|plugin| {
                    let failure = &plugin["status"]["failures"][0];
                    failure["reason"] == reason && failure["message"].as_str().unwrap_or_default().contains(words)
                })
                .await;
            plugin.until_counts(1, 0, 1).await;
        }
        // A response that cannot be applied prunes nothing.
        context.expect("Ingress", "demo-scheduler-echo-web").await;
        assert_eq!(context.get("Secret", "bad").await, None);
    })
    .await;
}

/// The API server responds with 500 although the author of the manifest has to fix it.
#[tokio::test]
#[ignore = "needs a cluster: make live"]
async fn a_child_with_an_unknown_field_is_called_invalid_and_the_field_is_named() {
    with_controller(async |context| {
        context.create(&cluster("demo", 0)).await;
        let mut plugin = TestPlugin::new(&context, "echo");
        let mut child = config("config", "x");
        child.manifest["dataa"] = json!({});
        plugin.answer(Reply::Children(vec![child]));
        plugin.install().await;
        let failure = plugin.until_failing("Invalid").await;
        assert!(failure["message"].as_str().unwrap().contains("dataa"), "{failure}");
    })
    .await;
}

/// A child must neither leave its namespace, nor outlive its cluster, nor look like that of another plugin.
#[tokio::test]
#[ignore = "needs a cluster: make live"]
async fn forged_metadata_is_replaced() {
    with_controller(async |context| {
        let demo = context.create(&cluster("demo", 0)).await;
        let other = context.create(&cluster("other", 0)).await;
        let mut forged = config("config", "x");
        forged.manifest["metadata"] = json!({
            "name": "chosen",
            "namespace": "kube-system",
            "ownerReferences": owned_by(&other, true),
            "finalizers": ["example.com/never"],
            "labels": {
                "mine": "kept",
                "app.kubernetes.io/managed-by": "somebody",
                "plugin.kubernetes.dask.org/plugin": "somebody",
                "dask.org/cluster-name": "other",
            },
            "annotations": {"mine": "kept", "plugin.kubernetes.dask.org/adopt": "somebody"},
        });
        let mut plugin = TestPlugin::new(&context, "echo");
        plugin.respond_with(move |request| match request.owner.name() {
            "demo" => Reply::Children(vec![forged.clone()]),
            _ => Reply::Children(vec![]),
        });
        plugin.install().await;
        let child = context.appears("ConfigMap", "chosen").await;
        let metadata = &child["metadata"];
        assert_eq!(metadata["ownerReferences"], owned_by(&demo, false));
        assert_eq!(metadata.get("finalizers"), None);
        assert_eq!(metadata["labels"]["mine"], "kept");
        assert_eq!(metadata["labels"]["app.kubernetes.io/managed-by"], "dask-operator");
        assert_eq!(metadata["labels"]["plugin.kubernetes.dask.org/plugin"], "echo");
        assert_eq!(metadata["labels"].get("dask.org/cluster-name"), None);
        assert_eq!(metadata["annotations"], json!({"mine": "kept"}));
        plugin.until_counts(2, 2, 0).await;
    })
    .await;
}

#[tokio::test]
#[ignore = "needs a cluster: make live"]
async fn kinds_that_no_plugin_may_write_are_refused_at_the_resource() {
    with_controller(async |context| {
        let kinds = [
            ("a", "rbac.authorization.k8s.io/v1", "RoleBinding", "KindDenied"),
            ("b", "v1", "PersistentVolume", "ClusterScoped"),
            ("c", "v1", "Secret", "Sensitive"),
            ("d", "example.com/v1", "Unheard", "UnknownKind"),
        ];
        for (name, api_version, kind, reason) in kinds {
            let plugin = TestPlugin::new(&context, name);
            let mut manifest = plugin.manifest();
            manifest["spec"]["children"] = json!([{"apiVersion": api_version, "kind": kind}]);
            context.create(&manifest).await;
            let resource = plugin.until_ready("False", reason).await;
            assert_eq!(condition(&resource, "Accepted"), ("False", reason));
            assert!(message(&resource, "Accepted").contains(kind), "{}", message(&resource, "Accepted"));
        }
    })
    .await;
}

#[tokio::test]
#[ignore = "needs a cluster: make live"]
async fn the_api_server_refuses_resources_without_exactly_one_endpoint() {
    with_temp_ns(|context| async move {
        let two = json!({"service": {"name": "a"}, "socket": "a.sock"});
        for endpoint in [json!({}), two, json!({"socket": "../a.sock"}), json!({"socket": "a/b/c"})] {
            let mut manifest = TestPlugin::new(&context, "echo").manifest();
            manifest["spec"]["endpoint"] = endpoint;
            let error = context.try_create(&manifest).await.unwrap_err();
            assert!(matches!(&error, kube::Error::Api(status) if status.code == 422), "{error}");
        }
    })
    .await;
}

// --- Objects of others ---

#[tokio::test]
#[ignore = "needs a cluster: make live"]
async fn a_foreign_object_is_not_touched_until_a_person_hands_it_over() {
    with_controller(async |context| {
        let demo = context.create(&cluster("demo", 0)).await;
        let service = context.appears("Service", "demo-scheduler").await;
        // As `kopf.adopt` leaves it: the object of the handler is its controlling owner.
        let former = json!({
            "apiVersion": "v1", "kind": "Service", "name": "demo-scheduler", "uid": uid(&service), "controller": true,
            "blockOwnerDeletion": true,
        });
        let foreign = json!({
            "apiVersion": "v1", "kind": "ConfigMap", "data": {"value": "theirs"},
            "metadata": {"name": CHILD, "ownerReferences": [former]},
        });
        let before = context.create(&foreign).await;
        let mut plugin = TestPlugin::new(&context, "echo");
        plugin.answer(both("ours"));
        plugin.install().await;
        let failure = plugin.until_failing("Conflict").await;
        let adopt = "plugin.kubernetes.dask.org/adopt";
        assert!(failure["message"].as_str().unwrap().contains(adopt), "{failure}");
        context.appears("Ingress", "demo-scheduler-echo-web").await;
        assert_eq!(context.expect("ConfigMap", CHILD).await, before);

        context.annotate("ConfigMap", CHILD, adopt, "echo").await;
        let taken = context.until_value(CHILD, "ours").await;
        assert_eq!(taken["metadata"]["ownerReferences"], owned_by(&demo, false));
        assert_eq!(taken["metadata"]["labels"]["plugin.kubernetes.dask.org/plugin"], "echo");
        plugin.until_counts(1, 1, 0).await;
    })
    .await;
}

/// Users who may create Services can write any label and owner reference.
#[tokio::test]
#[ignore = "needs a cluster: make live"]
async fn a_service_that_only_says_that_it_is_a_clusters_is_not_asked_about() {
    with_controller(async |context| {
        let demo = context.create(&cluster("demo", 0)).await;
        let plugin = TestPlugin::installed(&context, "echo").await;
        plugin.until_counts(1, 1, 0).await;
        let forged = json!({
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": {
                "name": "mine",
                "labels": {"dask.org/component": "scheduler", "dask.org/cluster-name": "demo"},
                "ownerReferences": owned_by(&demo, false),
            },
            "spec": {"selector": {"app": "mine"}, "ports": [{"name": "http-dashboard", "port": 8787}]},
        });
        context.create(&forged).await;
        // This one is created later.
        context.create(&cluster("later", 0)).await;
        context.appears("ConfigMap", "later-scheduler-echo-config").await;
        plugin.until_counts(2, 2, 0).await;
        assert_eq!(plugin.calls_about("mine").len(), 0);
        assert_eq!(context.get("ConfigMap", "mine-echo-config").await, None);
    })
    .await;
}

/// The Service and the Deployment of a scheduler have one name.
#[tokio::test]
#[ignore = "needs a cluster: make live"]
async fn subjects_of_two_kinds_and_one_name_have_a_child_each() {
    with_controller(async |context| {
        context.create(&cluster("demo", 0)).await;
        let mut plugin = TestPlugin::new(&context, "echo");
        let mut manifest = plugin.manifest();
        let rule = |kind: &str| json!({"kind": kind, "component": "scheduler"});
        manifest["spec"]["subjects"] = json!([rule("Service"), rule("Deployment")]);
        plugin.install_as(&manifest).await;
        plugin.until_counts(2, 2, 0).await;
        let children = context.list("ConfigMap", "plugin.kubernetes.dask.org/plugin=echo").await;
        let mut names: Vec<&str> = children.iter().map(name).collect();
        names.sort_unstable();
        assert!(names.len() == 2 && names[0] == CHILD && names[1].starts_with(CHILD), "{names:?}");
        // The child with the longer name stays.
        context.delete("ConfigMap", CHILD).await;
        context.appears("ConfigMap", CHILD).await;
        plugin.until_counts(2, 2, 0).await;
        context.expect("ConfigMap", names[1]).await;
    })
    .await;
}

#[tokio::test]
#[ignore = "needs a cluster: make live"]
async fn of_two_plugins_that_want_one_object_the_holder_keeps_it() {
    with_controller(async |context| {
        context.create(&cluster("demo", 0)).await;
        let named = |value: &str| {
            let mut child = config("config", value);
            child.manifest["metadata"] = json!({"name": "wanted"});
            Reply::Children(vec![child])
        };
        let mut holder = TestPlugin::new(&context, "holder");
        holder.answer(named("of the holder"));
        holder.install().await;
        holder.until_counts(1, 1, 0).await;
        let before = context.expect("ConfigMap", "wanted").await;
        let mut other = TestPlugin::new(&context, "other");
        other.answer(named("of the other"));
        other.install().await;
        let failure = other.until_failing("Conflict").await;
        assert!(failure["message"].as_str().unwrap().contains("belongs to the plugin holder"), "{failure}");
        // Removing the owner is enough.
        assert_eq!(context.expect("ConfigMap", "wanted").await, before);
        holder.answer(Reply::Children(vec![]));
        context.nudge("demo").await;
        context.until_value("wanted", "of the other").await;
    })
    .await;
}

// --- Connections ---

#[tokio::test]
#[ignore = "needs a cluster: make live"]
async fn a_plugin_on_a_unix_socket_works_the_same_even_if_it_starts_later() {
    with_controller(async |context| {
        context.create(&cluster("demo", 0)).await;
        let mut plugin = TestPlugin::new(&context, "echo");
        let mut manifest = plugin.manifest();
        manifest["spec"]["endpoint"] = json!({"socket": "echo.sock"});
        context.create(&manifest).await;
        plugin.until_ready("False", "Unreachable").await;
        plugin.serve_socket("echo.sock");
        plugin.until_ready("True", "Ready").await;
        context.until_value(CHILD, "first").await;
        plugin.until_counts(1, 1, 0).await;
        assert_eq!(plugin.calls()[0].headers.get(headers::CE_SPECVERSION).unwrap(), "1.0");
        assert_eq!(context.get("Secret", "echo-plugin-tls").await, None, "a socket needs no certificate");
    })
    .await;
}

// --- The lifecycle of the resource ---

#[tokio::test]
#[ignore = "needs a cluster: make live"]
async fn children_of_a_deleted_plugin_go_or_stay_as_its_deletion_policy_says() {
    with_controller(async |context| {
        context.create(&cluster("demo", 0)).await;
        let going = TestPlugin::installed(&context, "going").await;
        let mut staying = TestPlugin::new(&context, "staying");
        let mut manifest = staying.manifest();
        manifest["spec"]["deletionPolicy"] = json!("Orphan");
        staying.install_as(&manifest).await;
        for plugin in [&going, &staying] {
            plugin.until_counts(1, 1, 0).await;
        }
        let kept = context.expect("ConfigMap", "demo-scheduler-staying-config").await;
        context.delete("DaskOperatorPlugin", "staying").await;
        context.delete("DaskOperatorPlugin", "going").await;
        context.goes("ConfigMap", "demo-scheduler-going-config").await;
        assert_eq!(context.expect("ConfigMap", "demo-scheduler-staying-config").await, kept);
        // It is deleted with its cluster.
        context.delete("DaskCluster", "demo").await;
        context.goes("ConfigMap", "demo-scheduler-staying-config").await;
    })
    .await;
}

#[tokio::test]
#[ignore = "needs a cluster: make live"]
async fn a_suspended_plugin_is_not_called_and_keeps_its_children() {
    with_controller(async |context| {
        context.create(&cluster("demo", 0)).await;
        let plugin = TestPlugin::installed(&context, "echo").await;
        plugin.until_counts(1, 1, 0).await;
        let before = context.expect("ConfigMap", CHILD).await;

        context.merge("DaskOperatorPlugin", "echo", json!({"spec": {"suspend": true}})).await;
        plugin.until_ready("False", "Suspended").await;
        plugin.forget_calls();
        context.nudge("demo").await;
        context.create_settled("later", 1).await;
        assert!(plugin.calls().is_empty());
        assert_eq!(context.expect("ConfigMap", CHILD).await, before);

        context.merge("DaskOperatorPlugin", "echo", json!({"spec": {"suspend": false}})).await;
        context.appears("ConfigMap", "later-scheduler-echo-config").await;
        plugin.until_counts(2, 2, 0).await;
        assert_eq!(context.expect("ConfigMap", CHILD).await, before);
    })
    .await;
}

#[tokio::test]
#[ignore = "needs a cluster: make live"]
async fn a_change_of_settings_asks_again_about_every_subject() {
    with_controller(async |context| {
        for name in ["demo", "other"] {
            context.create(&cluster(name, 0)).await;
        }
        let mut plugin = TestPlugin::new(&context, "echo");
        plugin.respond_with(|request| {
            let domain = request.plugin.settings["domain"].as_str().unwrap_or_default();
            Reply::Children(vec![config("config", domain)])
        });
        plugin.install().await;
        plugin.until_counts(2, 2, 0).await;
        plugin.forget_calls();
        let patch = json!({"spec": {"settings": {"domain": "example.net"}}});
        context.merge("DaskOperatorPlugin", "echo", patch).await;
        for child in [CHILD, "other-scheduler-echo-config"] {
            context.until_value(child, "example.net").await;
        }
        let calls = plugin.calls();
        assert!(calls.iter().all(|call| call.request.event.reason == EventReason::PluginChanged), "{calls:?}");
        assert!(calls.iter().all(|call| call.request.observed.children.contains_key("config")), "{calls:?}");
        assert_eq!(calls.len(), 2);
    })
    .await;
}

#[tokio::test]
#[ignore = "needs a cluster: make live"]
async fn a_controller_that_starts_again_asks_once_a_subject_and_writes_nothing() {
    with_temp_ns(|context| async move {
        let controller = context.start_controller().await;
        for name in ["demo", "other"] {
            context.create_settled(name, 1).await;
        }
        let mut plugin = TestPlugin::new(&context, "echo");
        plugin.answer(both("first"));
        plugin.install().await;
        plugin.until_counts(2, 2, 0).await;
        let children = async || {
            let (maps, webs) = (context.list("ConfigMap", OURS).await, context.list("Ingress", OURS).await);
            by_name(&[maps, webs].concat(), version)
        };
        let before = children().await;
        assert_eq!(before.len(), 4);
        controller.kill().await;
        plugin.forget_calls();

        let _controller = context.start_controller().await;
        context.create(&cluster("barrier", 0)).await;
        context.appears("ConfigMap", "barrier-scheduler-echo-config").await;
        plugin.until_counts(3, 3, 0).await;
        for subject in [SUBJECT, "other-scheduler"] {
            let calls = plugin.calls_about(subject);
            assert_eq!(calls.len(), 1, "{subject}");
            assert_eq!(calls[0].request.observed.children.len(), 2);
        }
        let mut after = children().await;
        after.retain(|name, _| !name.starts_with("barrier"));
        assert_eq!(before, after);
    })
    .await;
}

/// Selects the children of all plugins.
const OURS: &str = "plugin.kubernetes.dask.org/plugin";

/// Counts that fall to 0 and rise again look like an outage on a dashboard.
#[tokio::test]
#[ignore = "needs a cluster: make live"]
async fn the_status_of_a_plugin_does_not_change_when_the_controller_starts_again() {
    with_temp_ns(|context| async move {
        let controller = context.start_controller().await;
        context.create_settled("demo", 0).await;
        let plugin = TestPlugin::installed(&context, "echo").await;
        let before = plugin.until_counts(1, 1, 0).await;
        controller.kill().await;
        plugin.forget_calls();
        let _controller = context.start_controller().await;
        plugin.until_called("a call of the new controller", |calls| !calls.is_empty()).await;
        let barrier = TestPlugin::installed(&context, "barrier").await;
        barrier.until_counts(1, 1, 0).await;
        assert_eq!(version(&plugin.until(|_| true).await), version(&before));
    })
    .await;
}
