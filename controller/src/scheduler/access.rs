//! Creates clients of the schedulers of clusters, and decides whether a scheduler runs.

use std::{net::IpAddr, sync::Arc};

use dask_operator_api::{DaskCluster, SchedulerTls, meta};
use dask_scheduler_client::{Client, Endpoint, Error, tls_config};
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::{Secret, Service};
use kube::{Api, ResourceExt as _};
use operator_runtime::{k8s, watch::Cache};

use super::endpoint_of;
use crate::{defaults::Defaults, view::PodView};

/// Makes clients of schedulers. The API server is only asked for the Secret of a scheduler that listens with TLS.
#[derive(Clone)]
pub(crate) struct SchedulerClients {
    api_server: kube::Client,
    services: Cache<Service>,
    cluster_domain: String,
    address_override: Option<IpAddr>,
}

impl SchedulerClients {
    /// Returns a maker of clients that finds schedulers by their `services`.
    pub(crate) fn new(api_server: kube::Client, services: Cache<Service>, defaults: &Defaults) -> Self {
        let (cluster_domain, address_override) = (defaults.cluster_domain.clone(), defaults.scheduler_ip);
        Self { api_server, services, cluster_domain, address_override }
    }

    /// Returns a client of the scheduler of `cluster`. It connects to the scheduler's Service. If the scheduler listens
    /// with TLS, the client uses the certificate from the Secret that the cluster names.
    pub(crate) async fn of(&self, cluster: &DaskCluster) -> Result<Client, Error> {
        let namespace = cluster.namespace().unwrap_or_default();
        let name = meta::scheduler_name(&cluster.name_any());
        let service = self.services.get(&namespace, &name);
        let endpoint =
            service.as_deref().and_then(|service| endpoint_of(service, &self.cluster_domain, self.address_override));
        let Some(mut endpoint) = endpoint else {
            let cause = "there is no Service with a port named tcp-comm, or it is of type ExternalName".to_owned();
            return Err(Error::Connect { address: name, cause });
        };
        if let Some(SchedulerTls { secret_name }) = &cluster.spec.scheduler.tls {
            self.add_certificates(&mut endpoint, &namespace, secret_name).await?;
        }
        Ok(Client::new(endpoint))
    }

    /// Reads the certificates for TLS from a Secret.
    async fn add_certificates(&self, endpoint: &mut Endpoint, namespace: &str, secret_name: &str) -> Result<(), Error> {
        if !meta::is_object_name(secret_name) {
            let cause =
                "scheduler.tls.secretName is not the name of a Secret: it must consist of a-z, 0-9, '-' and '.'";
            return Err(Error::Certificates(cause.to_owned()));
        }
        let api: Api<Secret> = Api::namespaced(self.api_server.clone(), namespace);
        let secret = k8s::timed("get", &format!("Secret {secret_name}"), api.get(secret_name)).await;
        let secret = secret.map_err(|error| Error::Certificates(error.message()))?;
        let key = |key: &str| {
            let found = secret.data.as_ref().and_then(|data| data.get(key));
            found
                .map(|bytes| bytes.0.as_slice())
                .ok_or_else(|| Error::Certificates(format!("the Secret {secret_name} has no key {key}")))
        };
        endpoint.tls = Some(tls_config(key("ca.crt")?, key("tls.crt")?, key("tls.key")?)?);
        Ok(())
    }
}

/// Returns whether the container of a scheduler runs in one of `pods`. If not, all data of its workers is lost
/// already: a new scheduler does not know the old one's results.
pub(crate) fn is_running(cluster: &DaskCluster, pods: &[Arc<PodView>]) -> bool {
    let containers = cluster.spec.scheduler.spec.field("containers");
    let name = containers[0]["name"].as_str().unwrap_or_default();
    pods.iter().any(|pod| {
        let containers = &pod.status.container_statuses;
        // The container may have another name in a pod that was created from an older spec.
        let is_known = containers.iter().any(|container| container.name == name);
        containers.iter().any(|container| container.is_running() && (container.name == name || !is_known))
    })
}

/// How long a scheduler that has just started need not answer. On a busy node it takes seconds to import Dask.
const START_GRACE: SignedDuration = SignedDuration::from_secs(30);

/// Returns whether a container of the scheduler started so recently that it need not answer yet. A time far in the future
/// is that of a wrong clock.
pub(crate) fn is_starting(pods: &[Arc<PodView>], now: Timestamp) -> bool {
    let containers = pods.iter().filter(|pod| !pod.has_ended()).flat_map(|pod| &pod.status.container_statuses);
    let starts = containers.filter_map(|container| container.state.as_ref()?.running.as_ref()?.started_at.as_ref());
    starts.map(|start| now.duration_since(start.0).abs()).any(|age| age < START_GRACE)
}

