//! The start of the controller without definitions, without rights or, for a moment, without the API server; and the
//! namespaced installation, whose rights are Roles.

use std::collections::BTreeSet;

use k8s_openapi::api::{authentication::v1::TokenRequest, core::v1::ServiceAccount};
use kube::{Api, Client, Config, api::PostParams, config::AuthInfo};
use serde_json::{Value, json};

use crate::support::{
    Controller, TestContext, cluster, condition, eventually,
    plugin::{Reply, TestPlugin, config},
    proxy::{Fault, FaultProxy, Target},
    with_temp_ns,
};

/// Name of the ServiceAccount in the rendered chart.
const OPERATOR: &str = "dask-operator";
const REVIEW: &str = "create selfsubjectaccessreviews";

// --- An account with Roles ---

/// Returns the rules of the rendered chart's roles of this kind, without those for cluster-scoped kinds.
fn chart_rules(kind: &str) -> Vec<Value> {
    let chart = include_str!("../../../charts/golden/default.yaml");
    let documents: Vec<Value> = serde_saphyr::from_multiple(chart).unwrap();
    let of_kind = documents.iter().filter(|document| document["kind"] == kind);
    let rules = of_kind.flat_map(|role| role["rules"].as_array().cloned().unwrap_or_default());
    rules.filter(|rule| rule["resources"] != json!(["namespaces"])).collect()
}

/// Returns what the chart grants in the namespaces of Dask resources.
fn dask_rules() -> Vec<Value> {
    chart_rules("ClusterRole")
}

/// Returns what the chart grants in the operator's own namespace.
fn own_rules() -> Vec<Value> {
    chart_rules("Role")
}

/// Returns `rules` without this verb on this resource.
fn without(rules: Vec<Value>, verb: &str, resource: &str) -> Vec<Value> {
    let mut rules = rules;
    for rule in &mut rules {
        if rule["resources"].as_array().unwrap().contains(&json!(resource)) {
            rule["verbs"].as_array_mut().unwrap().retain(|known| known != verb);
        }
    }
    rules.retain(|rule| !rule["verbs"].as_array().unwrap().is_empty());
    rules
}

/// The operator's ServiceAccount in a namespace of its own.
struct Account {
    home: TestContext,
}

impl Account {
    async fn create(home: &TestContext) -> Self {
        let account = json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": OPERATOR}});
        home.create(&account).await;
        Self { home: home.clone() }
    }

    /// Grants exactly `rules` in the namespace of `context`.
    async fn grant(&self, context: &TestContext, name: &str, rules: &[Value]) {
        let api_version = "rbac.authorization.k8s.io/v1";
        let metadata = json!({"name": name});
        context.apply(&json!({"apiVersion": api_version, "kind": "Role", "metadata": metadata, "rules": rules})).await;
        let subject = json!({"kind": "ServiceAccount", "name": OPERATOR, "namespace": self.home.namespace});
        let role = json!({"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": name});
        context
            .apply(&json!({
                "apiVersion": api_version, "kind": "RoleBinding", "metadata": metadata,
                "roleRef": role, "subjects": [subject],
            }))
            .await;
    }

    /// Starts a proxy with its rights.
    async fn proxy(&self, target: Option<Target>) -> FaultProxy {
        let accounts: Api<ServiceAccount> = Api::namespaced(self.home.client.clone(), &self.home.namespace);
        let (params, request) = (PostParams::default(), TokenRequest::default());
        let answer = accounts.create_token_request(OPERATOR, &params, &request).await.unwrap();
        let token = answer.status.unwrap().token.unwrap();
        let mut config = Config::infer().await.unwrap();
        config.auth_info = AuthInfo { token: Some(token.into()), ..AuthInfo::default() };
        FaultProxy::start(Client::try_from(config).unwrap(), target).await
    }
}

// --- Probes and log ---

async fn until_waiting(controller: &Controller, words: &str) {
    eventually("the controller to say what it waits for", async || {
        let answer = controller.answer("/readyz").await;
        if answer.contains(" 503 ") && answer.contains(words) { Ok(()) } else { Err(format!("it says {answer}")) }
    })
    .await;
}

