//! Which namespaces plugins serve and under which account they write.

use k8s_openapi::api::core::v1::Namespace;
use kube::{
    Api,
    api::{DeleteParams, Patch, PatchParams},
};
use serde_json::{Value, json};

use crate::support::{
    TestContext, cluster, condition, message,
    plugin::{Reply, TestPlugin, config},
    uid, with_controller, with_temp_ns,
};

/// The name of the child with the key `config` of the plugin `echo` for the cluster `demo`.
pub(crate) const CHILD: &str = "demo-scheduler-echo-config";
const PLUGIN_LABEL: &str = "plugin.kubernetes.dask.org/plugin";

pub(crate) fn with_match(plugin: &TestPlugin, rules: Value) -> Value {
    let mut manifest = plugin.manifest();
    manifest["spec"]["match"] = rules;
    manifest
}

fn condition_rule(expression: &str) -> Value {
    json!({"conditions": [{"name": "exposed", "expression": expression}]})
}

/// Returns the manifest of a plugin that writes only ConfigMaps, with the ServiceAccount `writer`.
pub(crate) fn with_writer(plugin: &TestPlugin) -> Value {
    let mut manifest = plugin.manifest();
    manifest["spec"]["writer"] = json!({"serviceAccountName": "writer"});
    manifest["spec"]["children"] = json!([{"apiVersion": "v1", "kind": "ConfigMap"}]);
    manifest
}

/// Lets the ServiceAccount `writer` of `of` do this with ConfigMaps in the namespace of `context`.
pub(crate) async fn grant(context: &TestContext, of: &TestContext, verbs: &[&str]) {
    let role = json!({
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "Role",
        "metadata": {"name": "writer"},
        "rules": [{"apiGroups": [""], "resources": ["configmaps"], "verbs": verbs}],
    });
    context.apply(&role).await;
    let binding = json!({
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "RoleBinding",
        "metadata": {"name": "writer"},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "writer"},
        "subjects": [{"kind": "ServiceAccount", "name": "writer", "namespace": of.namespace}],
    });
    context.apply(&binding).await;
}

pub(crate) const ALL: [&str; 6] = ["get", "list", "watch", "create", "patch", "delete"];

/// The namespace of a team, besides that of the test.
pub(crate) struct Team(pub(crate) TestContext);

impl Team {
    pub(crate) async fn new(beside: &TestContext) -> Self {
        let context = TestContext::of(beside.client.clone(), &format!("live-team-{:08x}", fastrand::u32(..)));
        context.create_namespace().await;
        Self(context)
    }

    fn namespaces(&self) -> Api<Namespace> {
        Api::all(self.0.client.clone())
    }

    pub(crate) async fn label(&self, value: Option<&str>) {
        let patch = json!({"metadata": {"labels": {"test.example.com/run": value}}});
        let params = PatchParams::default();
        self.namespaces().patch(&self.0.namespace, &params, &Patch::Merge(patch)).await.unwrap();
    }

    pub(crate) async fn remove(self) {
        self.namespaces().delete(&self.0.namespace, &DeleteParams::default()).await.unwrap();
    }
}

/// Runs `test` with the operator's namespace and a team's.
async fn with_two_namespaces<Test: Future<Output = ()>>(test: impl FnOnce(TestContext, TestContext) -> Test) {
    with_temp_ns(|operator| async move {
        let team = Team::new(&operator).await;
        test(operator, team.0.clone()).await;
        team.remove().await;
    })
    .await;
}

/// Starts a controller in `operator` that serves `team`, whose plugins are accepted if `tenants`.
async fn start(operator: &TestContext, team: &TestContext, tenants: bool) -> crate::support::Controller {
    let mut flags = vec!["--namespace", team.namespace.as_str()];
    if tenants {
        flags.push("--plugin-tenants");
    }
    operator.start_controller_with(&flags).await
}

// --- match ---

