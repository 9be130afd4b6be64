//! What every reconciler needs: a client, the caches that its watches fill, and what it is told by flags.

use k8s_openapi::api::{apps::v1::Deployment, core::v1::Service};
use kube::{Client, Resource, ResourceExt as _, api::ObjectMeta, runtime::events::Recorder};
use serde::{Deserialize, Serialize};

use crate::{
    crd::{DaskCluster, DaskWorkerGroup},
    meta,
    watch::Cache,
};

/// The part of a Deployment that decisions depend on. The rest is not even parsed: with one Deployment a
/// worker, these are most of what the controller reads.
#[derive(Clone, Debug, Default, Serialize, Deserialize, Resource)]
#[resource(inherit = Deployment)]
pub struct DeploymentView {
    /// Its metadata.
    pub metadata: ObjectMeta,
    /// Its status.
    #[serde(default)]
    pub status: DeploymentStatusView,
}

/// The part of a Deployment's status that decisions depend on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct DeploymentStatusView {
    /// The generation that Kubernetes has begun to act on.
    pub observed_generation: Option<i64>,
    /// Ready pods.
    pub ready_replicas: Option<i64>,
}

/// What the watches have delivered.
#[derive(Clone)]
pub struct Caches {
    /// All DaskClusters.
    pub clusters: Cache<DaskCluster>,
    /// All DaskWorkerGroups, by `namespace/cluster`.
    pub groups: Cache<DaskWorkerGroup>,
    /// Scheduler Deployments.
    pub schedulers: Cache<DeploymentView>,
    /// Scheduler Services.
    pub services: Cache<Service>,
    /// Worker Deployments, by the uid of their DaskWorkerGroup.
    pub workers: Cache<DeploymentView>,
}

impl Caches {
    /// Empty caches.
    pub fn new() -> Self {
        Self {
            clusters: Cache::new(|_| None),
            groups: Cache::new(|group| Some(cluster_key(&group.namespace()?, &group.spec.cluster))),
            schedulers: Cache::new(|_| None),
            services: Cache::new(|_| None),
            workers: Cache::new(|worker| Some(meta::dask_controller(worker, "DaskWorkerGroup")?.uid.clone())),
        }
    }
}

impl Default for Caches {
    fn default() -> Self {
        Self::new()
    }
}

/// The index of [`Caches::groups`].
pub fn cluster_key(namespace: &str, cluster: &str) -> String {
    format!("{namespace}/{cluster}")
}

/// What reconcilers share.
pub struct Context {
    /// The API server.
    pub client: Client,
    /// What the watches have delivered.
    pub caches: Caches,
    /// Publishes Events.
    pub recorder: Recorder,
    /// The DNS domain of the Kubernetes cluster.
    pub cluster_domain: String,
}
