//! Determines the address of a scheduler from its Service.

use std::net::IpAddr;

use dask_operator_api::meta::{DASHBOARD_PORT, DASHBOARD_PREFIX};
use dask_scheduler_client::Endpoint;
use k8s_openapi::api::core::v1::{Service, ServicePort};
use kube::ResourceExt as _;

use crate::dashboard;

/// The ports if the Service does not name them: Dask's own defaults.
const DEFAULT_PORT: u16 = 8786;
const DEFAULT_HTTP_PORT: u16 = 8787;

/// Returns where the scheduler behind `service` listens, without TLS. `None` if the Service has no port for it or is
/// of type `ExternalName`. Users choose the type, and such a Service could direct the controller to any DNS name.
///
/// The ports are looked up as Dask's own client does: by their names, or by the name of the Service. The Service's
/// annotations say what the scheduler's command line changes.
pub(crate) fn endpoint_of(
    service: &Service,
    cluster_domain: &str,
    address_override: Option<IpAddr>,
) -> Option<Endpoint> {
    let name = service.name_any();
    let spec = service.spec.as_ref()?;
    if spec.type_.as_deref() == Some("ExternalName") {
        return None;
    }
    let ports = spec.ports.as_deref().unwrap_or_default();
    let comm = named(ports, &["tcp-comm", &name]).or_else(|| numbered(ports, DEFAULT_PORT))?;
    let annotations = service.annotations();
    let http = annotations.get(DASHBOARD_PORT).and_then(|name| named(ports, &[name]));
    let http = http.or_else(|| named(ports, &["http-dashboard"])).or_else(|| numbered(ports, DEFAULT_HTTP_PORT));
    let http_prefix =
        annotations.get(DASHBOARD_PREFIX).and_then(|prefix| dashboard::cleaned(prefix)).unwrap_or_default();
    let cluster_ip = spec.cluster_ip.clone().filter(|ip| !ip.is_empty() && ip != "None");
    let host = address_override.map(|address| address.to_string()).or(cluster_ip).unwrap_or_else(|| {
        let namespace = service.namespace().unwrap_or_default();
        format!("{name}.{namespace}.svc.{cluster_domain}")
    });
    Some(Endpoint { host, port: comm, http_port: http.filter(|port| *port != comm), http_prefix, tls: None })
}

fn named(ports: &[ServicePort], names: &[&str]) -> Option<u16> {
    let port = ports.iter().find(|port| port.name.as_deref().is_some_and(|name| names.contains(&name)))?;
    u16::try_from(port.port).ok()
}

fn numbered(ports: &[ServicePort], number: u16) -> Option<u16> {
    ports.iter().any(|port| port.port == i32::from(number)).then_some(number)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn service(cluster_ip: &Value, ports: &Value) -> Service {
        serde_json::from_value(json!({
            "metadata": {"name": "demo-scheduler", "namespace": "team-a"},
            "spec": {"clusterIP": cluster_ip, "ports": ports},
        }))
        .unwrap()
    }

    fn ports(ports: &Value) -> Option<(u16, Option<u16>)> {
        let endpoint = endpoint_of(&service(&json!("10.0.0.1"), ports), "cluster.local", None)?;
        Some((endpoint.port, endpoint.http_port))
    }

    /// Users may name ports freely, and Dask's client finds them by these rules.
    #[test]
    fn the_ports_are_found_by_name_and_else_by_number() {
        let table = [
            (
                json!([{"name": "http-dashboard", "port": 80}, {"name": "tcp-comm", "port": 9000}]),
                Some((9000, Some(80))),
            ),
            (json!([{"name": "demo-scheduler", "port": 9001}]), Some((9001, None))),
            (json!([{"name": "x", "port": 8786}, {"name": "tcp-comm", "port": 9002}]), Some((9002, None))),
            (json!([{"name": "x", "port": 8786}, {"name": "y", "port": 8787}]), Some((8786, Some(8787)))),
            (json!([{"port": 8786}]), Some((8786, None))),
            (json!([{"name": "tcp-comm", "port": 8787}]), Some((8787, None))),
            (json!([{"name": "other", "port": 9003}]), None),
            (json!([{"name": "http-dashboard", "port": 8787}]), None),
            (json!([{"name": "tcp-comm", "port": 65536}]), None),
            (json!([]), None),
            (json!(null), None),
        ];
        for (given, expected) in table {
            assert_eq!(ports(&given), expected, "{given}");
        }
        assert!(endpoint_of(&Service::default(), "cluster.local", None).is_none());
    }

    #[test]
    fn the_dashboard_is_where_the_annotations_say() {
        let endpoint = |annotations: &Value| {
            let ports = json!([{"name": "tcp-comm", "port": 8786}, {"name": "http-dashboard", "port": 8787},
                {"name": "ui", "port": 80}]);
            let mut service = service(&json!("10.0.0.1"), &ports);
            service.metadata.annotations = serde_json::from_value(annotations.clone()).unwrap();
            let endpoint = endpoint_of(&service, "cluster.local", None).unwrap();
            (endpoint.http_port, endpoint.http_prefix)
        };
        let table = [
            (json!({}), (Some(8787), "")),
            (json!({DASHBOARD_PREFIX: "/p"}), (Some(8787), "/p")),
            (json!({DASHBOARD_PORT: "ui", DASHBOARD_PREFIX: "/p/"}), (Some(80), "/p")),
            (json!({DASHBOARD_PORT: "gone", DASHBOARD_PREFIX: "/p?x="}), (Some(8787), "")),
            (json!({DASHBOARD_PORT: "tcp-comm"}), (None, "")),
        ];
        for (annotations, (port, prefix)) in table {
            assert_eq!(endpoint(&annotations), (port, prefix.to_owned()), "{annotations}");
        }
    }

    /// The controller can reach addresses that its users cannot.
    #[test]
    fn a_service_that_is_a_name_of_elsewhere_has_no_endpoint() {
        let mut service = service(&json!(null), &json!([{"name": "tcp-comm", "port": 8786}]));
        let spec = service.spec.as_mut().unwrap();
        spec.type_ = Some("ExternalName".to_owned());
        spec.external_name = Some("metadata.example.org".to_owned());
        assert!(endpoint_of(&service, "cluster.local", None).is_none());
        service.spec.as_mut().unwrap().type_ = Some("ClusterIP".to_owned());
        assert!(endpoint_of(&service, "cluster.local", None).is_some());
    }

    #[test]
    fn the_host_is_the_override_or_the_address_of_the_service_or_its_name() {
        let table = [
            (json!("10.0.0.1"), Some("192.168.0.1"), "192.168.0.1:8786"),
            (json!("10.0.0.1"), None, "10.0.0.1:8786"),
            (json!("fd00::1"), None, "[fd00::1]:8786"),
            (json!("None"), None, "demo-scheduler.team-a.svc.k8s.example.org:8786"),
            (json!(""), None, "demo-scheduler.team-a.svc.k8s.example.org:8786"),
            (json!(null), None, "demo-scheduler.team-a.svc.k8s.example.org:8786"),
            (json!("None"), Some("::1"), "[::1]:8786"),
        ];
        for (cluster_ip, address, expected) in table {
            let service = service(&cluster_ip, &json!([{"name": "tcp-comm", "port": 8786}]));
            let address = address.map(|address| address.parse().unwrap());
            let endpoint = endpoint_of(&service, "k8s.example.org", address).unwrap();
            assert_eq!(endpoint.to_string(), expected, "{cluster_ip} {address:?}");
        }
    }
}