#[tokio::test]
#[ignore = "needs a cluster: make live"]
async fn a_condition_selects_subjects_and_a_change_selects_again() {
    with_controller(async |context| {
        let mut demo = cluster("demo", 0);
        demo["metadata"]["annotations"] = json!({"example.com/expose": "yes"});
        context.create(&demo).await;
        let mut other = cluster("other", 0);
        other["metadata"]["annotations"] = json!({"example.com/expose": "no"});
        context.create(&other).await;
        for name in ["demo", "other"] {
            context.running(name).await;
        }
        let mut plugin = TestPlugin::new(&context, "echo");
        let rule = "component == 'scheduler' && object.kind == 'Service' \
                    && owner.metadata.annotations['example.com/expose'] == 'yes'";
        plugin.install_as(&with_match(&plugin, condition_rule(rule))).await;
        plugin.until_counts(1, 1, 0).await;
        context.expect("ConfigMap", CHILD).await;
        assert!(plugin.calls_about("other-scheduler").is_empty());

        context.annotate("DaskCluster", "demo", "example.com/expose", "no").await;
        context.goes("ConfigMap", CHILD).await;
        plugin.until_counts(0, 0, 0).await;
        context.annotate("DaskCluster", "other", "example.com/expose", "yes").await;
        context.appears("ConfigMap", "other-scheduler-echo-config").await;
        plugin.until_counts(1, 1, 0).await;
    })
    .await;
}

/// A typing error in an annotation must not delete an Ingress.
#[tokio::test]
#[ignore = "needs a cluster: make live"]
async fn a_condition_that_cannot_be_evaluated_keeps_children_and_is_reported() {
    with_controller(async |context| {
        let mut demo = cluster("demo", 0);
        demo["metadata"]["annotations"] = json!({"example.com/expose": "yes"});
        context.create(&demo).await;
        context.settled("demo", 0).await;
        let mut plugin = TestPlugin::new(&context, "echo");
        let rule = condition_rule("owner.metadata.annotations['example.com/expose'] == 'yes'");
        plugin.install_as(&with_match(&plugin, rule)).await;
        plugin.until_counts(1, 1, 0).await;
        let child = context.expect("ConfigMap", CHILD).await;

        let calls = plugin.calls().len();
        let unset = json!({"metadata": {"annotations": {"example.com/expose": null}}});
        context.merge("DaskCluster", "demo", unset).await;
        let failure = plugin.until_failing("MatchConditionError").await;
        let words = failure["message"].as_str().unwrap();
        assert!(words.starts_with("match.conditions exposed: "), "{words}");
        plugin.until_counts(1, 0, 1).await;
        assert_eq!(uid(&context.expect("ConfigMap", CHILD).await), uid(&child));
        assert_eq!(plugin.calls().len(), calls, "nobody is asked about what may not be meant");

        context.annotate("DaskCluster", "demo", "example.com/expose", "yes").await;
        plugin.until_counts(1, 1, 0).await;
    })
    .await;
}

#[tokio::test]
#[ignore = "needs a cluster: make live"]
async fn an_expression_that_cannot_be_used_is_refused_with_its_name() {
    with_controller(async |context| {
        let plugin = TestPlugin::new(&context, "echo");
        context.create(&with_match(&plugin, condition_rule("object.metadata.name =="))).await;
        let refused = plugin.until_ready("False", "InvalidExpression").await;
        assert_eq!(condition(&refused, "Accepted"), ("False", "InvalidExpression"));
        let edit = json!({"spec": {"match": condition_rule("subject.metadata.name == 'a'")}});
        context.merge("DaskOperatorPlugin", "echo", edit).await;
        let says = |plugin: &Value| {
            message(plugin, "Accepted").starts_with("match.conditions exposed: there is no variable subject")
        };
        plugin.until(says).await;
        // Such an installation may not make cluster-wide requests.
        let edit = json!({"spec": {"match": {"conditions": null, "namespaceSelector": {"matchLabels": {"a": "b"}}}}});
        context.merge("DaskOperatorPlugin", "echo", edit).await;
        plugin.until_ready("False", "NamespacedInstallation").await;
    })
    .await;
}

