//! Builds the manifests of a job's cluster, of what the job adds to it, and of its runner. Pure.

use dask_operator_api::{
    DaskAutoscaler, DaskAutoscalerSpec, DaskCluster, DaskWorkerGroup, DaskWorkerGroupSpec, TemplateMetadata,
    meta::{self, ISTIO_INJECT, Map, map_of, merged, of_template},
};
use k8s_openapi::{api::core::v1::Pod, apimachinery::pkg::apis::meta::v1::OwnerReference};
use kube::{Resource as _, core::ApiResource};
use serde_json::{Value, json};

use super::{
    extras::{Extra, group_name},
    identity::{self, PREDECESSORS},
    validate::ValidatedJob,
};
use crate::{
    field_warnings::{self, Origin},
    pod::{self, EnvVar, RestartPolicy},
};

/// The kinds of objects that a job creates.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ChildKind {
    Cluster,
    Runner,
    WorkerGroup,
    Autoscaler,
}

impl ChildKind {
    pub(super) fn resource(self) -> ApiResource {
        match self {
            Self::Cluster => ApiResource::erase::<DaskCluster>(&()),
            Self::Runner => ApiResource::erase::<Pod>(&()),
            Self::WorkerGroup => ApiResource::erase::<DaskWorkerGroup>(&()),
            Self::Autoscaler => ApiResource::erase::<DaskAutoscaler>(&()),
        }
    }

    /// Returns the part of the job that objects of this kind come from.
    pub(super) fn origin(self) -> Origin {
        match self {
            Self::Cluster => field_warnings::JOB_CLUSTER,
            Self::Runner => field_warnings::RUNNER,
            Self::WorkerGroup => field_warnings::JOB_WORKER_GROUP,
            Self::Autoscaler => field_warnings::JOB_AUTOSCALER,
        }
    }
}

/// An object that a job creates.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Child {
    pub(super) kind: ChildKind,
    pub(super) manifest: Value,
}

/// The metadata of a child.
struct ChildMetadata {
    name: String,
    labels: Map,
    annotations: Map,
    /// The object that controls it; `None` if it does not exist yet.
    owner: Option<OwnerReference>,
}

pub(super) fn build_cluster(job: &ValidatedJob) -> Child {
    let own = &job.cluster.metadata;
    let labels = merged([&job.labels, &of_template(&own.labels), &identity::of_cluster(&job.name)]);
    let mut annotations = merged([&job.annotations, &of_template(&own.annotations)]);
    if !job.selected_labels.is_empty() {
        annotations.insert(meta::SELECTED_LABELS.to_owned(), json!(job.selected_labels).to_string());
    }
    let metadata = ChildMetadata { name: job.name.clone(), labels, annotations, owner: Some(job.owner.clone()) };
    child(job, ChildKind::Cluster, &metadata, &json!(job.cluster.spec))
}

/// Returns an object that the job's spec adds to its cluster, which has this uid if it exists already. `None` if the spec
/// has no such object.
///
/// Worker groups do not have the label `dask.org/cluster-name`: by it, clients of dask-kubernetes find the default group.
pub(super) fn build_extra(job: &ValidatedJob, cluster_uid: Option<&str>, extra: &Extra) -> Option<Child> {
    let (kind, own, spec) = match extra {
        Extra::WorkerGroup(name) => {
            let group = job.cluster.worker_groups.iter().find(|group| group.name == *name)?;
            let spec = DaskWorkerGroupSpec { cluster: job.name.clone(), worker: group.worker.clone() };
            (ChildKind::WorkerGroup, group.worker.metadata.clone(), json!(spec))
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
            (ChildKind::Autoscaler, TemplateMetadata::default(), json!(spec))
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
    let metadata = ChildMetadata { name: extra.object_name(&job.name), labels, annotations, owner };
    Some(child(job, kind, &metadata, &spec))
}

/// Returns the runner that follows `predecessors` failed ones.
pub(super) fn build_runner(job: &ValidatedJob, predecessors: i64) -> Child {
    let no_mesh = map_of([(ISTIO_INJECT, "false")]);
    let own = &job.runner_metadata;
    let labels = merged([&no_mesh, &job.labels, &of_template(&own.labels), &identity::of_runner(&job.name)]);
    let mut annotations = merged([&job.annotations, &of_template(&own.annotations)]);
    if predecessors > 0 {
        annotations.insert(PREDECESSORS.to_owned(), predecessors.to_string());
    }
    let env = [EnvVar { name: "DASK_SCHEDULER_ADDRESS", value: job.scheduler_address.clone() }];
    let name = meta::runner_name(&job.name);
    let metadata = ChildMetadata { name, labels, annotations, owner: Some(job.owner.clone()) };
    child(job, ChildKind::Runner, &metadata, &pod::built(job.runner.object(), &env, RestartPolicy::Kept))
}

fn child(job: &ValidatedJob, kind: ChildKind, metadata: &ChildMetadata, spec: &Value) -> Child {
    let ApiResource { api_version, kind: name, .. } = kind.resource();
    let manifest = json!({
        "apiVersion": api_version,
        "kind": name,
        "metadata": {
            "name": metadata.name,
            "namespace": job.namespace,
            "labels": metadata.labels,
            "annotations": metadata.annotations,
            "ownerReferences": metadata.owner.as_slice(),
        },
        "spec": spec,
    });
    Child { kind, manifest }
}

#[cfg(test)]
pub(super) mod tests;
