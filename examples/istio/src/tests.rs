//! Requests with settings, and the resulting objects of Istio and cert-manager.

use dask_plugin_server::protocol::{PluginResponse, ResponseStatus};
use dask_plugin_server::testing::{RequestBuilder, TestPlugin, dask_cluster, scheduler_service};
use serde_json::{Value, json};

use super::*;

mod crds;

fn from_yaml(text: &str) -> Value {
    serde_saphyr::from_str(text).unwrap()
}

async fn answer_to(request: RequestBuilder) -> PluginResponse {
    TestPlugin::new(IstioPlugin).sync(request).await
}

fn with_settings(settings: &str) -> RequestBuilder {
    RequestBuilder::sync().settings(from_yaml(settings))
}

/// Returns the DaskCluster `demo`, whose scheduler uses TLS.
fn cluster_with_tls() -> Value {
    let mut cluster = dask_cluster("demo", "team-a");
    cluster["spec"] = json!({"scheduler": {"tls": {"secretName": "dask-tls"}}});
    cluster
}

/// Returns the manifests by key, and the warnings.
async fn children_of(request: RequestBuilder) -> (Value, Vec<String>) {
    let response = answer_to(request).await;
    assert_eq!(response.status, ResponseStatus::Success, "{}", response.message);
    let children = response.children.unwrap().into_iter().map(|child| (child.key, child.manifest)).collect();
    (Value::Object(children), response.warnings)
}

/// Returns the reason and the message of the refusal.
async fn refusal_of(request: RequestBuilder) -> (String, String) {
    let response = answer_to(request).await;
    assert_eq!(response.status, ResponseStatus::Failure);
    assert_eq!(response.children, None);
    (response.reason, response.message)
}

const ISSUER: &str = "{hostPattern: '{name}.{namespace}.dask.example.org', \
                      issuerRef: {name: letsencrypt, kind: ClusterIssuer}}";
const EVERYTHING: &str = "{hostPattern: '{name}.example.org', tlsSecretName: wildcard, exposeScheduler: true, \
                          gatewaySelector: {app: gateway}, annotations: {example.org/owner: team-a}}";

#[tokio::test]
async fn a_host_pattern_and_an_issuer_result_in_a_gateway_a_route_and_a_certificate() {
    let expected = from_yaml(
        "
        gateway:
          apiVersion: networking.istio.io/v1
          kind: Gateway
          metadata: {name: demo-scheduler-plugin}
          spec:
            selector: {istio: ingressgateway}
            servers:
            - port: {number: 443, name: https-dashboard, protocol: HTTPS}
              hosts: [./demo.team-a.dask.example.org]
              tls: {mode: SIMPLE, credentialName: team-a.demo-scheduler-plugin-tls}
        virtualservice:
          apiVersion: networking.istio.io/v1
          kind: VirtualService
          metadata: {name: demo-scheduler-plugin}
          spec:
            hosts: [demo.team-a.dask.example.org]
            gateways: [demo-scheduler-plugin]
            http:
            - match: [{port: 443}]
              route: [{destination: {host: demo-scheduler, port: {number: 8787}}}]
        certificate:
          apiVersion: cert-manager.io/v1
          kind: Certificate
          metadata: {name: demo-scheduler-plugin}
          spec:
            secretName: team-a.demo-scheduler-plugin-tls
            secretTemplate: {labels: {dask.org/cluster-name: demo}}
            dnsNames: [demo.team-a.dask.example.org]
            issuerRef: {name: letsencrypt, kind: ClusterIssuer}
            usages: [digital signature, key encipherment, server auth]
        ",
    );
    assert_eq!(children_of(with_settings(ISSUER)).await, (expected, vec![]));
}

#[tokio::test]
async fn every_setting_is_used_and_a_wildcard_secret_needs_no_certificate() {
    let mut service = scheduler_service("demo", "team-a");
    service["spec"]["ports"] = from_yaml("[{name: http-dashboard, port: 80}, {name: tcp-comm, port: 9000}]");
    let expected = from_yaml(
        "
        gateway:
          apiVersion: networking.istio.io/v1
          kind: Gateway
          metadata: {name: demo-scheduler-plugin, annotations: {example.org/owner: team-a}}
          spec:
            selector: {app: gateway}
            servers:
            - port: {number: 443, name: https-dashboard, protocol: HTTPS}
              hosts: [./demo.example.org]
              tls: {mode: SIMPLE, credentialName: wildcard}
            - port: {number: 8786, name: tls-scheduler, protocol: TLS}
              hosts: [./demo.example.org]
              tls: {mode: PASSTHROUGH}
        virtualservice:
          apiVersion: networking.istio.io/v1
          kind: VirtualService
          metadata: {name: demo-scheduler-plugin, annotations: {example.org/owner: team-a}}
          spec:
            hosts: [demo.example.org]
            gateways: [demo-scheduler-plugin]
            http:
            - match: [{port: 443}]
              route: [{destination: {host: demo-scheduler, port: {number: 80}}}]
            tls:
            - match: [{port: 8786, sniHosts: [demo.example.org]}]
              route: [{destination: {host: demo-scheduler, port: {number: 9000}}}]
        ",
    );
    let request = with_settings(EVERYTHING).subject(service).owner(cluster_with_tls());
    assert_eq!(children_of(request).await, (expected, vec![]));
}