#[tokio::test]
#[ignore = "needs a cluster: make live"]
async fn the_api_server_refuses_conditions_without_bounds_and_names() {
    with_temp_ns(|context| async move {
        let plugin = TestPlugin::new(&context, "echo");
        let one = json!({"name": "one", "expression": "true"});
        let table = [
            json!([{"name": "one", "expression": ""}]),
            json!([{"name": "one", "expression": "a".repeat(1025)}]),
            json!([{"name": "not a name", "expression": "true"}]),
            json!([one, one]),
        ];
        for conditions in table {
            let refused = context.try_create(&with_match(&plugin, json!({"conditions": conditions}))).await;
            assert!(refused.is_err(), "{conditions}");
        }
        let mut manifest = with_writer(&plugin);
        manifest["spec"]["writer"]["serviceAccountName"] = json!("a:b");
        assert!(context.try_create(&manifest).await.is_err());
    })
    .await;
}

// --- Plugins of teams ---

#[tokio::test]
#[ignore = "needs a cluster: make live"]
async fn plugins_of_teams_are_ignored_where_they_are_off() {
    with_two_namespaces(|operator, team| async move {
        let _controller = start(&operator, &team, false).await;
        team.create(&cluster("demo", 0)).await;
        team.running("demo").await;
        let theirs = TestPlugin::new(&team, "echo");
        team.create(&with_writer(&theirs)).await;
        // When this plugin is ready, the controller would have handled the other one as well.
        let ours = TestPlugin::installed(&operator, "other").await;
        ours.until_counts(1, 1, 0).await;
        // No controller has seen it.
        assert_eq!(team.expect("DaskOperatorPlugin", "echo").await["status"], json!({"observedGeneration": -1}));
    })
    .await;
}

#[tokio::test]
#[ignore = "needs a cluster: make live"]
async fn a_plugin_of_a_team_needs_a_writer_with_rights_and_is_healed_by_granting_them() {
    with_two_namespaces(|operator, team| async move {
        let _controller = start(&operator, &team, true).await;
        let demo = team.create(&cluster("demo", 0)).await;
        let mut plugin = TestPlugin::new(&team, "echo");
        let mut manifest = with_writer(&plugin);
        manifest["spec"]["writer"] = Value::Null;
        team.create(&manifest).await;
        plugin.until_ready("False", "WriterRequired").await;

        let edit = json!({"spec": {"writer": {"serviceAccountName": "writer"}}});
        team.merge("DaskOperatorPlugin", "echo", edit).await;
        plugin.serve().await;
        grant(&team, &team, &["get", "list", "watch"]).await;
        let expected = format!(
            "the ServiceAccount {ns}/writer may not create, patch or delete configmaps in the namespace {ns}; \
             grant it with a Role",
            ns = team.namespace
        );
        plugin.until(|plugin| message(plugin, "Authorized").starts_with(&expected)).await;
        assert!(plugin.calls().is_empty());
        let generation = team.expect("DaskOperatorPlugin", "echo").await["metadata"]["generation"].clone();

        grant(&team, &team, &ALL).await;
        let ready = plugin.until_counts(1, 1, 0).await;
        assert_eq!(ready["metadata"]["generation"], generation);
        let child = team.expect("ConfigMap", &format!("demo-scheduler-echo-{}-config", team.namespace)).await;
        assert_eq!(child["metadata"]["ownerReferences"][0]["uid"], uid(&demo));
        assert_eq!(child["metadata"]["labels"][PLUGIN_LABEL], format!("echo.{}", team.namespace));
        let manager = &child["metadata"]["managedFields"][0]["manager"];
        assert_eq!(*manager, format!("dask-operator/echo.{}", team.namespace));
    })
    .await;
}

