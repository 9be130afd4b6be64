//! The controller with exactly the rights that the chart gives it, and plugins that bring theirs along by
//! aggregation. A proxy between the controller and the API server records what is forbidden.

use std::{
    collections::BTreeSet,
    panic::{AssertUnwindSafe, resume_unwind},
};

use futures::FutureExt as _;
use k8s_openapi::{
    api::{
        authentication::v1::TokenRequest,
        core::v1::ServiceAccount,
        rbac::v1::{ClusterRole, ClusterRoleBinding},
    },
    apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition,
};
use kube::{
    Api, Client, Config,
    api::{DeleteParams, DynamicObject, ListParams, Patch, PatchParams, PostParams},
    config::AuthInfo,
    core::{ApiResource, GroupVersionKind},
    runtime::{conditions::is_crd_established, wait::await_condition},
};
use plugin_server_kit::protocol::Child;
use serde_json::{Value, json};

use crate::support::{
    Controller, DEADLINE, TestContext, cluster, condition, eventually,
    fake_cluster::finish_runner,
    job, message, owned_by,
    plugin::{Reply, TestPlugin, config},
    proxy::FaultProxy,
    uid, with_temp_ns,
};

/// Name of the ServiceAccount and the namespace in the rendered chart.
const OPERATOR: &str = "dask-operator";
/// A label of everything that a test creates outside of its namespace.
const TEST_LABEL: &str = "live-test.dask.org/namespace";
const WIDGET: &str = "demo-scheduler-maker-widget";

// --- A controller with the chart's rights ---

/// A controller that runs as the chart's ServiceAccount.
struct Operator {
    context: TestContext,
    proxy: FaultProxy,
    _controller: Controller,
}

/// Runs `test` with a controller that has the chart's rights and no more. None of its calls may be forbidden.
async fn with_chart_rights<Test: Future<Output = ()>>(test: impl FnOnce(Operator) -> Test) {
    with_temp_ns(async |context| {
        let result = AssertUnwindSafe(async {
            install_rights(&context).await;
            let proxy = FaultProxy::start(as_operator(&context).await, None).await;
            let controller = context.start_controller_through(&proxy).await;
            test(Operator { context: context.clone(), proxy, _controller: controller }).await;
        });
        let result = result.catch_unwind().await;
        remove_cluster_scoped(&context).await;
        if let Err(panic) = result {
            resume_unwind(panic);
        }
    })
    .await;
}

/// Creates the ServiceAccount, roles and bindings of the chart for the test's namespace.
async fn install_rights(context: &TestContext) {
    let chart = include_str!("../../../charts/golden/default.yaml");
    let documents: Vec<Value> = serde_saphyr::from_multiple(chart).unwrap();
    for mut document in documents {
        match document["kind"].as_str().unwrap() {
            "ClusterRole" | "ClusterRoleBinding" => {
                own(context, &mut document);
                apply_cluster_scoped(context, &document).await;
            }
            "ServiceAccount" | "Role" | "RoleBinding" => {
                document["metadata"]["namespace"] = json!(context.namespace);
                move_subjects(context, &mut document);
                context.apply(&document).await;
            }
            _ => {}
        }
    }
}

/// Gives cluster-scoped objects a name and a label of this test.
fn own(context: &TestContext, document: &mut Value) {
    let unique = |name: &Value| json!(format!("{}-{}", context.namespace, name.as_str().unwrap()));
    document["metadata"]["name"] = unique(&document["metadata"]["name"]);
    document["metadata"]["labels"][TEST_LABEL] = json!(context.namespace);
    if document["kind"] == "ClusterRoleBinding" {
        document["roleRef"]["name"] = unique(&document["roleRef"]["name"]);
        move_subjects(context, document);
    }
}

fn move_subjects(context: &TestContext, binding: &mut Value) {
    for subject in binding.get_mut("subjects").and_then(Value::as_array_mut).into_iter().flatten() {
        subject["namespace"] = json!(context.namespace);
    }
}

fn cluster_scoped(kind: &str) -> ApiResource {
    match kind {
        "ClusterRole" => ApiResource::erase::<ClusterRole>(&()),
        "ClusterRoleBinding" => ApiResource::erase::<ClusterRoleBinding>(&()),
        _ => ApiResource::erase::<CustomResourceDefinition>(&()),
    }
}

async fn apply_cluster_scoped(context: &TestContext, document: &Value) {
    let kind = cluster_scoped(document["kind"].as_str().unwrap());
    let api: Api<DynamicObject> = Api::all_with(context.client.clone(), &kind);
    let params = PatchParams::apply("live-test").force();
    api.patch(document["metadata"]["name"].as_str().unwrap(), &params, &Patch::Apply(document)).await.unwrap();
}

