use dask_plugin_server::protocol::{PluginResponse, ResponseStatus};
use dask_plugin_server::testing::{RequestBuilder, TestPlugin, scheduler_service};
use serde_json::Value;

use super::*;

fn from_yaml(text: &str) -> Value {
    serde_saphyr::from_str(text).unwrap()
}

async fn answer_to(request: RequestBuilder) -> PluginResponse {
    TestPlugin::new(NetworkPolicyPlugin).sync(request).await
}

/// Manifests by key.
async fn wanted(request: RequestBuilder) -> Value {
    let response = answer_to(request).await;
    assert_eq!(response.status, ResponseStatus::Success, "{}", response.message);
    response.children.unwrap().into_iter().map(|child| (child.key, child.manifest)).collect()
}

/// Reason and message of the refusal.
async fn refusal_of(request: RequestBuilder) -> (String, String) {
    let response = answer_to(request).await;
    assert_eq!(response.status, ResponseStatus::Failure);
    assert_eq!(response.children, None);
    (response.reason, response.message)
}

#[tokio::test]
async fn without_settings_only_the_clusters_pods_and_the_operator_get_in() {
    let expected = from_yaml(
        "
        scheduler:
          apiVersion: networking.k8s.io/v1
          kind: NetworkPolicy
          metadata: {}
          spec:
            podSelector: {matchLabels: {dask.org/cluster-name: demo, dask.org/component: scheduler}}
            policyTypes: [Ingress]
            ingress:
            - from: [{podSelector: {matchLabels: {dask.org/cluster-name: demo}}}]
            - from: [{namespaceSelector: {matchLabels: {kubernetes.io/metadata.name: dask-operator}}}]
              ports: [{port: tcp-comm, protocol: TCP}, {port: http-dashboard, protocol: TCP}]
        workers:
          apiVersion: networking.k8s.io/v1
          kind: NetworkPolicy
          metadata: {}
          spec:
            podSelector: {matchLabels: {dask.org/cluster-name: demo, dask.org/component: worker}}
            policyTypes: [Ingress]
            ingress:
            - from: [{podSelector: {matchLabels: {dask.org/cluster-name: demo}}}]
        ",
    );
    assert_eq!(wanted(RequestBuilder::sync()).await, expected);
}

#[tokio::test]
async fn clients_reach_the_scheduler_and_not_the_workers() {
    let settings = from_yaml(
        "
        operatorNamespace: operators
        clients:
        - podSelector: {matchLabels: {role: notebook}}
        - namespaceSelector: {matchExpressions: [{key: team, operator: In, values: [a]}]}
        - ipBlock: {cidr: 192.0.2.0/24, except: [192.0.2.128/25]}
        ",
    );
    let peers = from_yaml(
        "
        - podSelector: {matchLabels: {role: notebook}}
        - namespaceSelector: {matchExpressions: [{key: team, operator: In, values: [a]}]}
        - ipBlock: {cidr: 192.0.2.0/24, except: [192.0.2.128/25]}
        - namespaceSelector: {matchLabels: {kubernetes.io/metadata.name: operators}}
        ",
    );
    let policies = wanted(RequestBuilder::sync().settings(settings)).await;
    assert_eq!(policies["scheduler"]["spec"]["ingress"][1]["from"], peers);
    assert_eq!(policies["workers"], wanted(RequestBuilder::sync()).await["workers"]);
}

/// Policies see the pod's port, not the Service's.
#[tokio::test]
async fn ports_are_those_that_the_service_leads_to() {
    for (ports, expected) in [
        ("[{name: a, port: 80, targetPort: 8787}]", "[{port: 8787, protocol: TCP}]"),
        ("[{name: a, port: 8786}]", "[{port: 8786, protocol: TCP}]"),
        ("[{name: a, port: 1, targetPort: x, protocol: UDP}]", "[{port: x, protocol: UDP}]"),
    ] {
        let mut service = scheduler_service("demo", "team-a");
        service["spec"]["ports"] = from_yaml(ports);
        let policies = wanted(RequestBuilder::sync().subject(service)).await;
        assert_eq!(policies["scheduler"]["spec"]["ingress"][1]["ports"], from_yaml(expected));
    }
}

#[tokio::test]
async fn a_service_without_ports_is_refused_and_not_opened_on_all_of_them() {
    for ports in ["[]", "null"] {
        let mut service = scheduler_service("demo", "team-a");
        service["spec"]["ports"] = from_yaml(ports);
        let (reason, message) = refusal_of(RequestBuilder::sync().subject(service)).await;
        assert_eq!(reason, "NoPorts");
        assert!(message.starts_with("the Service demo-scheduler has no ports; "), "{message}");
    }
}

/// Each of these would otherwise let in more than was meant.
#[tokio::test]
async fn wrong_settings_are_refused_by_name() {
    let both = "spec.settings.clients[0] needs selectors or an ipBlock; set one, and not both";
    for (settings, message) in [
        ("{clients: [{}]}", both),
        ("{clients: [{ipBlock: {cidr: 192.0.2.0/24}, podSelector: {}}]}", both),
        (
            "{clients: [{podSelector: {matchLabel: {a: b}}}]}",
            "spec.settings.clients: a NetworkPolicyPeer has no field 0.podSelector",
        ),
        (
            "{clients: [{podSelector: {}, namespaceSelektor: {}}]}",
            "spec.settings.clients: a NetworkPolicyPeer has no field 0.namespaceSelektor",
        ),
        ("{clients: [{podSelector: 5}]}", "spec.settings.clients"),
        ("{clients: {podSelector: {}}}", "spec.settings.clients: invalid type: map, expected a sequence"),
        ("{operatorNamespace: ''}", "spec.settings.operatorNamespace is empty; give it a value or leave it out"),
        ("{client: []}", "spec.settings.client: unknown field `client`"),
    ] {
        let (reason, was) = refusal_of(RequestBuilder::sync().settings(from_yaml(settings))).await;
        assert_eq!(reason, "InvalidSettings", "{settings}");
        assert!(was.starts_with(message), "{was}");
    }
}

/// People copy these files: what they say must be what the plugin reads.
#[tokio::test]
async fn the_settings_in_the_manifest_let_in_two_kinds_of_clients() {
    let plugin = from_yaml(include_str!("../manifests/plugin.yaml"));
    let policies = wanted(RequestBuilder::sync().settings(plugin["spec"]["settings"].clone())).await;
    assert_eq!(policies["scheduler"]["spec"]["ingress"][1]["from"].as_array().unwrap().len(), 3);
}
