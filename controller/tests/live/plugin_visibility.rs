//! What people see of plugins: on Dask resources, in Events, in metrics and in the log.

use std::time::Duration;

use plugin_server_kit::protocol::{ConditionStatus, headers};
use serde_json::{Value, json};

use crate::support::{
    TestContext, cluster, condition, eventually, message,
    plugin::{Reply, TestPlugin, config},
    version, with_controller, with_temp_ns,
};

const SUBJECT: &str = "demo-scheduler";
const SYNCED: &str = "PluginsSynced";

fn state(name: &str, children: usize) -> Value {
    json!({"name": name, "synced": true, "children": children})
}

/// Waits until the cluster shows exactly these plugins.
async fn shows(context: &TestContext, plugins: Value) -> Value {
    context.until("DaskCluster", "demo", |cluster| cluster["status"]["plugins"] == plugins).await
}

async fn until_synced(context: &TestContext, status: &str, reason: &str) -> Value {
    context.until("DaskCluster", "demo", |cluster| condition(cluster, SYNCED) == (status, reason)).await
}

/// Reason and note of Events about a resource, by their reason.
async fn events(context: &TestContext, reason: &str) -> Vec<String> {
    let events = context.list("Event", "").await;
    let events = events.iter().filter(|event| event["reason"] == reason);
    events.map(|event| event["note"].as_str().unwrap_or_default().to_owned()).collect()
}

async fn until_event(context: &TestContext, reason: &str, words: &str) {
    eventually(&format!("an Event {reason}"), async || {
        let events = events(context, reason).await;
        if events.iter().any(|note| note.contains(words)) { Ok(()) } else { Err(format!("there are {events:?}")) }
    })
    .await;
}

#[tokio::test]
#[ignore = "needs a cluster: make live"]
async fn a_cluster_shows_its_plugins_their_failures_and_that_they_healed() {
    with_controller(async |context| {
        context.create_settled("demo", 0).await;
        let plugin = TestPlugin::installed(&context, "echo").await;
        let demo = shows(&context, json!([state("echo", 1)])).await;
        assert_eq!(condition(&demo, SYNCED), ("True", "Synced"));

        plugin.answer(Reply::Failure("NoHost", "there is no host left"));
        context.nudge("demo").await;
        let demo = until_synced(&context, "False", "PluginFailure").await;
        let words = format!("Service {}/{SUBJECT}: NoHost: there is no host left", context.namespace);
        assert_eq!(message(&demo, SYNCED), format!("echo: {words}"));
        let expected = json!([{"name": "echo", "synced": false, "children": 1, "message": words}]);
        assert_eq!(demo["status"]["plugins"], expected);
        assert_eq!(demo["status"]["phase"], "Running");
        until_event(&context, "PluginFailure", "NoHost").await;

        plugin.answer(Reply::Children(vec![config("config", "a"), config("other", "b")]));
        context.nudge("demo").await;
        let demo = shows(&context, json!([state("echo", 2)])).await;
        assert_eq!(condition(&demo, SYNCED), ("True", "Synced"));
        until_event(&context, "Synced", "plugins").await;
        assert_eq!(events(&context, "PluginFailure").await.len(), 1);
    })
    .await;
}

/// A write in each pass would make thousands a minute where there are many clusters.
#[tokio::test]
#[ignore = "needs a cluster: make live"]
async fn looks_that_find_nothing_new_write_nothing_even_after_a_restart() {
    with_temp_ns(|context| async move {
        let controller = context.start_controller().await;
        context.create_settled("demo", 0).await;
        let mut plugin = TestPlugin::new(&context, "echo");
        plugin.answer(Reply::WithConditions(config("config", "a"), vec![("Exposed", ConditionStatus::True)], vec![]));
        plugin.install().await;
        let before = shows(&context, json!([state("echo", 1)])).await;
        for round in 1..=3 {
            plugin.forget_calls();
            let setting = json!({"spec": {"settings": {"round": round}}});
            context.merge("DaskOperatorPlugin", "echo", setting).await;
            plugin.until_called("another check", |calls| !calls.is_empty()).await;
        }
        plugin.forget_calls();
        controller.kill().await;
        let _controller = context.start_controller().await;
        plugin.until_called("a look after the restart", |calls| !calls.is_empty()).await;
        // The report about a second plugin comes after all earlier reports.
        let mut barrier = TestPlugin::new(&context, "barrier");
        barrier.answer(Reply::Failure("Stop", "here"));
        context.create(&cluster("other", 0)).await;
        barrier.install().await;
        context.until("DaskCluster", "other", |other| condition(other, SYNCED).1 == "PluginFailure").await;
        let after = until_synced(&context, "False", "PluginFailure").await;
        let managers = |cluster: &Value| {
            let entries = cluster["metadata"]["managedFields"].as_array().unwrap().clone();
            entries.into_iter().filter(|entry| entry["manager"] == "dask-operator/plugins").count()
        };
        assert_eq!((managers(&before), managers(&after)), (1, 1));
        let exposed = "echo.plugin.kubernetes.dask.org/Exposed";
        assert_eq!(condition(&after, exposed), ("True", "Because"));
        let since = |cluster: &Value| {
            let all = cluster["status"]["conditions"].as_array().unwrap();
            all.iter().find(|found| found["type"] == exposed).unwrap()["lastTransitionTime"].clone()
        };
        assert_eq!(since(&before), since(&after));
    })
    .await;
}

