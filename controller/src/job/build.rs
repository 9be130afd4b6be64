//! Builds the manifests of a job's cluster, of what the job adds to it, and of its runner. Pure.

use dask_operator_api::{
    DaskAutoscalerSpec, DaskCluster, DaskWorkerGroupSpec, TemplateMetadata,
    meta::{self, ISTIO_INJECT, Map, map_of, merged, of_template},
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use kube::Resource as _;
use serde_json::{Value, json};

use super::{
    extras::{Extra, group_name},
    labels,
    validate::ValidatedJob,
};
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
        "metadata": metadata(job, &job.name, (&labels, &annotations), std::slice::from_ref(&job.owner)),
        "spec": job.cluster.spec,
    })
}

/// Returns an object that the job's spec adds to its cluster, which has this uid if it exists already. `None` if the spec
/// has no such object.
///
/// Worker groups do not have the label `dask.org/cluster-name`: by it, clients of dask-kubernetes find the default group.
pub(super) fn build_extra(job: &ValidatedJob, cluster_uid: Option<&str>, extra: &Extra) -> Option<Value> {
    let (kind, own, spec) = match extra {
        Extra::WorkerGroup(name) => {
            let group = job.cluster.worker_groups.iter().find(|group| group.name == *name)?;
            let spec = DaskWorkerGroupSpec { cluster: job.name.clone(), worker: group.worker.clone() };
            ("DaskWorkerGroup", group.worker.metadata.clone(), json!(spec))
        }
        Extra::Autoscaler => {
            let scaler = job.cluster.autoscaler.as_ref()?;
            let spec = DaskAutoscalerSpec {
                cluster: job.name.clone(),
                minimum: scaler.minimum,
                maximum: scaler.maximum,
                worker_group: scaler.worker_group.as_ref().map(|name| group_name(&job.name, name)),
                behavior: scaler.behavior.clone(),
            };
            ("DaskAutoscaler", TemplateMetadata::default(), json!(spec))
        }
    };
    let cluster = &job.cluster.metadata;
    let labels = merged([&job.labels, &of_template(&cluster.labels), &of_template(&own.labels)]);
    let annotations = merged([&job.annotations, &of_template(&cluster.annotations), &of_template(&own.annotations)]);
    let owner = cluster_uid.map(|uid| OwnerReference {
        api_version: DaskCluster::api_version(&()).into_owned(),
        kind: DaskCluster::kind(&()).into_owned(),
        name: job.name.clone(),
        uid: uid.to_owned(),
        controller: Some(true),
        block_owner_deletion: Some(true),
    });
    Some(json!({
        "apiVersion": "kubernetes.dask.org/v1",
        "kind": kind,
        "metadata": metadata(job, &extra.object_name(&job.name), (&labels, &annotations), owner.as_slice()),
        "spec": spec,
    }))
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
    let (name, owner) = (meta::runner_name(&job.name), std::slice::from_ref(&job.owner));
    json!({
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": metadata(job, &name, (&labels, &annotations), owner),
        "spec": pod::built(job.runner.object(), &env, RestartPolicy::Kept),
    })
}

fn metadata(job: &ValidatedJob, name: &str, (labels, annotations): (&Map, &Map), owners: &[OwnerReference]) -> Value {
    json!({
        "name": name,
        "namespace": job.namespace,
        "labels": labels,
        "annotations": annotations,
        "ownerReferences": owners,
    })
}

#[cfg(test)]
pub(super) mod tests;
