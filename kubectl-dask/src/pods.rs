//! Finds the pods of a cluster.

use dask_operator_api::meta::{self, component};
use k8s_openapi::api::core::v1::Pod;
use serde_json::Value;

use crate::{
    access::Connection,
    error::Error,
    fetch::{self, Scope},
    json::{condition, is_being_deleted, label, list, name, text},
};

/// Returns the pod of the scheduler: the one that is ready, or else the newest.
pub(crate) async fn scheduler(connection: &Connection, cluster: &str) -> Result<Value, Error> {
    let pods = of_component(connection, cluster, component::SCHEDULER).await?;
    let see = format!("kubectl dask why {cluster} -n {}{}", connection.namespace, connection.options);
    newest(pods).ok_or_else(|| Error::NotFound(format!("pod of the scheduler of {cluster}; see {see}")))
}

/// Returns the pod of a worker, by its own name or that of its Deployment.
pub(crate) async fn worker(connection: &Connection, cluster: &str, worker: &str) -> Result<Value, Error> {
    let pods = of_component(connection, cluster, component::WORKER).await?;
    let names: Vec<String> = pods.iter().map(|pod| name(pod).to_owned()).collect();
    let is_meant = |pod: &Value| {
        let deployment = meta::worker_name(label(pod, meta::WORKER_GROUP), label(pod, meta::WORKER_ID));
        name(pod) == worker || deployment == worker
    };
    let meant = pods.into_iter().filter(is_meant).collect();
    newest(meant)
        .ok_or_else(|| Error::NotFound(format!("worker {worker} of {cluster}; there are {}", names.join(", "))))
}

async fn of_component(connection: &Connection, cluster: &str, component: &str) -> Result<Vec<Value>, Error> {
    let labels = format!("{}={cluster},{}={component}", meta::CLUSTER_NAME, meta::COMPONENT);
    let scope = Scope { all_namespaces: false, labels: &labels };
    let pods = fetch::list(connection, &fetch::resource::<Pod>(), scope).await;
    pods.map_err(|gap| Error::Refused(gap.why))
}

fn newest(pods: Vec<Value>) -> Option<Value> {
    pods.into_iter().max_by_key(|pod| {
        let ready = condition(pod, "Ready").is_some_and(|ready| ready.is_true());
        (!is_being_deleted(pod), ready, text(pod, "/metadata/creationTimestamp").to_owned())
    })
}

/// Returns the name of the container that runs Dask: the one that is called so, or else the first.
pub(crate) fn main_container(pod: &Value) -> &str {
    let containers = list(pod, "/spec/containers");
    let component = label(pod, meta::COMPONENT);
    let named = containers.iter().find(|container| text(container, "/name") == component);
    named.or_else(|| containers.first()).map(|container| text(container, "/name")).unwrap_or_default()
}

/// Returns the number of a port of a pod that is given as a number or by its name.
pub(crate) fn port_number(pod: &Value, port: &Value) -> Option<u16> {
    if let Some(number) = port.as_u64() {
        return u16::try_from(number).ok();
    }
    let named = |entry: &&Value| Some(text(entry, "/name")) == port.as_str();
    let ports = list(pod, "/spec/containers").iter().flat_map(|container| list(container, "/ports"));
    let entry = ports.into_iter().find(named)?;
    entry["containerPort"].as_u64().and_then(|number| u16::try_from(number).ok())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_port_is_given_by_its_number_or_its_name() {
        let ports = json!([{"name": "http-dashboard", "containerPort": 9000}]);
        let pod = json!({"spec": {"containers": [{"name": "sidecar"}, {"name": "scheduler", "ports": ports}]}});
        assert_eq!(port_number(&pod, &json!(8787)), Some(8787));
        assert_eq!(port_number(&pod, &json!("http-dashboard")), Some(9000));
        assert_eq!(port_number(&pod, &json!("other")), None);
    }

    #[test]
    fn a_pod_that_is_ready_counts_before_a_newer_one() {
        let pod = |name: &str, created: &str, ready: &str| {
            json!({"metadata": {"name": name, "creationTimestamp": created},
                "status": {"conditions": [{"type": "Ready", "status": ready}]}})
        };
        let pods = vec![pod("old", "2026-01-01T00:00:00Z", "True"), pod("new", "2026-01-02T00:00:00Z", "False")];
        assert_eq!(newest(pods).map(|pod| name(&pod).to_owned()).as_deref(), Some("old"));
    }

    #[test]
    fn the_container_that_runs_dask_is_not_a_sidecar() {
        let labels = json!({"dask.org/component": "scheduler"});
        let pod =
            json!({"metadata": {"labels": labels}, "spec": {"containers": [{"name": "proxy"}, {"name": "scheduler"}]}});
        assert_eq!(main_container(&pod), "scheduler");
    }
}