/// Returns whether there is exactly one scheduler, and it is ready. With two, it is undefined which one the Service
/// would reach. Pods that have ended are ignored, because evicted ones, for example, may exist for long.
pub(crate) fn is_ready(pods: &[Arc<PodView>]) -> bool {
    let mut running = pods.iter().filter(|pod| !pod.has_ended());
    running.next().is_some_and(|pod| pod.is_ready()) && running.next().is_none()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::test_fixtures::mk_cluster;

    #[test]
    fn a_scheduler_is_starting_for_a_while_after_its_container_started() {
        let now: Timestamp = "2026-11-23T09:00:30Z".parse().unwrap();
        let pod = |state: serde_json::Value| {
            let status = json!({"containerStatuses": [{"name": "scheduler", "state": state}]});
            vec![Arc::new(serde_json::from_value(json!({"metadata": {}, "status": status})).unwrap())]
        };
        let started = |at: &str| pod(json!({"running": {"startedAt": at}}));
        assert!(is_starting(&started("2026-11-23T09:00:29Z"), now));
        assert!(is_starting(&started("2026-11-23T09:00:35Z"), now), "clocks differ a little");
        assert!(!is_starting(&started("2026-11-23T09:00:00Z"), now));
        assert!(!is_starting(&started("2026-11-24T09:00:00Z"), now), "the clock of the node is wrong");
        assert!(!is_starting(&pod(json!({"waiting": {}})), now));
        assert!(!is_starting(&[], now));
    }

    /// With a question mark in the name, the request for one Secret would become a list request.
    #[tokio::test]
    async fn a_secret_whose_name_is_none_is_not_asked_for() {
        let answer = |_: &axum::http::Method, _: &str| panic!("it was asked for");
        let (shared, _) = crate::stub_api_server::mk_shared(answer).await;
        let service = serde_json::from_value(json!({
            "metadata": {"name": "demo-scheduler", "namespace": "ns"},
            "spec": {"ports": [{"name": "tcp-comm", "port": 8786}]},
        }));
        let event = kube::runtime::watcher::Event::Apply(service.unwrap());
        shared.caches.services.apply(None, event, &mut Arc::new);
        let mut cluster = mk_cluster("demo");
        for name in ["", "?limit=500", "../pods/a", "a/b"] {
            cluster.spec.scheduler.tls = Some(SchedulerTls { secret_name: name.to_owned() });
            let error = shared.schedulers().of(&cluster).await.unwrap_err();
            assert!(error.to_string().contains("scheduler.tls.secretName"), "{name}: {error}");
        }
    }

    fn runs(containers: &[(&str, &str)]) -> bool {
        let status = |(name, state): &(&str, &str)| json!({"name": name, "state": {*state: {}}});
        let statuses: Vec<_> = containers.iter().map(status).collect();
        let pod = json!({"metadata": {}, "status": {"containerStatuses": statuses}});
        is_running(&mk_cluster("demo"), &[Arc::new(serde_json::from_value(pod).unwrap())])
    }

    #[test]
    fn only_the_schedulers_own_container_counts() {
        assert!(runs(&[("scheduler", "running")]));
        assert!(!runs(&[("scheduler", "waiting")]));
        assert!(!runs(&[("scheduler", "waiting"), ("istio-proxy", "running")]));
        assert!(!is_running(&mk_cluster("demo"), &[]));
    }

    /// If it counted as gone, busy workers would be deleted without asking it.
    #[test]
    fn a_scheduler_of_an_older_spec_runs_whatever_its_container_is_called() {
        assert!(runs(&[("old-name", "running")]));
        assert!(!runs(&[("old-name", "terminated")]));
    }

    fn pod(phase: &str, ready: &str) -> Arc<PodView> {
        let conditions = json!([{"type": "Ready", "status": ready}, {"type": "ContainersReady", "status": ready}]);
        let status = json!({"phase": phase, "conditions": conditions});
        Arc::new(serde_json::from_value(json!({"metadata": {}, "status": status})).unwrap())
    }

    /// An evicted pod exists until it is deleted.
    #[test]
    fn the_scheduler_is_ready_if_exactly_one_pod_has_not_ended_and_is_ready() {
        let (ready, starting, evicted) = (pod("Running", "True"), pod("Running", "False"), pod("Failed", "False"));
        assert!(!is_ready(&[]));
        assert!(is_ready(&[Arc::clone(&ready)]));
        assert!(!is_ready(&[Arc::clone(&starting)]));
        assert!(!is_ready(&[Arc::clone(&ready), starting]));
        assert!(!is_ready(&[Arc::clone(&ready), Arc::clone(&ready)]));
        assert!(is_ready(&[evicted, ready]));
    }
}