fn lines(context: &TestContext, words: &str) -> Vec<String> {
    context.controller_log().lines().filter(|line| line.contains(words)).map(str::to_owned).collect()
}

/// Returns the last line, which the program prints when it gives up.
fn last_words(context: &TestContext) -> String {
    context.controller_log().lines().last().unwrap_or_default().to_owned()
}

// --- Definitions ---

const NOT_INSTALLED: &str = "not installed: daskclusters, daskworkergroups, daskjobs, daskautoscalers; install the \
                             definitions: dask-operator crd | kubectl apply --server-side -f -";

#[tokio::test]
#[ignore = "needs a cluster: make live"]
async fn definitions_that_are_installed_later_let_the_same_process_start() {
    with_temp_ns(async |context| {
        let proxy = FaultProxy::start(context.client.clone(), None).await;
        proxy.hide("/apis/kubernetes.dask.org");
        let mut controller = context.spawn_controller_through(&proxy, &[]);
        until_waiting(&controller, NOT_INSTALLED).await;
        assert!(controller.answer("/livez").await.contains(" 200 "), "waiting is being alive");
        // More than one check.
        eventually("another check", async || match proxy.hidden_requests() {
            count @ ..4 => Err(format!("there were {count} requests")),
            _ => Ok(()),
        })
        .await;
        assert_eq!(lines(&context, "the start waits").len(), 1, "{}", context.controller_log());
        assert_eq!(proxy.calls().get("list daskclusters"), None, "nothing is watched before");
        proxy.show();
        controller.ready().await;
        context.create(&cluster("demo", 0)).await;
        context.running("demo").await;
    })
    .await;
}

#[tokio::test]
#[ignore = "needs a cluster: make live"]
async fn definitions_that_stay_away_end_the_process_with_4() {
    with_temp_ns(async |context| {
        let proxy = FaultProxy::start(context.client.clone(), None).await;
        proxy.hide("/apis/kubernetes.dask.org");
        let end = context.spawn_controller_through(&proxy, &["--startup-seconds", "1"]).end().await;
        assert_eq!(end.code(), Some(4));
        assert_eq!(last_words(&context), format!("dask-operator: {NOT_INSTALLED}"));
        assert!(proxy.hidden_requests() >= 4, "it has looked more than once");
    })
    .await;
}

/// dask-kubernetes has no kind for plugins.
#[tokio::test]
#[ignore = "needs a cluster: make live"]
async fn without_the_kind_for_plugins_the_controller_works() {
    with_temp_ns(async |context| {
        let proxy = FaultProxy::start(context.client.clone(), None).await;
        proxy.hide("/apis/kubernetes.dask.org/v1alpha1");
        let mut controller = context.spawn_controller_through(&proxy, &["--startup-seconds", "0"]);
        controller.ready().await;
        context.create(&cluster("demo", 0)).await;
        context.running("demo").await;
    })
    .await;
}

// --- Rights ---

#[tokio::test]
#[ignore = "needs a cluster: make live"]
async fn a_missing_right_is_named_and_granting_it_lets_the_same_process_start() {
    with_temp_ns(async |context| {
        let account = Account::create(&context).await;
        account.grant(&context, "own", &own_rules()).await;
        account.grant(&context, "dask", &without(dask_rules(), "watch", "pods")).await;
        let proxy = account.proxy(None).await;
        let mut controller = context.spawn_controller_through(&proxy, &[]);
        let missing = format!("the controller may not watch pods in namespace {};", context.namespace);
        until_waiting(&controller, &missing).await;
        account.grant(&context, "dask", &dask_rules()).await;
        controller.ready().await;
        assert_eq!(lines(&context, "the start waits").len(), 1, "{}", context.controller_log());
        context.create(&cluster("demo", 0)).await;
        context.running("demo").await;
        assert_eq!(proxy.forbidden(), BTreeSet::new());
    })
    .await;
}

