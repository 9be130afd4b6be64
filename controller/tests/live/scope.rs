//! Controllers that watch some namespaces only, and controllers that lose the API server.

use std::{collections::BTreeMap, time::Duration};

use k8s_openapi::api::{
    authentication::v1::TokenRequest,
    core::v1::{Namespace, ServiceAccount},
};
use kube::{
    Api, Client, Config,
    api::{DeleteParams, PostParams},
    config::AuthInfo,
};
use serde_json::{Value, json};

use crate::support::{
    TestContext, cluster, condition, eventually, message, name,
    plugin::{Reply, TestPlugin, config},
    proxy::{Fault, FaultProxy, Target},
    uid, with_temp_ns, within,
};

/// The name of the child with the key `config` of the plugin `echo` for the cluster `demo`.
const CHILD: &str = "demo-scheduler-echo-config";
/// The only cluster-wide calls that every account may make, besides discovery.
const REVIEW: &str = "create selfsubjectaccessreviews";
/// Flags of a controller that notices soon what takes minutes otherwise: stuck after 2 + 4 × 3 = 14 s.
const QUICK: [&str; 4] = ["--watch-seconds", "2", "--silence-seconds", "3"];

// --- Namespaces ---

/// Returns a second namespace, which need not exist.
fn beside(context: &TestContext) -> TestContext {
    TestContext::of(context.client.clone(), &format!("live-scope-{:08x}", fastrand::u32(..)))
}

async fn remove(context: &TestContext) {
    let namespaces: Api<Namespace> = Api::all(context.client.clone());
    namespaces.delete(&context.namespace, &DeleteParams::default()).await.unwrap();
}

fn both<'a>(a: &'a TestContext, b: &'a TestContext) -> String {
    format!("{},{}", a.namespace, b.namespace)
}

/// Lets the ServiceAccount `operator` of `of` do everything in the namespace of `context`.
async fn grant(context: &TestContext, of: &TestContext) {
    let metadata = json!({"name": "operator"});
    let role = json!({
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "Role",
        "metadata": metadata,
        "rules": [{"apiGroups": ["*"], "resources": ["*"], "verbs": ["*"]}],
    });
    context.apply(&role).await;
    let binding = json!({
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "RoleBinding",
        "metadata": metadata,
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "operator"},
        "subjects": [{"kind": "ServiceAccount", "name": "operator", "namespace": of.namespace}],
    });
    context.apply(&binding).await;
}

/// Returns a client with the identity of the ServiceAccount `operator`.
async fn as_operator(context: &TestContext) -> Client {
    context.apply(&json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "operator"}})).await;
    let accounts: Api<ServiceAccount> = Api::namespaced(context.client.clone(), &context.namespace);
    let request = TokenRequest::default();
    let answer = accounts.create_token_request("operator", &PostParams::default(), &request).await.unwrap();
    let token = answer.status.unwrap().token.unwrap();
    let mut config = Config::infer().await.unwrap();
    config.auth_info = AuthInfo { token: Some(token.into()), ..AuthInfo::default() };
    Client::try_from(config).unwrap()
}

/// Returns the cluster-wide calls that need a cluster-wide right.
fn overreaching(proxy: &FaultProxy) -> Vec<String> {
    let is_discovery = |call: &str| call.starts_with("get /api");
    proxy.cluster_wide().into_iter().filter(|call| call != REVIEW && !is_discovery(call)).collect()
}