#[tokio::test]
#[ignore = "needs a cluster: make live"]
async fn the_steady_state_leaves_the_resource_version_alone() {
    with_controller(async |context| {
        context.create_settled("demo", 0).await;
        let plugin = TestPlugin::installed(&context, "echo").await;
        shows(&context, json!([state("echo", 1)])).await;
        let before = context.expect("DaskCluster", "demo").await;
        for round in 1..=3 {
            plugin.forget_calls();
            let setting = json!({"spec": {"settings": {"round": round}}});
            context.merge("DaskOperatorPlugin", "echo", setting).await;
            plugin.until_called("another check", |calls| !calls.is_empty()).await;
            // The status of the plugin is written after the pass.
            plugin.until(|plugin| plugin["status"]["observedGeneration"] == plugin["metadata"]["generation"]).await;
        }
        plugin.until_counts(1, 1, 0).await;
        assert_eq!(version(&context.expect("DaskCluster", "demo").await), version(&before));
    })
    .await;
}

#[tokio::test]
#[ignore = "needs a cluster: make live"]
async fn two_plugins_are_shown_separately_and_a_deleted_one_no_longer() {
    with_temp_ns(|context| async move {
        let controller = context.start_controller().await;
        context.create(&cluster("demo", 1)).await;
        let _echo = TestPlugin::installed(&context, "echo").await;
        let mut other = TestPlugin::new(&context, "other");
        let mut manifest = other.manifest();
        manifest["spec"]["subjects"] = json!([
            {"kind": "Service"}, {"kind": "DaskCluster"}, {"kind": "Deployment", "component": "worker"},
        ]);
        other.install_as(&manifest).await;
        shows(&context, json!([state("echo", 1), state("other", 2)])).await;
        let shown = json!([state("other", 1)]);
        let group = "demo-default";
        context.until("DaskWorkerGroup", group, |group| group["status"]["plugins"] == shown).await;

        context.delete("DaskOperatorPlugin", "other").await;
        shows(&context, json!([state("echo", 1)])).await;
        let is_bare = |group: &Value| group["status"].get("plugins").is_none() && condition(group, SYNCED) == ("", "");
        context.until("DaskWorkerGroup", group, is_bare).await;
        // A plugin that is deleted while no controller runs.
        controller.kill().await;
        context.delete("DaskOperatorPlugin", "echo").await;
        let _controller = context.start_controller().await;
        context.until("DaskCluster", "demo", is_bare).await;
    })
    .await;
}