#[tokio::test]
#[ignore = "needs a cluster: make live"]
async fn rights_that_stay_away_end_the_process_with_5() {
    with_temp_ns(async |context| {
        let account = Account::create(&context).await;
        account.grant(&context, "own", &own_rules()).await;
        let rules = without(without(dask_rules(), "create", "services"), "patch", "services");
        account.grant(&context, "dask", &without(rules, "patch", "daskclusters/status")).await;
        let proxy = account.proxy(None).await;
        let end = context.spawn_controller_through(&proxy, &["--startup-seconds", "0"]).end().await;
        assert_eq!(end.code(), Some(5));
        let namespace = &context.namespace;
        let sentence = format!(
            "dask-operator: the controller may not create, patch services in namespace {namespace}; patch \
             daskautoscalers.kubernetes.dask.org/status, daskclusters.kubernetes.dask.org/status, \
             daskjobs.kubernetes.dask.org/status, daskworkergroups.kubernetes.dask.org/status in namespace \
             {namespace}; its roles must grant what those of the chart grant"
        );
        assert_eq!(last_words(&context), sentence);
    })
    .await;
}

#[tokio::test]
#[ignore = "needs a cluster: make live"]
async fn what_is_optional_may_be_missing_and_is_reported_once() {
    with_temp_ns(async |context| {
        let account = Account::create(&context).await;
        account.grant(&context, "dask", &without(without(dask_rules(), "create", "events"), "patch", "events")).await;
        let proxy = account.proxy(None).await;
        let mut controller = context.spawn_controller_through(&proxy, &["--startup-seconds", "0"]);
        controller.ready().await;
        for line in ["no Events are published", "plugins are off"] {
            assert_eq!(lines(&context, line).len(), 1, "{line}: {}", context.controller_log());
        }
        // It is an Event where Events may be written.
        context.create(&cluster("dotted.name", 0)).await;
        let is_refused = |cluster: &Value| condition(cluster, "Accepted") == ("False", "InvalidName");
        context.until("DaskCluster", "dotted.name", is_refused).await;
        context.create_settled("demo", 1).await;
        context.delete("DaskCluster", "demo").await;
        context.goes("Deployment", "demo-scheduler").await;
        assert_eq!(proxy.forbidden(), BTreeSet::new(), "nothing is tried that is not allowed");
        assert_eq!(proxy.calls().get("create events"), None);
    })
    .await;
}

#[tokio::test]
#[ignore = "needs a cluster: make live"]
async fn events_are_published_as_dask_kubernetes_settings_say() {
    with_temp_ns(async |context| {
        let table: [(&str, &[&str], usize); 3] = [
            ("off.name", &["--events", "False"], 0),
            ("warnings.name", &["--events-level", "'WARNING'"], 1),
            ("all.name", &[], 1),
        ];
        for (name, flags, published) in table {
            let controller = context.start_controller_with(flags).await;
            context.create(&cluster(name, 0)).await;
            let is_refused = |cluster: &Value| condition(cluster, "Accepted") == ("False", "InvalidName");
            context.until("DaskCluster", name, is_refused).await;
            // An Event follows the status: when a later cluster is complete, it would exist.
            context.create(&cluster("demo", 0)).await;
            context.running("demo").await;
            eventually("the Event", async || {
                let events = context.list("Event", "").await;
                let about: Vec<_> = events.iter().filter(|event| event["regarding"]["name"] == name).collect();
                if about.len() == published { Ok(()) } else { Err(format!("{flags:?}: {about:?} were published")) }
            })
            .await;
            controller.kill().await;
            context.delete("DaskCluster", "demo").await;
            context.goes("DaskCluster", "demo").await;
        }
    })
    .await;
}

// --- An API server that fails for a moment ---

