//! Builds the manifests of a cluster's components. Pure.

use dask_operator_api::meta::{self, ISTIO_INJECT, Map, component, map_of, merged, of_template};
use kube::api::ObjectMeta;
use serde_json::json;

use super::{
    component::{Component, ComponentKind},
    validate::ValidatedCluster,
};
use crate::pod::{self, RestartPolicy};

/// A cluster's components.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Desired {
    pub(super) scheduler: Component,
    pub(super) service: Component,
    pub(super) group: Component,
}

impl Desired {
    /// Returns the components for a cluster whose scheduler is `live`, if there is one. It may be from an older spec, and
    /// remains until it is created again.
    pub(super) fn beside(mut self, live: Option<&ObjectMeta>) -> Self {
        self.service.program_is_old = live.is_some_and(|live| self.scheduler.is_outdated(live));
        self
    }
}

pub(super) fn build(cluster: &ValidatedCluster) -> Desired {
    Desired {
        scheduler: build_scheduler(cluster),
        service: build_service(cluster),
        group: build_default_group(cluster),
    }
}

/// Returns the labels of the scheduler's Deployment.
fn scheduler_labels(cluster: &ValidatedCluster) -> Map {
    let no_mesh = map_of([(ISTIO_INJECT, "false")]);
    let own = of_template(&cluster.scheduler.metadata.labels);
    merged([&no_mesh, &cluster.labels, &own, &base(cluster, component::SCHEDULER)])
}

/// Returns the labels of the scheduler's pods: also those that only the Service needs. Tools prune Deployments and
/// Services by these.
pub(super) fn scheduler_pod_labels(cluster: &ValidatedCluster) -> Map {
    merged([&cluster.selected_labels, &scheduler_labels(cluster)])
}

/// Returns the labels that the scheduler's Deployment selects its pods by.
pub(super) fn scheduler_selector(cluster: &ValidatedCluster) -> Map {
    base(cluster, component::SCHEDULER)
}

fn base(cluster: &ValidatedCluster, component: &str) -> Map {
    map_of([(meta::CLUSTER_NAME, &cluster.name), (meta::COMPONENT, component)])
}

fn build_scheduler(cluster: &ValidatedCluster) -> Component {
    let labels = scheduler_labels(cluster);
    let annotations = merged([&cluster.annotations, &of_template(&cluster.scheduler.metadata.annotations)]);
    let pod = pod::built(cluster.scheduler.spec.object(), &[], RestartPolicy::Always);
    let spec = json!({
        "replicas": 1,
        // Two schedulers of one cluster must never run side by side.
        "strategy": {"type": "Recreate"},
        "selector": {"matchLabels": scheduler_selector(cluster)},
        "template": {"metadata": {"labels": scheduler_pod_labels(cluster), "annotations": annotations}, "spec": pod},
    });
    Component {
        kind: ComponentKind::Scheduler,
        namespace: cluster.namespace.clone(),
        owner: cluster.owner.clone(),
        name: meta::scheduler_name(&cluster.name),
        labels,
        annotations,
        spec,
        template: cluster.scheduler_template.clone(),
        parts: Map::new(),
        program: Map::new(),
        program_is_old: false,
    }
}

fn build_service(cluster: &ValidatedCluster) -> Component {
    let own = &cluster.scheduler.metadata;
    let labels = merged([&cluster.labels, &of_template(&own.labels), &base(cluster, component::SCHEDULER)]);
    let annotations = merged([&cluster.annotations, &of_template(&own.annotations)]);
    let service = cluster.scheduler.service.object();
    let fields = service.keys().map(String::as_str).collect::<Vec<_>>().join(",");
    Component {
        kind: ComponentKind::Service,
        namespace: cluster.namespace.clone(),
        owner: cluster.owner.clone(),
        name: meta::scheduler_name(&cluster.name),
        labels,
        annotations,
        spec: json!(cluster.scheduler.service),
        template: cluster.service_template.clone(),
        parts: map_of([(meta::SERVICE_FIELDS, &fields)]),
        program: cluster.dashboard.clone(),
        program_is_old: false,
    }
}

fn build_default_group(cluster: &ValidatedCluster) -> Component {
    let own = &cluster.worker.metadata;
    let labels = merged([&cluster.labels, &of_template(&own.labels), &base(cluster, component::WORKER_GROUP)]);
    let annotations = merged([&cluster.annotations, &of_template(&own.annotations)]);
    let replicas = cluster.worker.replicas.to_string();
    Component {
        kind: ComponentKind::Group,
        namespace: cluster.namespace.clone(),
        owner: cluster.owner.clone(),
        name: meta::default_group_name(&cluster.name),
        labels,
        annotations,
        spec: json!({"cluster": cluster.name, "worker": cluster.worker}),
        template: cluster.worker_template.clone(),
        parts: map_of([(meta::CLUSTER_REPLICAS, &replicas)]),
        program: Map::new(),
        program_is_old: false,
    }
}

#[cfg(test)]
mod tests;