#[tokio::test]
#[ignore = "needs a cluster: make live"]
async fn conditions_and_warnings_of_a_plugin_reach_the_user_and_warnings_do_once() {
    with_controller(async |context| {
        context.create_settled("demo", 0).await;
        let mut plugin = TestPlugin::new(&context, "echo");
        let said = |value: &str, warnings: Vec<&'static str>| {
            let conditions = vec![("Exposed", ConditionStatus::False), ("not a type", ConditionStatus::True)];
            Reply::WithConditions(config("config", value), conditions, warnings)
        };
        plugin.answer(said("a", vec!["the port is deprecated"]));
        plugin.install().await;
        let exposed = "echo.plugin.kubernetes.dask.org/Exposed";
        let demo = context.until("DaskCluster", "demo", |demo| condition(demo, exposed) == ("False", "Because")).await;
        assert_eq!(condition(&demo, SYNCED), ("True", "Synced"));
        until_event(&context, "PluginWarning", "echo: the port is deprecated").await;

        plugin.answer(said("b", vec!["the port is deprecated", "so is the host"]));
        context.nudge("demo").await;
        until_event(&context, "PluginWarning", "echo: so is the host").await;
        let listed = context.list("Event", "").await;
        let about_port = |event: &&Value| event["note"] == "echo: the port is deprecated";
        let about_port: Vec<&Value> = listed.iter().filter(about_port).collect();
        assert_eq!((about_port.len(), about_port[0].get("series")), (1, None));
        assert_eq!(about_port[0]["regarding"]["kind"], "DaskCluster");
        assert_eq!(plugin.calls()[0].request.controller.capabilities, ["Conditions", "Warnings", "ResyncAfter"]);
    })
    .await;
}

#[tokio::test]
#[ignore = "needs a cluster: make live"]
async fn a_strict_plugin_holds_new_clusters_at_pending_and_takes_nothing_from_those_that_run() {
    with_temp_ns(|context| async move {
        let controller = context.start_controller().await;
        context.create(&cluster("demo", 0)).await;
        context.running("demo").await;
        let mut plugin = TestPlugin::new(&context, "strict");
        let mut manifest = plugin.manifest();
        manifest["spec"]["failurePolicy"] = json!("Fail");
        // Its server does not exist yet, so that it was never called.
        context.create(&manifest).await;
        plugin.until_ready("False", "Unreachable").await;
        context.create(&cluster("late", 1)).await;
        let waiting = |late: &Value| late["status"]["phase"] == "Pending" && condition(late, SYNCED).1 == "Waiting";
        let late = context.until("DaskCluster", "late", waiting).await;
        assert!(message(&late, SYNCED).contains("strict"), "{}", message(&late, SYNCED));
        // Pods are created regardless.
        context.appears("Deployment", "late-scheduler").await;
        eventually("a worker", async || match context.count("Deployment", "dask.org/component=worker").await {
            0 => Err("there is none".to_owned()),
            _ => Ok(()),
        })
        .await;

        plugin.answer(Reply::Failure("NoHost", "there is no host left"));
        plugin.serve().await;
        plugin.touch_endpoints().await;
        let failed = |late: &Value| condition(late, SYNCED) == ("False", "PluginFailure");
        let late = context.until("DaskCluster", "late", failed).await;
        assert_eq!(late["status"]["phase"], "Pending");

        plugin.respond_with(|request| match request.owner.name() {
            "late" => Reply::Children(vec![config("config", "a")]),
            _ => Reply::Failure("NoHost", "there is no host left"),
        });
        context.nudge("late").await;
        context.running("late").await;

        let demo = until_synced(&context, "False", "PluginFailure").await;
        assert_eq!(demo["status"]["phase"], "Running");
        controller.kill().await;
        plugin.forget_calls();
        let _controller = context.start_controller().await;
        plugin.until_called("looks after the restart", |calls| calls.len() >= 2).await;
        plugin.until_counts(2, 1, 1).await;
        assert_eq!(context.expect("DaskCluster", "demo").await["status"]["phase"], "Running");
    })
    .await;
}

#[tokio::test]
#[ignore = "needs a cluster: make live"]
async fn a_strict_plugin_that_is_suspended_or_about_something_else_holds_nothing() {
    with_controller(async |context| {
        let mut strict = TestPlugin::new(&context, "strict");
        let mut manifest = strict.manifest();
        manifest["spec"]["failurePolicy"] = json!("Fail");
        manifest["spec"]["match"] = json!({"objectSelector": {"matchLabels": {"expose": "yes"}}});
        strict.answer(Reply::Failure("Never", "ever"));
        strict.install_as(&manifest).await;
        context.create(&cluster("demo", 0)).await;
        context.running("demo").await;

        let mut wanted = cluster("wanted", 0);
        wanted["metadata"]["labels"] = json!({"expose": "yes"});
        context.create(&wanted).await;
        let failed = |wanted: &Value| {
            condition(wanted, SYNCED) == ("False", "PluginFailure") && wanted["status"]["phase"] == "Pending"
        };
        context.until("DaskCluster", "wanted", failed).await;
        context.merge("DaskOperatorPlugin", "strict", json!({"spec": {"suspend": true}})).await;
        context.running("wanted").await;
    })
    .await;
}