async fn remove_cluster_scoped(context: &TestContext) {
    let mine = ListParams::default().labels(&format!("{TEST_LABEL}={}", context.namespace));
    for kind in ["ClusterRoleBinding", "ClusterRole", "CustomResourceDefinition"] {
        let api: Api<DynamicObject> = Api::all_with(context.client.clone(), &cluster_scoped(kind));
        api.delete_collection(&DeleteParams::default(), &mine).await.unwrap();
    }
}

/// Returns a client with the identity of the operator's ServiceAccount.
async fn as_operator(context: &TestContext) -> Client {
    let accounts: Api<ServiceAccount> = Api::namespaced(context.client.clone(), &context.namespace);
    let (params, request) = (PostParams::default(), TokenRequest::default());
    let answer = accounts.create_token_request(OPERATOR, &params, &request).await.unwrap();
    let token = answer.status.unwrap().token.unwrap();
    let mut config = Config::infer().await.unwrap();
    config.auth_info = AuthInfo { token: Some(token.into()), ..AuthInfo::default() };
    Client::try_from(config).unwrap()
}

impl Operator {
    /// Creates what a plugin ships: a `ClusterRole` that is aggregated into the operator's.
    async fn grant(&self, name: &str, group: &str, resource: &str, verbs: &[&str]) {
        let mut role = json!({
            "apiVersion": "rbac.authorization.k8s.io/v1",
            "kind": "ClusterRole",
            "metadata": {"name": name, "labels": {"kubernetes.dask.org/aggregate-to-operator": "true"}},
            "rules": [{"apiGroups": [group], "resources": [resource], "verbs": verbs}],
        });
        own(&self.context, &mut role);
        apply_cluster_scoped(&self.context, &role).await;
    }

    fn assert_nothing_was_forbidden(&self) {
        assert_eq!(self.proxy.forbidden(), BTreeSet::new(), "the chart's rights are not enough");
    }
}

// --- A kind that the chart does not know ---

/// The API group of this test's own kind.
fn widget_group(context: &TestContext) -> String {
    format!("{}.example.org", context.namespace)
}

async fn install_widgets(context: &TestContext) {
    let group = widget_group(context);
    let anything = json!({"type": "object", "x-kubernetes-preserve-unknown-fields": true});
    let schema = json!({"openAPIV3Schema": {"type": "object", "properties": {"spec": anything}}});
    let name = format!("widgets.{group}");
    let definition = json!({
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": name, "labels": {TEST_LABEL: context.namespace}},
        "spec": {
            "group": group,
            "scope": "Namespaced",
            "names": {"plural": "widgets", "singular": "widget", "kind": "Widget"},
            "versions": [{"name": "v1", "served": true, "storage": true, "schema": schema}],
        },
    });
    apply_cluster_scoped(context, &definition).await;
    let api: Api<CustomResourceDefinition> = Api::all(context.client.clone());
    let established = await_condition(api, &name, is_crd_established());
    tokio::time::timeout(DEADLINE, established).await.expect("the API server serves the kind").unwrap();
}

fn widgets(context: &TestContext) -> Api<DynamicObject> {
    let kind = GroupVersionKind::gvk(&widget_group(context), "v1", "Widget");
    let resource = ApiResource::from_gvk_with_plural(&kind, "widgets");
    Api::namespaced_with(context.client.clone(), &context.namespace, &resource)
}

async fn until_widget(context: &TestContext, what: &str, is_right: impl Fn(Option<&Value>) -> bool) -> Option<Value> {
    let api = widgets(context);
    eventually(what, async || {
        let found = api.get_opt(WIDGET).await.unwrap().map(|widget| serde_json::to_value(widget).unwrap());
        if is_right(found.as_ref()) { Ok(found) } else { Err(format!("it is {found:?}")) }
    })
    .await
}

fn widget(context: &TestContext, size: u32) -> Reply {
    let api_version = format!("{}/v1", widget_group(context));
    let manifest = json!({"apiVersion": api_version, "kind": "Widget", "spec": {"size": size}});
    Reply::Children(vec![Child::new("widget", manifest)])
}

async fn until_missing(plugin: &TestPlugin, verbs: &str) {
    let words = format!("may not {verbs} widgets in the namespace ");
    plugin
        .until(|resource| {
            condition(resource, "Authorized") == ("False", "Forbidden")
                && message(resource, "Authorized").contains(&words)
        })
        .await;
}

