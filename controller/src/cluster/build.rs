//! Builds the manifests of a cluster's components. Pure.

use dask_operator_api::meta::{self, ISTIO_INJECT, Map, component, map_of, merged, of_template};
use kube::api::ObjectMeta;
use serde_json::{Value, json};

use super::validate::ValidatedCluster;
use crate::{
    pod::{self, RestartPolicy},
    propagation::Propagation,
    template_version::TemplateVersion,
};

/// A cluster's components: their manifests, for when they are missing, and the labels and annotations of the cluster
/// that existing components receive later.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Desired {
    pub(super) scheduler: Component,
    pub(super) service: Component,
    pub(super) group: Component,
}

/// One component.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Component {
    pub(super) manifest: Value,
    labels: Map,
    annotations: Map,
    /// The version of the part of the spec that the manifest was built from.
    template: TemplateVersion,
    /// Further parts of the spec that the manifest was built from, as annotations record them.
    parts: Map,
    /// Annotations about the program that runs in the scheduler's pod.
    program: Map,
    /// Whether that program is still that of an older spec, so that its annotations stay as they are.
    program_is_old: bool,
}

impl Desired {
    /// Returns the components for a cluster whose scheduler is `live`, if there is one. It may be from an older spec, and
    /// remains until it is created again.
    pub(super) fn beside(mut self, live: Option<&ObjectMeta>) -> Self {
        self.service.program_is_old = live.is_some_and(|live| self.scheduler.is_outdated(live));
        self
    }
}

impl Component {
    /// Returns the labels and annotations that the component `live` should have. What it records about its origin
    /// changes only together with its spec. A component that an older controller created records nothing, and counts as
    /// built from the present spec.
    pub(super) fn propagated(&self, live: &ObjectMeta) -> Propagation {
        let recorded = |key: &String| live.annotations.as_ref().and_then(|annotations| annotations.get(key));
        let kept = |(key, now): (&String, &String)| (key.clone(), recorded(key).unwrap_or(now).clone());
        let parts = self.parts.iter().map(kept).collect();
        let origin = merged([&parts, &self.template.recorded(live)]);
        Propagation::new(self.labels.clone(), merged([&self.annotations, &origin, &self.program_of(live)]))
    }

    /// Like [`Component::propagated`], for a component whose spec is updated to the present one as well.
    pub(super) fn renewed(&self, live: &ObjectMeta) -> Propagation {
        Propagation::new(self.labels.clone(), merged([&self.annotations, &self.origin(), &self.program_of(live)]))
    }

    /// Returns the annotations that record what the manifest was built from.
    fn origin(&self) -> Map {
        merged([&self.parts, &self.template.annotations()])
    }

    /// Adds annotations about the program.
    fn about(mut self, program: Map) -> Self {
        let annotations = merged([&self.annotations, &self.origin(), &program]);
        self.manifest["metadata"]["annotations"] =
            json!(Propagation::new(self.labels.clone(), annotations).annotations());
        self.program = program;
        self
    }

    fn program_of(&self, live: &ObjectMeta) -> Map {
        if !self.program_is_old {
            return self.program.clone();
        }
        let annotations = live.annotations.iter().flatten();
        let kept =
            annotations.filter(|(key, _)| [meta::DASHBOARD_PREFIX, meta::DASHBOARD_PORT].contains(&key.as_str()));
        kept.map(|(key, value)| (key.clone(), value.clone())).collect()
    }

    /// Returns whether `live` was built from a spec of another meaning than the present one.
    pub(super) fn is_outdated(&self, live: &ObjectMeta) -> bool {
        self.template.is_outdated(live)
    }

    /// Returns whether `live` records another value of the part `key` than the present one.
    pub(super) fn differs_in(&self, live: &ObjectMeta, key: &str) -> bool {
        let recorded = live.annotations.as_ref().and_then(|annotations| annotations.get(key));
        recorded.is_some_and(|recorded| Some(recorded) != self.parts.get(key))
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
    let head = ("apps/v1", "Deployment", meta::scheduler_name(&cluster.name));
    let spec = json!({
        "replicas": 1,
        // Two schedulers of one cluster must never run side by side.
        "strategy": {"type": "Recreate"},
        "selector": {"matchLabels": scheduler_selector(cluster)},
        "template": {"metadata": {"labels": scheduler_pod_labels(cluster), "annotations": annotations}, "spec": pod},
    });
    let origin = Origin { template: cluster.scheduler_template.clone(), parts: Map::new() };
    component(cluster, head, (labels, annotations, origin), &spec)
}

fn build_service(cluster: &ValidatedCluster) -> Component {
    let own = &cluster.scheduler.metadata;
    let labels = merged([&cluster.labels, &of_template(&own.labels), &base(cluster, component::SCHEDULER)]);
    let annotations = merged([&cluster.annotations, &of_template(&own.annotations)]);
    let head = ("v1", "Service", meta::scheduler_name(&cluster.name));
    let service = cluster.scheduler.service.object();
    let fields = service.keys().map(String::as_str).collect::<Vec<_>>().join(",");
    let parts = map_of([(meta::SERVICE_FIELDS, &fields)]);
    let origin = Origin { template: cluster.service_template.clone(), parts };
    let service = component(cluster, head, (labels, annotations, origin), &json!(cluster.scheduler.service));
    service.about(cluster.dashboard.clone())
}

fn build_default_group(cluster: &ValidatedCluster) -> Component {
    let own = &cluster.worker.metadata;
    let labels = merged([&cluster.labels, &of_template(&own.labels), &base(cluster, component::WORKER_GROUP)]);
    let annotations = merged([&cluster.annotations, &of_template(&own.annotations)]);
    let head = ("kubernetes.dask.org/v1", "DaskWorkerGroup", meta::default_group_name(&cluster.name));
    let replicas = cluster.worker.replicas.to_string();
    let parts = map_of([(meta::CLUSTER_REPLICAS, &replicas)]);
    let origin = Origin { template: cluster.worker_template.clone(), parts };
    component(cluster, head, (labels, annotations, origin), &json!({"cluster": cluster.name, "worker": cluster.worker}))
}

/// What a component is built from.
struct Origin {
    template: TemplateVersion,
    parts: Map,
}

fn component(
    cluster: &ValidatedCluster,
    (api_version, kind, name): (&str, &str, String),
    (labels, annotations, origin): (Map, Map, Origin),
    spec: &Value,
) -> Component {
    let Origin { template, parts } = origin;
    let propagated = Propagation::new(labels.clone(), merged([&annotations, &parts, &template.annotations()]));
    let manifest = json!({
        "apiVersion": api_version,
        "kind": kind,
        "metadata": {
            "name": name,
            "namespace": cluster.namespace,
            "labels": propagated.labels(),
            "annotations": propagated.annotations(),
            "ownerReferences": [cluster.owner],
        },
        "spec": spec,
    });
    Component { manifest, labels, annotations, template, parts, program: Map::new(), program_is_old: false }
}

#[cfg(test)]
mod tests;
