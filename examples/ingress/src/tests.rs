//! Requests with settings, and the resulting Ingress.

use dask_plugin_server::protocol::{PluginResponse, ResponseStatus};
use dask_plugin_server::testing::{RequestBuilder, TestPlugin, dask_cluster, scheduler_service};

use super::*;

const PATTERN: &str = "{name}.{namespace}.dask.example.org";

fn from_yaml(text: &str) -> Value {
    serde_saphyr::from_str(text).unwrap()
}

async fn answer_to(request: RequestBuilder) -> PluginResponse {
    TestPlugin::new(IngressPlugin).sync(request).await
}

/// Returns the Ingress for the cluster `demo` in `team-a` with these settings.
async fn ingress_with(settings: &str) -> Value {
    let response = answer_to(RequestBuilder::sync().settings(from_yaml(settings))).await;
    assert_eq!(response.status, ResponseStatus::Success, "{}", response.message);
    let [child] = response.children.unwrap().try_into().unwrap();
    assert_eq!(child.key, "ingress");
    child.manifest
}

/// Returns the reason and the message of the refusal.
async fn refusal_of(request: RequestBuilder) -> (String, String) {
    let response = answer_to(request).await;
    assert_eq!(response.status, ResponseStatus::Failure);
    assert_eq!(response.children, None);
    (response.reason, response.message)
}

fn with_pattern(pattern: &str) -> RequestBuilder {
    RequestBuilder::sync().settings(json!({"hostPattern": pattern}))
}

#[tokio::test]
async fn a_host_pattern_alone_gives_an_ingress_for_the_dashboard() {
    let expected = from_yaml(
        "
        apiVersion: networking.k8s.io/v1
        kind: Ingress
        spec:
          rules:
          - host: demo.team-a.dask.example.org
            http:
              paths:
              - path: /
                pathType: Prefix
                backend: {service: {name: demo-scheduler, port: {name: http-dashboard}}}
        ",
    );
    let settings = "hostPattern: '{name}.{namespace}.dask.example.org'";
    assert_eq!(ingress_with(settings).await, expected);
}

#[tokio::test]
async fn every_setting_is_used_in_the_ingress() {
    let settings = "
        hostPattern: dask-{name}.example.org
        ingressClassName: nginx
        tlsSecretName: wildcard
        annotations: {nginx.ingress.kubernetes.io/proxy-read-timeout: '3600'}
        path: /dask
        ";
    let expected = from_yaml(
        "
        apiVersion: networking.k8s.io/v1
        kind: Ingress
        metadata:
          annotations: {nginx.ingress.kubernetes.io/proxy-read-timeout: '3600'}
        spec:
          ingressClassName: nginx
          tls:
          - {hosts: [dask-demo.example.org], secretName: wildcard}
          rules:
          - host: dask-demo.example.org
            http:
              paths:
              - path: /dask
                pathType: Prefix
                backend: {service: {name: demo-scheduler, port: {name: http-dashboard}}}
        ",
    );
    assert_eq!(ingress_with(settings).await, expected);
}

#[tokio::test]
async fn the_error_for_a_wrong_setting_names_it() {
    for (settings, message) in [
        ("{}", "spec.settings: missing field `hostPattern`"),
        ("null", "spec.settings: missing field `hostPattern`"),
        ("{hostPattern: a.b, hostPatern: a.b}", "spec.settings.hostPatern: unknown field `hostPatern`"),
        ("{hostPattern: 5}", "spec.settings.hostPattern: invalid type: integer `5`, expected a string"),
        ("{hostPattern: a.b, annotations: {a: true}}", "spec.settings.annotations.a: invalid type: boolean `true`"),
        ("{hostPattern: a.b, path: dask}", "spec.settings.path is \"dask\"; start it with a slash"),
        (
            "{hostPattern: a.b, tlsSecretName: ''}",
            "spec.settings.tlsSecretName is empty; set a value or remove the setting",
        ),
    ] {
        let request = RequestBuilder::sync().settings(from_yaml(settings));
        let (reason, was) = refusal_of(request).await;
        assert_eq!(reason, "InvalidSettings", "{settings}");
        assert!(was.starts_with(message), "{was}");
    }
}

#[tokio::test]
async fn a_pattern_with_an_unknown_placeholder_or_an_unmatched_brace_is_refused() {
    for (pattern, problem) in [
        ("{cluster}.example.org", "has the unknown placeholder {cluster}"),
        ("{}.example.org", "has the unknown placeholder {}"),
        ("{name.example.org", "has a { without }"),
        ("name}.example.org", "has a } without {"),
    ] {
        let (reason, message) = refusal_of(with_pattern(pattern)).await;
        assert_eq!(reason, "InvalidHostPattern");
        let expected = format!("spec.settings.hostPattern {pattern:?} {problem}; use only {{name}} and {{namespace}}");
        assert_eq!(message, expected);
    }
}

#[tokio::test]
async fn the_error_for_an_invalid_host_names_the_invalid_part() {
    let long_label = format!("{}.org", "a".repeat(64));
    let long_host = format!("{}org", "a.".repeat(126));
    for (pattern, problem) in [
        ("", "has an empty part"),
        ("{name}..org", "has an empty part"),
        ("{name}.org.", "has an empty part"),
        ("192.0.2.1", "is an IP address"),
        ("*.example.org", "has the part \"*\""),
        ("{name}.Example.org", "has the part \"Example\""),
        ("{name}_x.org", "has the part \"demo_x\""),
        ("{name}-.org", "has the part \"demo-\""),
        ("-{name}.org", "has the part \"-demo\""),
        ("{name}.org/dask", "has the part \"org/dask\""),
        (&long_label, "which is longer than 63 characters"),
        (&long_host, "is longer than 253 characters"),
    ] {
        let (reason, message) = refusal_of(with_pattern(pattern)).await;
        assert_eq!(reason, "InvalidHost", "{pattern}");
        assert!(message.contains(problem), "{message}");
        assert!(message.ends_with(&format!("change spec.settings.hostPattern {pattern:?}")));
    }
}

/// A pattern can be good for all clusters but one with a long name.
#[tokio::test]
async fn the_longest_names_that_dns_allows_are_accepted() {
    for length in [63, 64] {
        let name = "a".repeat(length);
        let request =
            with_pattern(PATTERN).subject(scheduler_service(&name, "team-a")).owner(dask_cluster(&name, "team-a"));
        let status = answer_to(request).await.status;
        assert_eq!(status == ResponseStatus::Success, length == 63, "{length}");
    }
}

#[tokio::test]
async fn a_service_without_the_dashboard_port_is_refused() {
    let mut without = scheduler_service("demo", "team-a");
    without["spec"]["ports"].as_array_mut().unwrap().pop();
    let mut no_ports = scheduler_service("demo", "team-a");
    no_ports["spec"].as_object_mut().unwrap().remove("ports");
    for service in [without, no_ports] {
        let (reason, message) = refusal_of(with_pattern(PATTERN).subject(service)).await;
        assert_eq!(reason, "NoDashboardPort");
        assert!(message.starts_with("the Service demo-scheduler has no port named http-dashboard;"));
    }
}

/// Users copy the manifest, so it must match the plugin.
#[tokio::test]
async fn the_settings_in_the_manifest_give_an_ingress() {
    let plugin: Value = from_yaml(include_str!("../manifests/plugin.yaml"));
    let request = RequestBuilder::sync().settings(plugin["spec"]["settings"].clone());
    assert_eq!(answer_to(request).await.status, ResponseStatus::Success);
}
