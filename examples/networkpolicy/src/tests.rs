//! Requests with settings, and the resulting network policies.

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

/// Returns the manifests by key.
async fn children_of(request: RequestBuilder) -> Value {
    let response = answer_to(request).await;
    assert_eq!(response.status, ResponseStatus::Success, "{}", response.message);
    response.children.unwrap().into_iter().map(|child| (child.key, child.manifest)).collect()
}

/// Returns the reason and the message of the refusal.
async fn refusal_of(request: RequestBuilder) -> (String, String) {
    let response = answer_to(request).await;
    assert_eq!(response.status, ResponseStatus::Failure);
    assert_eq!(response.children, None);
    (response.reason, response.message)
}

#[tokio::test]
async fn without_settings_only_the_pods_of_the_cluster_and_the_operator_are_allowed() {
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
    assert_eq!(children_of(RequestBuilder::sync()).await, expected);
}

#[tokio::test]
async fn clients_may_connect_to_the_scheduler_but_not_to_the_workers() {
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
    let policies = children_of(RequestBuilder::sync().settings(settings)).await;
    assert_eq!(policies["scheduler"]["spec"]["ingress"][1]["from"], peers);
    assert_eq!(policies["workers"], children_of(RequestBuilder::sync()).await["workers"]);
}

/// Policies apply to the port of the pod, not to that of the Service.
#[tokio::test]
async fn the_ports_are_the_target_ports_of_the_service() {
    for (ports, expected) in [
        ("[{name: a, port: 80, targetPort: 8787}]", "[{port: 8787, protocol: TCP}]"),
        ("[{name: a, port: 8786}]", "[{port: 8786, protocol: TCP}]"),
        ("[{name: a, port: 1, targetPort: x, protocol: UDP}]", "[{port: x, protocol: UDP}]"),
    ] {
        let mut service = scheduler_service("demo", "team-a");
        service["spec"]["ports"] = from_yaml(ports);
        let policies = children_of(RequestBuilder::sync().subject(service)).await;
        assert_eq!(policies["scheduler"]["spec"]["ingress"][1]["ports"], from_yaml(expected));
    }
}

#[tokio::test]
async fn a_service_without_ports_is_refused() {
    for ports in ["[]", "null"] {
        let mut service = scheduler_service("demo", "team-a");
        service["spec"]["ports"] = from_yaml(ports);
        let (reason, message) = refusal_of(RequestBuilder::sync().subject(service)).await;
        assert_eq!(reason, "NoPorts");
        assert!(message.starts_with("the Service demo-scheduler has no ports; "), "{message}");
    }
}

/// Each of these would allow more clients than intended.
#[tokio::test]
async fn the_error_for_a_wrong_setting_names_it() {
    let both = "spec.settings.clients[0] needs either selectors or an ipBlock";
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
        ("{operatorNamespace: ''}", "spec.settings.operatorNamespace is empty; set a value or remove the setting"),
        ("{client: []}", "spec.settings.client: unknown field `client`"),
    ] {
        let (reason, was) = refusal_of(RequestBuilder::sync().settings(from_yaml(settings))).await;
        assert_eq!(reason, "InvalidSettings", "{settings}");
        assert!(was.starts_with(message), "{was}");
    }
}

/// Users copy the manifest, so it must match the plugin.
#[tokio::test]
async fn the_settings_in_the_manifest_allow_two_kinds_of_clients() {
    let plugin = from_yaml(include_str!("../manifests/plugin.yaml"));
    let policies = children_of(RequestBuilder::sync().settings(plugin["spec"]["settings"].clone())).await;
    assert_eq!(policies["scheduler"]["spec"]["ingress"][1]["from"].as_array().unwrap().len(), 3);
}
