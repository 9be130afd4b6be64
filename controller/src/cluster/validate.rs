//! Validates a cluster and computes what its components are built from. Pure.

use dask_operator_api::{
    DaskCluster, SchedulerSpec, ServiceSpec, WorkerSpec,
    kubernetes::canonical_service_spec,
    meta::{self, Map},
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use kube::ResourceExt as _;
use operator_runtime::rejection::Rejection;
use serde_json::json;

use crate::{
    dashboard,
    template_version::{TemplateVersion, deployment_pod},
};

/// Kubernetes' limit for Service names, less the length of `-scheduler`.
pub(super) const MAX_NAME: usize = 63 - "-scheduler".len();

/// A cluster that components can be built for.
#[derive(Clone, Debug)]
pub(super) struct ValidatedCluster {
    pub(super) name: String,
    pub(super) namespace: String,
    pub(super) uid: String,
    pub(super) owner: OwnerReference,
    /// Labels that components inherit.
    pub(super) labels: Map,
    /// Further labels of the cluster that the scheduler's pods need, because the Service selects by them.
    pub(super) selected_labels: Map,
    /// Annotations that components inherit.
    pub(super) annotations: Map,
    /// Annotations of the Service about the scheduler's dashboard.
    pub(super) dashboard: Map,
    pub(super) scheduler: SchedulerSpec,
    pub(super) worker: WorkerSpec,
    /// The version of what the scheduler's pod is built from.
    pub(super) scheduler_template: TemplateVersion,
    /// The version of what the Service is built from.
    pub(super) service_template: TemplateVersion,
    /// The version of what the default group is built from, without the number of workers.
    pub(super) worker_template: TemplateVersion,
}

pub(super) fn validate(cluster: &DaskCluster) -> Result<ValidatedCluster, Rejection> {
    let name = cluster.name_any();
    if !is_valid_name(&name) {
        let message = format!(
            "the name {name:?} cannot be used for a cluster: it must have at most {MAX_NAME} characters, \
             only a-z, 0-9 and '-', and must begin and end with a letter or digit"
        );
        return Err(Rejection { reason: "InvalidName", message });
    }
    let (Some(namespace), Some(owner)) = (cluster.namespace(), meta::owner_ref(cluster)) else {
        return Err(Rejection { reason: "NotStored", message: "the object has no namespace or uid".to_owned() });
    };
    Ok(ValidatedCluster {
        uid: owner.uid.clone(),
        name,
        namespace,
        owner,
        labels: meta::inherited(cluster.labels()),
        selected_labels: selected_labels(cluster),
        annotations: meta::inherited(cluster.annotations()),
        dashboard: dashboard::of_service(cluster),
        scheduler_template: scheduler_template(&cluster.spec.scheduler),
        service_template: service_template(&cluster.spec.scheduler.service),
        worker_template: worker_template(&cluster.spec.worker),
        scheduler: cluster.spec.scheduler.clone(),
        worker: cluster.spec.worker.clone(),
    })
}

fn scheduler_template(scheduler: &SchedulerSpec) -> TemplateVersion {
    let SchedulerSpec { spec, metadata, .. } = scheduler;
    let own = (spec.clone(), metadata.clone());
    TemplateVersion::new(&(spec, metadata), move || (deployment_pod(&own.0), own.1))
}

fn service_template(service: &ServiceSpec) -> TemplateVersion {
    let own = service.clone();
    TemplateVersion::new(service, move || canonical_service_spec(&own))
}

fn worker_template(worker: &WorkerSpec) -> TemplateVersion {
    let text = WorkerSpec { replicas: 0, ..worker.clone() };
    let own = text.clone();
    TemplateVersion::new(&text, move || {
        let mut canonical = json!(own);
        canonical["spec"] = deployment_pod(&own.spec);
        canonical
    })
}

/// Returns the labels that the Service selects by and that the cluster has, or the job that it belongs to.
fn selected_labels(cluster: &DaskCluster) -> Map {
    let of_job = cluster.annotations().get(meta::SELECTED_LABELS);
    let of_job: Map = of_job.and_then(|text| serde_json::from_str(text).ok()).unwrap_or_default();
    meta::selected(&meta::merged([&of_job, cluster.labels()]), &cluster.spec.scheduler.service.field("selector"))
}

/// Returns whether `name` follows dask-kubernetes' rule, which its Python client checks as well.
fn is_valid_name(name: &str) -> bool {
    name.len() <= MAX_NAME && meta::is_dns_label(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_follow_the_rule_of_dask_kubernetes() {
        for valid in ["a", "valid-name", "0-name", &"a".repeat(53)] {
            assert!(is_valid_name(valid), "{valid}");
        }
        for invalid in ["", "-a", "a-", "dotted.name", "Upper", "under_score", &"a".repeat(54)] {
            assert!(!is_valid_name(invalid), "{invalid}");
        }
    }
}