#[tokio::test]
#[ignore = "needs a cluster: make live"]
async fn a_check_that_fails_for_a_moment_is_retried_and_reports_nothing_as_missing() {
    with_temp_ns(async |context| {
        let discovery = "get /apis/kubernetes.dask.org/v1";
        let table = [
            (REVIEW, 7, Fault::Refused(500, "InternalError")),
            (REVIEW, 30, Fault::Refused(429, "TooManyRequests")),
            (REVIEW, 1, Fault::Reset),
            (discovery, 1, Fault::Refused(503, "ServiceUnavailable")),
            (discovery, 1, Fault::Reset),
        ];
        for (call, nth, fault) in table {
            let target = Target { call: call.to_owned(), nth, fault };
            let proxy = FaultProxy::start(context.client.clone(), Some(target)).await;
            let mut controller = context.spawn_controller_through(&proxy, &[]);
            controller.ready().await;
            assert!(proxy.has_failed(), "{call} {fault:?}: the call is made");
            controller.kill().await;
        }
        let waits = lines(&context, "the start waits");
        assert_eq!(waits.len(), table.len(), "{waits:#?}");
        assert!(waits.iter().all(|line| line.contains("the API server cannot be asked")), "{waits:#?}");
    })
    .await;
}

// --- The namespaced installation ---

#[tokio::test]
#[ignore = "needs a cluster: make live"]
async fn a_namespaced_installation_makes_no_request_to_the_whole_cluster_and_none_is_forbidden() {
    with_temp_ns(async |home| {
        let with_two = with_temp_ns(async |one| {
            Box::pin(with_temp_ns(async |two| namespaced(&home, [&one, &two]).await)).await;
        });
        Box::pin(with_two).await;
    })
    .await;
}

/// Returns cluster-wide requests, without those that Kubernetes allows every account: discovery, and reviews of its own
/// rights.
fn beyond_namespaces(proxy: &FaultProxy) -> BTreeSet<String> {
    let is_allowed = |call: &String| call == REVIEW || call.starts_with("get /");
    proxy.cluster_wide().into_iter().filter(|call| !is_allowed(call)).collect()
}

async fn namespaced(home: &TestContext, teams: [&TestContext; 2]) {
    let account = Account::create(home).await;
    account.grant(home, "own", &own_rules()).await;
    let verbs = ["get", "list", "watch", "create", "patch", "delete"];
    let children = json!({"apiGroups": [""], "resources": ["configmaps"], "verbs": verbs});
    for team in teams {
        account.grant(team, "dask", &dask_rules()).await;
        account.grant(team, "plugin", std::slice::from_ref(&children)).await;
    }
    let proxy = account.proxy(None).await;
    let watched = teams.map(|team| team.namespace.as_str()).join(",");
    let mut controller = home.spawn_controller_through(&proxy, &["--namespace", &watched, "--startup-seconds", "0"]);
    controller.ready().await;
    let mut plugin = TestPlugin::new(home, "echo");
    let mut manifest = plugin.manifest();
    manifest["spec"]["children"] = json!([{"apiVersion": "v1", "kind": "ConfigMap"}]);
    plugin.install_as(&manifest).await;
    for team in teams {
        team.create(&cluster("demo", 1)).await;
        team.settled("demo", 1).await;
        team.appears("ConfigMap", "demo-scheduler-echo-config").await;
    }
    plugin.until_counts(2, 2, 0).await;
    plugin.answer(Reply::Children(vec![config("other", "second")]));
    for team in teams {
        team.nudge("demo").await;
        team.appears("ConfigMap", "demo-scheduler-echo-other").await;
        team.goes("ConfigMap", "demo-scheduler-echo-config").await;
        team.merge("DaskCluster", "demo", json!({"spec": {"worker": {"replicas": 0}}})).await;
        team.settled("demo", 0).await;
    }
    home.delete("DaskOperatorPlugin", "echo").await;
    for team in teams {
        team.goes("ConfigMap", "demo-scheduler-echo-other").await;
        team.delete("DaskCluster", "demo").await;
        team.goes("Deployment", "demo-scheduler").await;
    }
    assert_eq!(beyond_namespaces(&proxy), BTreeSet::new(), "the whole cluster is nobody's business here");
    assert_eq!(proxy.forbidden(), BTreeSet::new(), "the Roles grant all that is used");
    assert!(proxy.calls().contains_key(REVIEW), "the proxy sees the requests");
}