/// Deletes the only worker's Deployment, and waits for its replacement.
async fn is_looked_after(context: &TestContext) {
    let workers = async || context.list("Deployment", "dask.org/component=worker").await;
    let lost = workers().await.remove(0);
    context.delete("Deployment", name(&lost)).await;
    eventually("another worker", async || match workers().await.as_slice() {
        [worker] if uid(worker) != uid(&lost) => Ok(()),
        others => Err(format!("there are {:?}", others.iter().map(name).collect::<Vec<_>>())),
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs a cluster: make live"]
async fn two_namespaces_are_served_and_a_third_is_not_without_a_request_to_the_whole_cluster() {
    with_temp_ns(|first| async move {
        let (second, third) = (beside(&first), beside(&first));
        for other in [&second, &third] {
            other.create_namespace().await;
        }
        let proxy = FaultProxy::start(first.client.clone(), None).await;
        let flags = ["--namespace", &both(&first, &second), "--plugin-tenants"];
        let _controller = first.start_controller_through_with(&proxy, &flags).await;
        for context in [&first, &second, &third] {
            context.create(&cluster("demo", 1)).await;
        }
        for context in [&first, &second] {
            context.settled("demo", 1).await;
            is_looked_after(context).await;
        }

        let plugin = TestPlugin::installed(&first, "echo").await;
        plugin.until_counts(2, 2, 0).await;
        for context in [&first, &second] {
            context.merge("ConfigMap", CHILD, json!({"data": {"value": "spoilt"}})).await;
            context.until("ConfigMap", CHILD, |child| child["data"]["value"] == "first").await;
            context.delete("ConfigMap", CHILD).await;
            context.appears("ConfigMap", CHILD).await;
        }
        plugin.answer(Reply::Children(vec![config("config", "second")]));
        plugin.touch_endpoints().await;
        first.merge("DaskOperatorPlugin", "echo", json!({"spec": {"settings": {"domain": "example.com"}}})).await;
        for context in [&first, &second] {
            context.until("ConfigMap", CHILD, |child| child["data"]["value"] == "second").await;
        }

        first.delete("DaskOperatorPlugin", "echo").await;
        for context in [&first, &second] {
            context.goes("ConfigMap", CHILD).await;
            context.delete("DaskCluster", "demo").await;
            context.goes("Service", "demo-scheduler").await;
        }
        let third_demo = third.expect("DaskCluster", "demo").await;
        assert_eq!(third_demo["status"], json!({"observedGeneration": -1}), "no controller has seen it");
        assert_eq!(third.count("Service", "").await, 0);
        assert!(proxy.cluster_wide().contains(REVIEW), "the proxy sees what goes to the whole cluster");
        assert_eq!(overreaching(&proxy), Vec::<String>::new());
        for other in [&second, &third] {
            remove(other).await;
        }
    })
    .await;
}

/// Nothing else looks at such a plugin.
#[tokio::test]
#[ignore = "needs a cluster: make live"]
async fn the_author_of_a_plugin_that_is_not_accepted_in_its_namespace_sees_why() {
    with_temp_ns(|first| async move {
        let second = beside(&first);
        second.create_namespace().await;
        let _controller = first.start_controller_with(&["--namespace", &both(&first, &second)]).await;
        let plugin = TestPlugin::new(&second, "echo");
        second.create(&plugin.manifest()).await;
        let is_refused = |plugin: &Value| condition(plugin, "Accepted") == ("False", "TenantsDisabled");
        let refused = second.until("DaskOperatorPlugin", "echo", is_refused).await;
        assert!(message(&refused, "Accepted").contains(&format!("the operator's namespace {} only", first.namespace)));
        remove(&second).await;
    })
    .await;
}

/// Resource versions expire, of one kind at a time.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs a cluster: make live"]
async fn a_new_list_of_one_namespace_does_not_drop_the_other() {
    with_temp_ns(|first| async move {
        let second = beside(&first);
        second.create_namespace().await;
        // The third watch: those of both namespaces exist before.
        let target = |call: &str| Some(Target { call: call.to_owned(), nth: 3, fault: Fault::Expired });
        for call in ["watch daskclusters", "watch deployments"] {
            let proxy = FaultProxy::start(first.client.clone(), target(call)).await;
            let flags = ["--namespace", &both(&first, &second), QUICK[0], QUICK[1], QUICK[2], QUICK[3]];
            let controller = first.start_controller_through_with(&proxy, &flags).await;
            for context in [&first, &second] {
                context.apply(&cluster("demo", 1)).await;
                context.settled("demo", 1).await;
            }
            let again = call.replace("watch", "list");
            let lists = if call == "watch deployments" { 5 } else { 3 };
            eventually("one namespace to be listed again", async || {
                let lists_made = proxy.calls().get(&again).copied().unwrap_or_default();
                if proxy.has_failed() && lists_made >= lists { Ok(()) } else { Err(format!("{:?}", proxy.calls())) }
            })
            .await;
            for context in [&first, &second] {
                is_looked_after(context).await;
                context.merge("DaskCluster", "demo", json!({"spec": {"worker": {"replicas": 2}}})).await;
                context.settled("demo", 2).await;
                context.merge("DaskCluster", "demo", json!({"spec": {"worker": {"replicas": 1}}})).await;
                context.settled("demo", 1).await;
            }
            drop(controller);
        }
        remove(&second).await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs a cluster: make live"]
async fn a_namespace_that_comes_later_is_served() {
    with_temp_ns(|first| async move {
        let second = beside(&first);
        let _controller = first.start_controller_with(&["--namespace", &both(&first, &second)]).await;
        first.create(&cluster("demo", 1)).await;
        first.settled("demo", 1).await;
        second.create_namespace().await;
        second.create(&cluster("demo", 1)).await;
        second.settled("demo", 1).await;
        remove(&second).await;
    })
    .await;
}

/// Each watch that is refused causes one warning, however often it is retried.
fn warnings(context: &TestContext) -> BTreeMap<String, usize> {
    let mut counts = BTreeMap::new();
    for line in context.controller_log().lines().filter(|line| line.contains("a watch fails")) {
        let kind = line.split_whitespace().find(|word| word.contains("kind")).unwrap_or(line);
        *counts.entry(kind.to_owned()).or_default() += 1;
    }
    counts
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs a cluster: make live"]
async fn a_namespace_that_may_not_be_read_holds_up_no_other_and_is_reported_once() {
    with_temp_ns(|first| async move {
        let second = beside(&first);
        second.create_namespace().await;
        let operator = as_operator(&first).await;
        grant(&first, &first).await;
        let proxy = FaultProxy::start(operator, None).await;
        let flags = ["--namespace", &both(&first, &second), QUICK[0], QUICK[1]];
        let _controller = first.start_controller_through_with(&proxy, &flags).await;
        for context in [&first, &second] {
            context.create(&cluster("demo", 1)).await;
        }
        first.settled("demo", 1).await;
        eventually("the namespace to be tried again", async || {
            let lists = proxy.calls().get("list daskclusters").copied().unwrap_or_default();
            if lists >= 5 { Ok(()) } else { Err(format!("there were {lists} lists")) }
        })
        .await;
        let warnings = warnings(&first);
        // Deployments of schedulers and of workers have separate watches, and so have pods that lost a label.
        let watches = |kind: &str| if kind.contains("deployments") || kind.contains("pods") { 2 } else { 1 };
        assert!(warnings.len() >= 7, "{warnings:?}");
        assert!(warnings.iter().all(|(kind, count)| *count == watches(kind)), "{warnings:?}");
        assert_eq!(second.expect("DaskCluster", "demo").await["status"], json!({"observedGeneration": -1}));

        grant(&second, &first).await;
        second.settled("demo", 1).await;
        is_looked_after(&second).await;
        assert_eq!(second.count("Deployment", "dask.org/component=worker").await, 1);
        eventually("the log to say that it works", async || {
            let log = first.controller_log();
            let lines = log.lines().filter(|line| line.contains("a watch has recovered")).count();
            let failed: usize = warnings.values().sum();
            if lines == failed { Ok(()) } else { Err(format!("{lines} watches of {failed}")) }
        })
        .await;
        remove(&second).await;
    })
    .await;
}

/// A plugin's rights are checked in each namespace, and the message names the namespaces where they are missing.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs a cluster: make live"]
async fn a_plugin_without_rights_in_one_of_two_namespaces_is_told_which_role_is_missing() {
    with_temp_ns(|first| async move {
        let second = beside(&first);
        second.create_namespace().await;
        let operator = as_operator(&first).await;
        grant(&first, &first).await;
        let proxy = FaultProxy::start(operator, None).await;
        let flags = ["--namespace", &both(&first, &second), "--service-account", "operator", QUICK[0], QUICK[1]];
        let _controller = first.start_controller_through_with(&proxy, &flags).await;
        let plugin = TestPlugin::new(&first, "echo");
        first.create(&plugin.manifest()).await;
        let refused = plugin.until(|plugin| condition(plugin, "Authorized") == ("False", "Forbidden")).await;
        let message = crate::support::message(&refused, "Authorized");
        assert!(
            message.contains(&format!("in the namespace {}; grant it with a Role there", second.namespace)),
            "{message}"
        );
        assert!(message.ends_with(&format!("bound to the ServiceAccount {}/operator", first.namespace)), "{message}");
        assert!(!message.contains("ClusterRole"), "{message}");
        remove(&second).await;
    })
    .await;
}

// --- The network ---

/// How soon everything must work after the network has returned: the current attempt fails, and the pause before the next
/// one ends.
const HEALED: Duration = Duration::from_secs(20);

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs a cluster: make live"]
async fn a_network_that_drops_all_packets_for_long_turns_livez_red_until_it_is_back() {
    with_temp_ns(|context| async move {
        let proxy = FaultProxy::start(context.client.clone(), None).await;
        let controller = context.start_controller_through_with(&proxy, &QUICK).await;
        context.create(&cluster("first", 1)).await;
        context.running("first").await;
        let (code, body) = controller.live().await;
        assert!(code == 200 && body["now"].is_string(), "{code} {body}");

        proxy.blackhole();
        context.create(&cluster("second", 1)).await;
        let body = eventually("the probe to fail", async || match controller.live().await {
            (503, body) => Ok(body),
            (code, _) => Err(format!("it is {code}")),
        })
        .await;
        let silent = body["silentWatches"].as_array().unwrap();
        assert!(!silent.is_empty() && silent.iter().all(Value::is_string), "{body}");
        eventually("all kinds to be named", async || {
            let silent = controller.live().await.1["silentWatches"].clone();
            let named = |kind: &str| silent.as_array().is_some_and(|kinds| kinds.contains(&json!(kind)));
            let all = ["daskclusters", "daskworkergroups", "daskoperatorplugins", "pods", "services"];
            if all.into_iter().all(named) { Ok(()) } else { Err(silent.to_string()) }
        })
        .await;

        proxy.restore();
        within(HEALED, "the probe to be well", async || match controller.live().await {
            (200, _) => Ok(()),
            (code, body) => Err(format!("it is {code}: {body}")),
        })
        .await;
        within(HEALED, "the second cluster to be running", async || {
            let second = context.expect("DaskCluster", "second").await;
            if second["status"]["phase"] == "Running" { Ok(()) } else { Err(second["status"].to_string()) }
        })
        .await;
    })
    .await;
}