#[tokio::test]
#[ignore = "needs a cluster: make live"]
async fn a_plugin_with_a_new_kind_gets_its_rights_by_aggregation_and_the_controller_is_not_touched() {
    with_chart_rights(async |operator| {
        let context = &operator.context;
        let demo = context.create(&cluster("demo", 0)).await;
        context.running("demo").await;
        install_widgets(context).await;
        let mut plugin = TestPlugin::new(context, "maker");
        plugin.answer(widget(context, 1));
        let mut manifest = plugin.manifest();
        manifest["spec"]["children"] =
            json!([{"apiVersion": format!("{}/v1", widget_group(context)), "kind": "Widget"}]);
        context.create(&manifest).await;
        plugin.serve().await;
        plugin.touch_endpoints().await;
        until_missing(&plugin, "get, list, watch, create, patch or delete").await;
        operator.grant("widgets", &widget_group(context), "widgets", &["get", "list", "watch"]).await;
        until_missing(&plugin, "create, patch or delete").await;
        assert!(plugin.calls().is_empty(), "it is not asked before its answer can be carried out");
        let all = ["get", "list", "watch", "create", "patch", "delete"];
        operator.grant("widgets", &widget_group(context), "widgets", &all).await;

        let child = until_widget(context, "the child", |widget| widget.is_some()).await.unwrap();
        assert_eq!(child["metadata"]["ownerReferences"], owned_by(&demo, false));
        plugin.until_counts(1, 1, 0).await;
        plugin.until_ready("True", "Ready").await;

        // Each granted verb is used.
        widgets(context).delete(WIDGET, &DeleteParams::default()).await.unwrap();
        let is_new = |widget: Option<&Value>| widget.is_some_and(|widget| uid(widget) != uid(&child));
        until_widget(context, "the child to come back", is_new).await;
        plugin.answer(widget(context, 2));
        context.nudge("demo").await;
        let is_changed = |widget: Option<&Value>| widget.is_some_and(|widget| widget["spec"]["size"] == 2);
        until_widget(context, "the child to change", is_changed).await;
        plugin.answer(Reply::Children(vec![]));
        context.nudge("demo").await;
        until_widget(context, "the child to go", |widget| widget.is_none()).await;
        operator.assert_nothing_was_forbidden();
    })
    .await;
}

#[tokio::test]
#[ignore = "needs a cluster: make live"]
async fn the_whole_life_of_a_plugin_needs_no_more_rights_than_the_chart_and_the_plugin_give() {
    with_chart_rights(async |operator| {
        let context = &operator.context;
        let verbs = ["get", "list", "watch", "create", "patch", "delete"];
        operator.grant("configmaps", "", "configmaps", &verbs).await;
        context.create(&cluster("demo", 1)).await;
        let mut plugin = TestPlugin::new(context, "echo");
        let mut manifest = plugin.manifest();
        manifest["spec"]["children"] = json!([{"apiVersion": "v1", "kind": "ConfigMap"}]);
        manifest["spec"]["subjects"] =
            json!([{"kind": "DaskCluster"}, {"kind": "Deployment", "component": "worker"}, {"kind": "Pod"}]);
        plugin.install_as(&manifest).await;
        context.appears("ConfigMap", "demo-echo-config").await;
        plugin.answer(Reply::Children(vec![config("other", "second")]));
        context.nudge("demo").await;
        context.goes("ConfigMap", "demo-echo-config").await;
        context.appears("ConfigMap", "demo-echo-other").await;
        // Failures are reported by an Event.
        plugin.answer(Reply::Failure("NoHost", "there is no host left"));
        context.nudge("demo").await;
        plugin.until_failing("PluginFailure").await;
        context.delete("DaskOperatorPlugin", "echo").await;
        context.goes("ConfigMap", "demo-echo-other").await;
        operator.assert_nothing_was_forbidden();
    })
    .await;
}

// --- The Dask side ---

#[tokio::test]
#[ignore = "needs a cluster: make live"]
async fn clusters_are_made_scaled_and_removed_with_the_chart_s_rights() {
    with_chart_rights(async |operator| {
        let context = &operator.context;
        context.create_settled("demo", 2).await;
        let autoscaler = json!({
            "apiVersion": "kubernetes.dask.org/v1",
            "kind": "DaskAutoscaler",
            "metadata": {"name": "demo"},
            "spec": {"cluster": "demo", "minimum": 1, "maximum": 2},
        });
        context.create(&autoscaler).await;
        let is_adopted = |autoscaler: &Value| autoscaler["metadata"]["ownerReferences"][0]["name"] == "demo";
        context.until("DaskAutoscaler", "demo", is_adopted).await;
        context.delete("DaskAutoscaler", "demo").await;
        context.goes("DaskAutoscaler", "demo").await;
        context.merge("DaskCluster", "demo", json!({"spec": {"worker": {"replicas": 0}}})).await;
        context.settled("demo", 0).await;
        context.delete("DaskCluster", "demo").await;
        context.goes("Deployment", "demo-scheduler").await;
        context.goes("DaskWorkerGroup", "demo-default").await;
        operator.assert_nothing_was_forbidden();
    })
    .await;
}

#[tokio::test]
#[ignore = "needs a cluster: make live"]
async fn a_job_runs_with_the_chart_s_rights() {
    with_chart_rights(async |operator| {
        let context = &operator.context;
        context.create(&job("demo")).await;
        finish_runner(context, "demo").await;
        context.until("DaskJob", "demo", |job| job["status"]["jobStatus"] == "Successful").await;
        context.goes("DaskCluster", "demo").await;
        operator.assert_nothing_was_forbidden();
    })
    .await;
}
