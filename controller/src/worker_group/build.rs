use serde_json::{Value, json};

use super::{scale::WorkerId, validate::ValidatedGroup};
use crate::{
    meta::{self, ISTIO_INJECT, component, map_of, merged},
    pod::{self, EnvVar, RestartPolicy},
};

/// The Deployment of one worker.
pub(super) fn build_worker(group: &ValidatedGroup, id: &WorkerId) -> Value {
    let name = format!("{}-worker-{}", group.name, id.as_str());
    let base = map_of([
        (meta::CLUSTER_NAME, &group.cluster),
        (meta::COMPONENT, component::WORKER),
        (meta::WORKER_GROUP, &group.name),
        (meta::WORKER_ID, id.as_str()),
    ]);
    let no_mesh = map_of([(ISTIO_INJECT, "false")]);
    let own = &group.worker.metadata;
    let labels = merged([&no_mesh, &group.labels, &own.labels, &base]);
    let annotations = merged([&group.annotations, &own.annotations]);
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
            "labels": labels,
            "annotations": annotations,
            "ownerReferences": [group.owner],
        },
        "spec": {
            "replicas": 1,
            // Two pods of one worker would fight for its name at the scheduler.
            "strategy": {"type": "Recreate"},
            "selector": {"matchLabels": base},
            "template": {
                "metadata": {"labels": labels, "annotations": annotations},
                "spec": pod::built(&group.worker.spec.0, &env, RestartPolicy::Always),
            },
        },
    })
}

#[cfg(test)]
mod tests;
