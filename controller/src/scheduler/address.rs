//! The scheduler's address that workers and runners connect to.

use dask_operator_api::{SchedulerSpec, meta};
use serde_json::Value;

/// The scheduler's port if its Service names none.
const DEFAULT_PORT: u64 = 8786;

/// Returns the address of the scheduler of the cluster `name`. The port is the one that the Service names `tcp-comm`
/// or like the Service itself, as Dask's client looks it up.
pub(crate) fn scheduler_address(
    name: &str,
    scheduler: &SchedulerSpec,
    namespace: &str,
    cluster_domain: &str,
) -> String {
    let service = meta::scheduler_name(name);
    let ports = scheduler.service.field("ports");
    let ports = ports.as_array();
    let is_comm = |port: &&Value| port["name"] == "tcp-comm" || port["name"] == service.as_str();
    let port = ports.and_then(|ports| ports.iter().find(is_comm)?["port"].as_u64()).unwrap_or(DEFAULT_PORT);
    let scheme = if scheduler.tls.is_some() { "tls" } else { "tcp" };
    format!("{scheme}://{service}.{namespace}.svc.{cluster_domain}:{port}")
}

#[cfg(test)]
mod tests {
    use dask_operator_api::SchedulerTls;
    use serde_json::json;

    use super::*;
    use crate::test_fixtures::mk_cluster;

    fn address(cluster: &str, ports: Value, domain: &str) -> String {
        let mut scheduler = mk_cluster(cluster).spec.scheduler;
        scheduler.service.set("ports", ports);
        scheduler_address(cluster, &scheduler, "team-a", domain)
    }

    /// The rule of Dask's own client. A Service may list its ports in any order, and TLS schedulers may use another
    /// port.
    #[test]
    fn clients_connect_to_the_port_that_the_service_names() {
        let table = [
            (json!([{"name": "http-dashboard", "port": 8787}, {"name": "tcp-comm", "port": 9000}]), 9000),
            (json!([{"name": "http-dashboard", "port": 8787}, {"name": "demo-scheduler", "port": 9001}]), 9001),
            (json!([{"name": "other-scheduler", "port": 9002}]), 8786),
            (json!([{"port": 9003}]), 8786),
            (json!([{"name": "tcp-comm", "port": "9004"}]), 8786),
            (json!([]), 8786),
            (json!(null), 8786),
        ];
        for (ports, port) in table {
            let expected = format!("tcp://demo-scheduler.team-a.svc.cluster.local:{port}");
            assert_eq!(address("demo", ports.clone(), "cluster.local"), expected, "{ports}");
        }
    }

    #[test]
    fn the_address_is_below_the_domain_of_the_kubernetes_cluster() {
        let address = address("other", json!([]), "k8s.example.org");
        assert_eq!(address, "tcp://other-scheduler.team-a.svc.k8s.example.org:8786");
    }

    #[test]
    fn a_scheduler_with_tls_is_connected_to_with_tls() {
        let mut scheduler = mk_cluster("demo").spec.scheduler;
        scheduler.tls = Some(SchedulerTls { secret_name: "tls".to_owned() });
        let address = scheduler_address("demo", &scheduler, "ns", "cluster.local");
        assert_eq!(address, "tls://demo-scheduler.ns.svc.cluster.local:8786");
    }
}