/// Any client of such a scheduler can run code on the workers.
#[tokio::test]
async fn a_scheduler_without_tls_is_not_exposed_and_a_warning_says_so() {
    let (children, warnings) = children_of(with_settings(EVERYTHING)).await;
    assert_eq!(children["gateway"]["spec"]["servers"].as_array().unwrap().len(), 1);
    assert_eq!(children["virtualservice"]["spec"].get("tls"), None);
    let warning = "the scheduler of demo is not exposed, because it does not use TLS; \
                   set spec.scheduler.tls of the DaskCluster";
    assert_eq!(warnings, [warning]);
}

#[tokio::test]
async fn a_scheduler_is_exposed_only_if_the_settings_say_so() {
    let (with_tls, warnings) = children_of(with_settings(ISSUER).owner(cluster_with_tls())).await;
    assert_eq!(warnings, Vec::<String>::new());
    assert_eq!(with_tls, children_of(with_settings(ISSUER)).await.0);
}

#[tokio::test]
async fn the_error_for_a_wrong_setting_names_it() {
    for (settings, message) in [
        ("null", "spec.settings: missing field `hostPattern`"),
        ("{hostPattern: a.b}", "spec.settings needs exactly one of issuerRef and tlsSecretName"),
        (
            "{hostPattern: a.b, tlsSecretName: a, issuerRef: {name: a, kind: Issuer}}",
            "spec.settings needs exactly one of issuerRef and tlsSecretName",
        ),
        ("{hostPattern: a.b, tlsSecretName: ''}", "spec.settings.tlsSecretName is empty; set a value"),
        (
            "{hostPattern: a.b, issuerRef: {name: '', kind: Issuer}}",
            "spec.settings.issuerRef.name is empty; set a value",
        ),
        ("{hostPattern: a.b, issuerRef: {name: a}}", "spec.settings.issuerRef: missing field `kind`"),
        ("{hostPattern: a.b, issuerRef: {name: a, kind: Other}}", "spec.settings.issuerRef.kind: unknown variant"),
        (
            "{hostPattern: a.b, issuerRef: {name: a, kind: Issuer, group: x}}",
            "spec.settings.issuerRef.group: unknown field `group`",
        ),
        (
            "{hostPattern: a.b, tlsSecretName: a, gatewaySelector: {}}",
            "spec.settings.gatewaySelector is empty; set a label or remove the setting",
        ),
        ("{hostPattern: a.b, tlsSecretName: a, exposeScheduler: 'yes'}", "spec.settings.exposeScheduler: invalid type"),
        ("{hostPattern: a.b, tlsSecret: a}", "spec.settings.tlsSecret: unknown field `tlsSecret`"),
    ] {
        let (reason, was) = refusal_of(with_settings(settings)).await;
        assert_eq!(reason, "InvalidSettings", "{settings}");
        assert!(was.starts_with(message), "{was}");
    }
}

#[tokio::test]
async fn an_invalid_host_is_refused() {
    let (reason, _) = refusal_of(with_settings("{hostPattern: '*.example.org', tlsSecretName: a}")).await;
    assert_eq!(reason, "InvalidHost");
    let (reason, _) = refusal_of(with_settings("{hostPattern: '{cluster}.org', tlsSecretName: a}")).await;
    assert_eq!(reason, "InvalidHostPattern");
}

#[tokio::test]
async fn a_service_without_a_required_port_is_refused() {
    for (ports, reason) in [
        ("[{name: tcp-comm, port: 8786}]", "NoDashboardPort"),
        ("[{name: http-dashboard, port: 8787}]", "NoCommPort"),
        ("null", "NoDashboardPort"),
    ] {
        let mut service = scheduler_service("demo", "team-a");
        service["spec"]["ports"] = from_yaml(ports);
        let (was, message) = refusal_of(with_settings(EVERYTHING).subject(service).owner(cluster_with_tls())).await;
        assert_eq!(was, reason);
        assert!(message.starts_with("the Service demo-scheduler has no port named "), "{message}");
    }
}

/// Users copy the manifest, so it must match the plugin.
#[tokio::test]
async fn the_manifest_lists_the_kinds_of_the_children() {
    let plugin = from_yaml(include_str!("../manifests/plugin.yaml"));
    let (children, _) = children_of(RequestBuilder::sync().settings(plugin["spec"]["settings"].clone())).await;
    let kinds = |objects: Vec<&Value>| -> Vec<Value> {
        objects.iter().map(|object| json!([object["apiVersion"], object["kind"]])).collect()
    };
    let mut answered = kinds(children.as_object().unwrap().values().collect());
    let mut listed = kinds(plugin["spec"]["children"].as_array().unwrap().iter().collect());
    answered.sort_by_key(Value::to_string);
    listed.sort_by_key(Value::to_string);
    assert_eq!(answered, listed);
}
