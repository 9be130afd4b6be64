//! The objects that the watches have delivered. A step that holds nothing else cannot call the API server.

use std::sync::Arc;

use dask_operator_api::{
    DaskAutoscaler, DaskCluster, DaskJob, DaskWorkerGroup,
    meta::{self, component},
};
use dask_plugin_engine::OwnerCaches;
use k8s_openapi::api::core::v1::Service;
use kube::ResourceExt as _;
use operator_runtime::watch::Cache;

use crate::{
    pod_labels::{self, Home},
    view::{DeploymentView, PodView},
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
    /// Pods of all components, indexed for [`Caches::scheduler_pods`], [`Caches::worker_pods`] and
    /// [`Caches::astray_pods`].
    pub pods: Cache<PodView>,
    /// Pods that have the label of a cluster and not that of a component. Usually there are none.
    pub unlabelled_pods: Cache<PodView>,
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
            unlabelled_pods: Cache::new(pod_key),
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
        self.pods.indexed(&home_key(namespace, Home { component: component::SCHEDULER, name: cluster }))
    }

    /// Returns the pods of the workers of `group`.
    pub fn worker_pods(&self, namespace: &str, group: &str) -> Vec<Arc<PodView>> {
        self.pods.indexed(&home_key(namespace, Home { component: component::WORKER, name: group }))
    }

    /// Returns the pods that belong to the resource, but whose labels say something else.
    pub(crate) fn astray_pods(&self, namespace: &str, home: Home<'_>) -> Vec<Arc<PodView>> {
        let key = astray_key(&home_key(namespace, home));
        [&self.pods, &self.unlabelled_pods].into_iter().flat_map(|cache| cache.indexed(&key)).collect()
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

/// Returns the index key of a pod: of the resource that its labels name, unless the pod belongs to another one.
fn pod_key(pod: &PodView) -> Option<String> {
    let namespace = pod.namespace()?;
    let labelled = pod_labels::labelled_home(pod);
    match pod_labels::home(pod) {
        Some(home) if labelled != Some(home) => Some(astray_key(&home_key(&namespace, home))),
        _ => labelled.map(|home| home_key(&namespace, home)),
    }
}

fn home_key(namespace: &str, Home { component, name }: Home<'_>) -> String {
    format!("{component}/{namespace}/{name}")
}

fn astray_key(home: &str) -> String {
    format!("astray/{home}")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// Otherwise a cluster would take the scheduler of another one for its own, and that one would miss it.
    #[test]
    fn pods_whose_labels_say_something_else_are_found_by_their_home_only() {
        let caches = Caches::new();
        let of_demo = Home { component: component::SCHEDULER, name: "demo" };
        let pod = |labels: &[(&str, &str)]| -> PodView {
            let mut labels: std::collections::BTreeMap<_, _> = labels.iter().copied().collect();
            labels.insert("pod-template-hash", "5d8f7c");
            serde_json::from_value(json!({"metadata": {
                "name": "demo-scheduler-5d8f7c-abcde", "namespace": "ns", "labels": labels,
            }}))
            .unwrap()
        };
        let (component, cluster) = ((meta::COMPONENT, "scheduler"), (meta::CLUSTER_NAME, "demo"));
        let table: [(&[(&str, &str)], usize); 4] = [
            (&[component, cluster], 1),
            (&[component, (meta::CLUSTER_NAME, "other")], 0),
            (&[(meta::COMPONENT, "worker"), cluster], 0),
            (&[cluster], 0),
        ];
        for (labels, expected) in table {
            for cache in [&caches.pods, &caches.unlabelled_pods] {
                let event = kube::runtime::watcher::Event::Apply(pod(labels));
                cache.apply(None, event, &mut Arc::new);
            }
            assert_eq!(caches.scheduler_pods("ns", "demo").len(), expected, "{labels:?}");
            assert_eq!(caches.scheduler_pods("ns", "other").len(), 0, "{labels:?}");
            assert_eq!(caches.astray_pods("ns", of_demo).len(), 2 - 2 * expected, "{labels:?}");
        }
    }

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