/// The controller of these tests has all rights, so that only those of the writer are missing.
#[tokio::test]
#[ignore = "needs a cluster: make live"]
async fn a_plugin_cannot_write_what_its_writer_may_not_even_if_that_is_taken_away_later() {
    with_controller(async |context| {
        context.create(&cluster("demo", 0)).await;
        context.running("demo").await;
        grant(&context, &context, &ALL).await;
        let mut plugin = TestPlugin::new(&context, "echo");
        plugin.install_as(&with_writer(&plugin)).await;
        plugin.until_counts(1, 1, 0).await;
        let before = context.expect("ConfigMap", CHILD).await;

        grant(&context, &context, &["get", "list", "watch"]).await;
        plugin.answer(Reply::Children(vec![config("config", "second")]));
        context.nudge("demo").await;
        plugin.until_failing("Forbidden").await;
        plugin.until(|plugin| condition(plugin, "Authorized") == ("False", "Forbidden")).await;
        assert_eq!(context.expect("ConfigMap", CHILD).await["data"], before["data"]);

        grant(&context, &context, &ALL).await;
        context.until("ConfigMap", CHILD, |child| child["data"]["value"] == "second").await;
        plugin.until_ready("True", "Ready").await;
        plugin.until_counts(1, 1, 0).await;
        context.delete("DaskOperatorPlugin", "echo").await;
        context.goes("ConfigMap", CHILD).await;
    })
    .await;
}

#[tokio::test]
#[ignore = "needs a cluster: make live"]
async fn the_plugins_of_a_team_beyond_its_limit_wait_until_others_are_deleted() {
    with_two_namespaces(|operator, team| async move {
        let flags = ["--namespace", team.namespace.as_str(), "--plugin-tenants", "--plugins-per-namespace", "1"];
        let _controller = operator.start_controller_with(&flags).await;
        team.create(&cluster("demo", 0)).await;
        grant(&team, &team, &ALL).await;
        let (mut echo, mut later) = (TestPlugin::new(&team, "echo"), TestPlugin::new(&team, "later"));
        echo.install_as(&with_writer(&echo)).await;
        echo.until_counts(1, 1, 0).await;
        team.create(&with_writer(&later)).await;
        let refused = later.until_ready("False", "TooManyPlugins").await;
        assert_eq!(condition(&refused, "Accepted"), ("False", "TooManyPlugins"));
        // Those of the operator do not count.
        let ours = TestPlugin::installed(&operator, "ours").await;
        ours.until_counts(1, 1, 0).await;
        team.nudge("demo").await;
        echo.until_counts(1, 1, 0).await;
        assert!(later.calls().is_empty());

        team.delete("DaskOperatorPlugin", "echo").await;
        later.serve().await;
        later.until_counts(1, 1, 0).await;
        assert!(!later.calls().is_empty());
    })
    .await;
}

#[tokio::test]
#[ignore = "needs a cluster: make live"]
async fn plugins_of_one_name_do_not_touch_each_others_children() {
    with_two_namespaces(|operator, team| async move {
        let _controller = start(&operator, &team, true).await;
        team.create(&cluster("demo", 0)).await;
        grant(&team, &team, &ALL).await;
        let ours = TestPlugin::installed(&operator, "echo").await;
        let mut theirs = TestPlugin::new(&team, "echo");
        theirs.answer(Reply::Children(vec![config("config", "theirs")]));
        theirs.install_as(&with_writer(&theirs)).await;
        for plugin in [&ours, &theirs] {
            plugin.until_counts(1, 1, 0).await;
        }
        let names = [CHILD.to_owned(), format!("demo-scheduler-echo-{}-config", team.namespace)];
        assert_eq!(team.expect("ConfigMap", &names[0]).await["data"]["value"], "first");
        assert_eq!(team.expect("ConfigMap", &names[1]).await["data"]["value"], "theirs");

        // A response without children, and then the deletion of the resource, prune the plugin's own children.
        ours.answer(Reply::Children(vec![]));
        team.nudge("demo").await;
        team.goes("ConfigMap", &names[0]).await;
        ours.answer(Reply::Children(vec![config("config", "again")]));
        team.nudge("demo").await;
        let kept = team.appears("ConfigMap", &names[0]).await;
        assert_eq!(team.expect("ConfigMap", &names[1]).await["data"]["value"], "theirs");
        team.delete("DaskOperatorPlugin", "echo").await;
        team.goes("ConfigMap", &names[1]).await;
        assert_eq!(uid(&team.expect("ConfigMap", &names[0]).await), uid(&kept));
        ours.until_counts(1, 1, 0).await;
    })
    .await;
}
