//! Builds the manifests of a job's cluster and runner. Pure.

use dask_operator_api::meta::{self, ISTIO_INJECT, Map, map_of, merged, of_template};
use serde_json::{Value, json};

use super::{labels, validate::ValidatedJob};
use crate::pod::{self, EnvVar, RestartPolicy};

/// Annotation with the number of failed runners that a runner replaces. It distinguishes a runner whose failure was
/// counted from its replacement, which has the same name.
pub(super) const PREDECESSORS: &str = "dask.org/failed-runners";

pub(super) fn build_cluster(job: &ValidatedJob) -> Value {
    let own = &job.cluster.metadata;
    let labels = merged([&job.labels, &of_template(&own.labels), &labels::of_cluster(&job.name)]);
    let mut annotations = merged([&job.annotations, &of_template(&own.annotations)]);
    if !job.selected_labels.is_empty() {
        annotations.insert(meta::SELECTED_LABELS.to_owned(), json!(job.selected_labels).to_string());
    }
    json!({
        "apiVersion": "kubernetes.dask.org/v1",
        "kind": "DaskCluster",
        "metadata": metadata(job, &job.name, &labels, &annotations),
        "spec": job.cluster.spec,
    })
}

/// Returns the runner that follows `predecessors` failed ones.
pub(super) fn build_runner(job: &ValidatedJob, predecessors: i64) -> Value {
    let no_mesh = map_of([(ISTIO_INJECT, "false")]);
    let own = &job.runner_metadata;
    let labels = merged([&no_mesh, &job.labels, &of_template(&own.labels), &labels::of_runner(&job.name)]);
    let mut annotations = merged([&job.annotations, &of_template(&own.annotations)]);
    if predecessors > 0 {
        annotations.insert(PREDECESSORS.to_owned(), predecessors.to_string());
    }
    let env = [EnvVar { name: "DASK_SCHEDULER_ADDRESS", value: job.scheduler_address.clone() }];
    json!({
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": metadata(job, &meta::runner_name(&job.name), &labels, &annotations),
        "spec": pod::built(job.runner.object(), &env, RestartPolicy::Kept),
    })
}

fn metadata(job: &ValidatedJob, name: &str, labels: &Map, annotations: &Map) -> Value {
    json!({
        "name": name,
        "namespace": job.namespace,
        "labels": labels,
        "annotations": annotations,
        "ownerReferences": [job.owner],
    })
}

#[cfg(test)]
pub(super) mod tests;
