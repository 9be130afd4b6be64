//! Builds the two policies of a Dask cluster.

use k8s_openapi::api::core::v1::Service;
use k8s_openapi::api::networking::v1::{
    NetworkPolicy, NetworkPolicyIngressRule, NetworkPolicyPeer, NetworkPolicyPort, NetworkPolicySpec,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use serde::Deserialize as _;
use serde_json::Value;

use crate::settings::Settings;

const CLUSTER: &str = "dask.org/cluster-name";
const COMPONENT: &str = "dask.org/component";
/// The label that Kubernetes sets on each namespace.
const NAMESPACE: &str = "kubernetes.io/metadata.name";

/// Allows all pods of the cluster, including the job runner, and clients and the operator on the ports of the Service.
pub(crate) fn of_scheduler(cluster: &str, settings: &Settings, ports: &[NetworkPolicyPort]) -> NetworkPolicy {
    let operator = NetworkPolicyPeer {
        namespace_selector: Some(labels(&[(NAMESPACE, &settings.operator_namespace)])),
        ..NetworkPolicyPeer::default()
    };
    // One rule for both: a rule with an empty list of peers would allow all clients.
    let callers = settings.clients.iter().cloned().chain([operator]).collect();
    let outside = NetworkPolicyIngressRule { from: Some(callers), ports: Some(ports.to_vec()) };
    policy(&[(CLUSTER, cluster), (COMPONENT, "scheduler")], vec![own_pods(cluster), outside])
}

/// Allows only the pods of the cluster.
pub(crate) fn of_workers(cluster: &str) -> NetworkPolicy {
    policy(&[(CLUSTER, cluster), (COMPONENT, "worker")], vec![own_pods(cluster)])
}

/// Returns the target ports of the Service. Policies apply after the address of the Service is translated.
pub(crate) fn ports_behind(service: &Value) -> Vec<NetworkPolicyPort> {
    let spec = Service::deserialize(service).ok().and_then(|service| service.spec);
    let ports = spec.and_then(|spec| spec.ports).unwrap_or_default();
    ports
        .into_iter()
        .map(|port| NetworkPolicyPort {
            port: Some(port.target_port.unwrap_or(IntOrString::Int(port.port))),
            protocol: Some(port.protocol.unwrap_or_else(|| "TCP".to_owned())),
            end_port: None,
        })
        .collect()
}

/// Allows all ports, because workers choose theirs when they start.
fn own_pods(cluster: &str) -> NetworkPolicyIngressRule {
    let pods = NetworkPolicyPeer { pod_selector: Some(labels(&[(CLUSTER, cluster)])), ..NetworkPolicyPeer::default() };
    NetworkPolicyIngressRule { from: Some(vec![pods]), ports: None }
}

/// Returns a policy. The controller sets its name, namespace, owner and labels.
fn policy(pods: &[(&str, &str)], ingress: Vec<NetworkPolicyIngressRule>) -> NetworkPolicy {
    let spec = NetworkPolicySpec {
        pod_selector: Some(labels(pods)),
        policy_types: Some(vec!["Ingress".to_owned()]),
        ingress: Some(ingress),
        egress: None,
    };
    NetworkPolicy { spec: Some(spec), ..NetworkPolicy::default() }
}

fn labels(pairs: &[(&str, &str)]) -> LabelSelector {
    let labels = pairs.iter().map(|(label, value)| ((*label).to_owned(), (*value).to_owned())).collect();
    LabelSelector { match_labels: Some(labels), match_expressions: None }
}
