//! What every reconciler needs: a client, the caches that its watches fill, and what it is told by flags.

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

/// What the watches have delivered.
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
    /// Pods of all components, by what [`Caches::scheduler_pods`] and [`Caches::worker_pods`] look for.
    pub pods: Cache<PodView>,
}

impl Caches {
    /// Empty caches.
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

    /// Pods of the scheduler of `cluster`.
    pub fn scheduler_pods(&self, namespace: &str, cluster: &str) -> Vec<Arc<PodView>> {
        self.pods.indexed(&format!("{}/{namespace}/{cluster}", component::SCHEDULER))
    }

    /// Pods of the workers of `group`.
    pub fn worker_pods(&self, namespace: &str, group: &str) -> Vec<Arc<PodView>> {
        self.pods.indexed(&format!("{}/{namespace}/{group}", component::WORKER))
    }
}

impl Default for Caches {
    fn default() -> Self {
        Self::new()
    }
}

/// The index of [`Caches::groups`] and [`Caches::autoscalers`].
pub fn cluster_key(namespace: &str, cluster: &str) -> String {
    format!("{namespace}/{cluster}")
}

/// Owner references are anybody's to write: a Deployment that no worker of the group could be is none.
fn worker_key(worker: &DeploymentView) -> Option<String> {
    let group = meta::dask_controller(worker, "DaskWorkerGroup")?;
    meta::is_worker_name(&group.name, &worker.name_any()).then(|| group.uid.clone())
}

fn pod_key(pod: &PodView) -> Option<String> {
    let component = pod.labels().get(meta::COMPONENT)?;
    let of = if component == component::WORKER { meta::WORKER_GROUP } else { meta::CLUSTER_NAME };
    Some(format!("{component}/{}/{}", pod.namespace()?, pod.labels().get(of)?))
}

/// What the controller is told by flags.
#[derive(Clone, Debug)]
pub struct Defaults {
    /// The DNS domain of the Kubernetes cluster.
    pub cluster_domain: String,
    /// How fast workers are made where neither group nor cluster says so.
    pub allocation: WorkerAllocation,
    /// Where schedulers listen instead of at their Service's address.
    pub scheduler_ip: Option<IpAddr>,
}

/// What reconcilers share.
pub struct Context {
    /// The API server.
    pub client: Client,
    /// What the watches have delivered.
    pub caches: Caches,
    /// What this process makes.
    pub expectations: Expectations,
    /// Publishes Events.
    pub recorder: Recorder,
    /// What the controller is told by flags.
    pub defaults: Defaults,
    /// How many workers are connected, by group.
    pub connected_workers: ConnectedWorkersCache,
    /// Removals of workers that wait.
    pub removal_backoff: RemovalBackoff,
    /// Groups may talk to so many schedulers at a time, shared by namespace: fewer than are reconciled at a time, so that
    /// schedulers that hang hold up nobody else.
    pub scheduler_limiter: FairShare,
    /// Workers that were lost, by group.
    pub losses: Losses,
    /// What schedulers asked for lately.
    pub autoscaling: autoscaler::ScalingHistory,
    /// What schedulers said of being idle.
    pub idle: idle::IdleTracker,
    /// What plugins did for Dask resources.
    pub(crate) status_store: Arc<plugin::StatusStore>,
    /// Whether this process leads.
    pub leadership: Leadership,
    /// What is counted.
    pub metrics: Arc<Metrics>,
    /// How often watches hear of the API server.
    pub pace: WatchTiming,
    /// Whether watches and passes get on.
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
            // As dask-kubernetes calls them.
            ("demo-default-worker-0123456789", true),
            ("hostile-worker", false),
            ("other-default-worker-a1b2c00000", false),
        ];
        for (name, counts) in table {
            assert_eq!(worker_key(&worker(name)).is_some(), counts, "{name}");
        }
    }
}
