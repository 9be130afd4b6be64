//! The context that all reconcilers share: a client, the caches that the watches fill, and defaults from flags.

use std::{net::IpAddr, sync::Arc};

use dask_operator_api::{
    DaskAutoscaler, DaskCluster, DaskJob, DaskWorkerGroup, WorkerAllocation,
    meta::{self, component},
};
use dask_plugin_engine::{self as plugin, OwnerCaches};
use k8s_openapi::api::core::v1::Service;
use kube::{Client, ResourceExt as _};
use operator_runtime::{
    events::Recorder,
    fair_share::FairShare,
    leader::Leadership,
    liveness::Liveness,
    watch::{Cache, Expectations, WatchTiming},
};

use crate::{
    autoscaler, idle,
    metrics::Metrics,
    view::{DeploymentView, PodView},
    worker_group::{ConnectedWorkersCache, Losses, RemovalBackoff},
};

/// The objects that the watches have delivered.
#[derive(Clone)]
pub struct Caches {
    /// All DaskClusters.
    pub clusters: Cache<DaskCluster>,
    /// All DaskWorkerGroups, by `namespace/cluster`.
    pub groups: Cache<DaskWorkerGroup>,
    /// All DaskJobs.
    pub jobs: Cache<DaskJob>,
    /// All DaskAutoscalers, by `namespace/cluster`.
    pub autoscalers: Cache<DaskAutoscaler>,
    /// Scheduler Deployments.
    pub schedulers: Cache<DeploymentView>,
    /// Scheduler Services.
    pub services: Cache<Service>,
    /// Worker Deployments, by the uid of their DaskWorkerGroup.
    pub workers: Cache<DeploymentView>,
    /// Pods of all components, indexed for [`Caches::scheduler_pods`] and [`Caches::worker_pods`].
    pub pods: Cache<PodView>,
}

impl Caches {
    /// Creates empty caches.
    pub fn new() -> Self {
        Self {
            clusters: Cache::new(|_| None),
            groups: Cache::new(|group| Some(cluster_key(&group.namespace()?, &group.spec.cluster))),
            jobs: Cache::new(|_| None),
            autoscalers: Cache::new(|scaler| Some(cluster_key(&scaler.namespace()?, &scaler.spec.cluster))),
            schedulers: Cache::new(|_| None),
            services: Cache::new(|_| None),
            workers: Cache::new(worker_key),
            pods: Cache::new(pod_key),
        }
    }

    /// Returns the caches of Dask resources, for the plugin engine.
    pub fn owners(&self) -> OwnerCaches {
        OwnerCaches {
            clusters: self.clusters.clone(),
            groups: self.groups.clone(),
            jobs: self.jobs.clone(),
            autoscalers: self.autoscalers.clone(),
        }
    }

    /// Returns the pods of the scheduler of `cluster`.
    pub fn scheduler_pods(&self, namespace: &str, cluster: &str) -> Vec<Arc<PodView>> {
        self.pods.indexed(&format!("{}/{namespace}/{cluster}", component::SCHEDULER))
    }

    /// Returns the pods of the workers of `group`.
    pub fn worker_pods(&self, namespace: &str, group: &str) -> Vec<Arc<PodView>> {
        self.pods.indexed(&format!("{}/{namespace}/{group}", component::WORKER))
    }
}

impl Default for Caches {
    fn default() -> Self {
        Self::new()
    }
}

/// Returns the index key of [`Caches::groups`] and [`Caches::autoscalers`].
pub(crate) fn cluster_key(namespace: &str, cluster: &str) -> String {
    format!("{namespace}/{cluster}")
}

/// Returns the index key of a worker Deployment. Anyone can write owner references, so a Deployment whose name could
/// not be that of a worker of the group is ignored.
fn worker_key(worker: &DeploymentView) -> Option<String> {
    let group = meta::dask_controller(worker, "DaskWorkerGroup")?;
    meta::is_worker_name(&group.name, &worker.name_any()).then(|| group.uid.clone())
}

fn pod_key(pod: &PodView) -> Option<String> {
    let component = pod.labels().get(meta::COMPONENT)?;
    let of = if component == component::WORKER { meta::WORKER_GROUP } else { meta::CLUSTER_NAME };
    Some(format!("{component}/{}/{}", pod.namespace()?, pod.labels().get(of)?))
}

/// Defaults that are set by flags.
#[derive(Clone, Debug)]
pub(crate) struct Defaults {
    /// The DNS domain of the Kubernetes cluster.
    pub cluster_domain: String,
    /// How fast workers are created if neither the group nor the cluster specifies it.
    pub allocation: WorkerAllocation,
    /// The address of all schedulers, instead of that of their Services.
    pub scheduler_ip: Option<IpAddr>,
}

/// The state that reconcilers share.
pub(crate) struct Context {
    /// The client of the API server.
    pub client: Client,
    /// The objects that the watches have delivered.
    pub caches: Caches,
    /// The creations by this process that the watches have not reported yet.
    pub expectations: Expectations,
    /// Publishes Events.
    pub recorder: Recorder,
    /// Defaults that are set by flags.
    pub defaults: Defaults,
    /// The number of connected workers, by group.
    pub connected_workers: ConnectedWorkersCache,
    /// Backoff of worker removals that have to be retried.
    pub removal_backoff: RemovalBackoff,
    /// Limits how many schedulers groups talk to at the same time; the slots are shared among namespaces. The limit is
    /// below the number of concurrent passes, so that schedulers that hang do not delay other clusters.
    pub scheduler_limiter: FairShare,
    /// Workers that were lost, by group.
    pub losses: Losses,
    /// The recent targets that schedulers requested.
    pub autoscaling: autoscaler::ScalingHistory,
    /// The idle times that schedulers reported.
    pub idle: idle::IdleTracker,
    /// The results of plugins for Dask resources.
    pub(crate) status_store: Arc<plugin::StatusStore>,
    /// The leadership of this process.
    pub leadership: Leadership,
    /// The metrics of this process.
    pub metrics: Arc<Metrics>,
    /// The timeouts of watches.
    pub pace: WatchTiming,
    /// The progress of watches and passes.
    pub liveness: Liveness,
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_deployment_that_only_says_that_it_is_a_groups_is_none_of_its_workers() {
        let worker = |name: &str| -> DeploymentView {
            let owner = json!([{
                "apiVersion": "kubernetes.dask.org/v1", "kind": "DaskWorkerGroup", "name": "demo-default", "uid": "u",
                "controller": true,
            }]);
            serde_json::from_value(json!({"metadata": {"name": name, "namespace": "ns", "ownerReferences": owner}}))
                .unwrap()
        };
        let table = [
            ("demo-default-worker-a1b2c00000", true),
            // The name format of dask-kubernetes.
            ("demo-default-worker-0123456789", true),
            ("hostile-worker", false),
            ("other-default-worker-a1b2c00000", false),
        ];
        for (name, counts) in table {
            assert_eq!(worker_key(&worker(name)).is_some(), counts, "{name}");
        }
    }
}
