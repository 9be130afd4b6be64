//! Builds the Deployments of workers. Pure.

use dask_operator_api::meta::{self, ISTIO_INJECT, Map, component, map_of, merged, of_template};
use kube::api::ObjectMeta;
use serde_json::{Value, json};

use super::{
    scale::{self, WorkerId},
    validate::ValidatedGroup,
};
use crate::{
    dashboard,
    pod::{self, EnvVar, RestartPolicy},
    propagation::Propagation,
};

/// Returns the Deployment of one worker.
pub(super) fn build_worker(group: &ValidatedGroup, id: &WorkerId) -> Value {
    let name = meta::worker_name(&group.name, id.as_str());
    let base = map_of([
        (meta::CLUSTER_NAME, &group.cluster),
        (meta::COMPONENT, component::WORKER),
        (meta::WORKER_GROUP, &group.name),
        (meta::WORKER_ID, id.as_str()),
    ]);
    let PodMetadata { labels, annotations } = PodMetadata::of(group, &base);
    let propagated = Propagation::new(labels.clone(), merged([&annotations, &group.template.annotations()]));
    // For monitors, which find pods. It describes this pod, so that it is not among the annotations that change later.
    let dashboard = dashboard::of_worker(&group.worker.spec);
    let env = [
        EnvVar { name: "DASK_WORKER_NAME", value: name.clone() },
        EnvVar { name: "DASK_SCHEDULER_ADDRESS", value: group.scheduler_address.clone() },
    ];
    json!({
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {
            "name": name,
            "namespace": group.namespace,
            "labels": propagated.labels(),
            "annotations": propagated.annotations(),
            "ownerReferences": [group.owner],
        },
        "spec": {
            "replicas": 1,
            // Two pods of one worker would compete for its name at the scheduler.
            "strategy": {"type": "Recreate"},
            "selector": {"matchLabels": base},
            "template": {
                "metadata": {"labels": labels, "annotations": merged([&annotations, &dashboard])},
                "spec": pod::built(group.worker.spec.object(), &env, RestartPolicy::Always),
            },
        },
    })
}

/// Returns the labels and annotations that the Deployment of an existing worker should have. Its pod keeps the
/// template that it was created with.
pub(super) fn propagated(group: &ValidatedGroup, live: &ObjectMeta) -> Propagation {
    let PodMetadata { labels, annotations } = PodMetadata::of(group, &selector(group, live));
    Propagation::new(labels, merged([&annotations, &group.template.recorded(live)]))
}

/// Returns the labels that the Deployment `live` of a worker selects its pods by, as far as the controller knows them.
/// Those of dask-kubernetes select by further labels.
pub(super) fn selector(group: &ValidatedGroup, live: &ObjectMeta) -> Map {
    let mut base = map_of([
        (meta::CLUSTER_NAME, &group.cluster),
        (meta::COMPONENT, component::WORKER),
        (meta::WORKER_GROUP, &group.name),
    ]);
    if let Some(id) = id_of(group, live) {
        base.insert(meta::WORKER_ID.to_owned(), id);
    }
    base
}

/// Returns the id of the worker `live`: from its name if it was created by this program, or else from its label.
fn id_of(group: &ValidatedGroup, live: &ObjectMeta) -> Option<String> {
    let labelled = live.labels.as_ref().and_then(|labels| labels.get(meta::WORKER_ID));
    let named = || {
        let name = live.name.as_deref()?;
        let is_ours = scale::is_of_group(name, &group.name, &scale::prefix_of(&group.owner.uid));
        name.rsplit_once('-').filter(|_| is_ours).map(|(_, id)| id.to_owned())
    };
    named().or_else(|| labelled.cloned())
}

/// Labels and annotations of the pods of workers.
struct PodMetadata {
    labels: Map,
    annotations: Map,
}

impl PodMetadata {
    /// Returns those of `group`. `base` are labels that nothing overrides.
    fn of(group: &ValidatedGroup, base: &Map) -> Self {
        let no_mesh = map_of([(ISTIO_INJECT, "false")]);
        let own = &group.worker.metadata;
        Self {
            labels: merged([&no_mesh, &group.labels, &of_template(&own.labels), base]),
            annotations: merged([&group.annotations, &of_template(&own.annotations)]),
        }
    }
}

#[cfg(test)]
mod tests;