#[tokio::test]
#[ignore = "needs a cluster: make live"]
async fn metrics_count_calls_children_and_refusals_until_the_plugin_is_gone() {
    with_temp_ns(|context| async move {
        let controller = context.start_controller().await;
        context.create_settled("demo", 0).await;
        let mut plugin = TestPlugin::new(&context, "echo");
        plugin.answer(Reply::Children(vec![config("config", "a"), config("Not Valid", "b")]));
        plugin.install().await;
        plugin.until_failing("InvalidKey").await;
        let text = controller.metrics().await;
        assert!(text.to_lowercase().contains("content-type: text/plain; version=0.0.4"), "{text}");
        let samples = [
            r#"requests_total{plugin="echo",hook="Sync",outcome="Success"} 1"#,
            r#"request_duration_seconds_count{plugin="echo",hook="Sync"} 1"#,
            r#"inflight{plugin="echo"} 0"#,
            r#"children{plugin="echo"} 1"#,
            r#"apply_total{plugin="echo",result="Applied"} 1"#,
            r#"rejected_children_total{plugin="echo",reason="InvalidKey"} 1"#,
            r#"breaker_state{plugin="echo"} 0"#,
        ];
        for sample in samples {
            assert!(text.contains(&format!("\ndask_operator_plugin_{sample}\n")), "{sample} in {text}");
        }
        assert!(!text.contains(SUBJECT), "{text}");
        context.delete("DaskOperatorPlugin", "echo").await;
        eventually("its series to go", async || {
            let text = controller.metrics().await;
            if text.contains("echo") { Err(text) } else { Ok(()) }
        })
        .await;
    })
    .await;
}

#[tokio::test]
#[ignore = "needs a cluster: make live"]
async fn the_log_has_one_line_for_each_transition_and_no_colours() {
    with_controller(async |context| {
        context.create_settled("demo", 0).await;
        let plugin = TestPlugin::installed(&context, "echo").await;
        plugin.until_counts(1, 1, 0).await;
        plugin.answer(Reply::Code(500));
        plugin.forget_calls();
        context.nudge("demo").await;
        let attempts = tokio::time::timeout(
            Duration::from_secs(30),
            plugin.until_called("three attempts", |calls| calls.len() >= 3),
        );
        attempts.await.expect("it is tried again");
        plugin.answer(Reply::Children(vec![]));
        context.nudge("demo").await;
        shows(&context, json!([state("echo", 0)])).await;

        let log = context.controller_log();
        let lines = |words: &str| log.lines().filter(|line| line.contains(words)).collect::<Vec<_>>();
        let failing = lines("a plugin fails for a subject");
        assert_eq!(failing.len(), 1, "{failing:?}");
        assert!(failing[0].contains("WARN") && failing[0].contains("ServerError"), "{}", failing[0]);
        assert!(failing[0].contains("echo") && failing[0].contains(SUBJECT), "{}", failing[0]);
        assert_eq!(lines("a plugin no longer fails for a subject").len(), 1);
        assert_eq!(lines("a plugin is ready").len(), 1);
        assert!(!log.contains('\u{1b}'), "{log}");
    })
    .await;
}

#[tokio::test]
#[ignore = "needs a cluster: make live"]
async fn each_call_carries_a_trace_context_of_its_own() {
    with_controller(async |context| {
        context.create_settled("demo", 0).await;
        let plugin = TestPlugin::installed(&context, "echo").await;
        plugin.until_counts(1, 1, 0).await;
        context.nudge("demo").await;
        plugin.until_called("a second call", |calls| calls.len() >= 2).await;
        let calls = plugin.calls();
        let traces: Vec<Vec<&str>> = calls
            .iter()
            .map(|call| call.headers.get(headers::TRACEPARENT).unwrap().to_str().unwrap().split('-').collect())
            .collect();
        for trace in &traces {
            let lengths: Vec<usize> = trace.iter().map(|part| part.len()).collect();
            assert_eq!(lengths, [2, 32, 16, 2], "{trace:?}");
            assert!(trace.concat().chars().all(|c| c.is_ascii_hexdigit() && !c.is_ascii_uppercase()), "{trace:?}");
        }
        assert_ne!(traces[0][1], traces[1][1]);
    })
    .await;
}
