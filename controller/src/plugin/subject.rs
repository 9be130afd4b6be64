//! What plugins can be asked about, and which Dask resource stands above it.

use k8s_openapi::api::{
    apps::v1::Deployment,
    core::v1::{Pod, Service},
};
use kube::{ResourceExt as _, api::DynamicObject, core::ApiResource};

use crate::{
    crd::{DaskAutoscaler, DaskCluster, DaskJob, DaskWorkerGroup, SubjectKind},
    meta,
};

/// A subject by name; a namesake made later is the same key with another uid.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct SubjectKey {
    pub(super) kind: SubjectKind,
    pub(super) namespace: String,
    pub(super) name: String,
}

impl std::fmt::Display for SubjectKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {}/{}", kind_name(self.kind), self.namespace, self.name)
    }
}

impl SubjectKey {
    pub(super) fn of(kind: SubjectKind, object: &DynamicObject) -> Self {
        Self { kind, namespace: object.namespace().unwrap_or_default(), name: object.name_any() }
    }
}

pub(super) fn kind_name(kind: SubjectKind) -> &'static str {
    match kind {
        SubjectKind::DaskCluster => "DaskCluster",
        SubjectKind::DaskWorkerGroup => "DaskWorkerGroup",
        SubjectKind::DaskJob => "DaskJob",
        SubjectKind::DaskAutoscaler => "DaskAutoscaler",
        SubjectKind::Service => "Service",
        SubjectKind::Deployment => "Deployment",
        SubjectKind::Pod => "Pod",
    }
}

pub(super) fn api_resource(kind: SubjectKind) -> ApiResource {
    match kind {
        SubjectKind::DaskCluster => ApiResource::erase::<DaskCluster>(&()),
        SubjectKind::DaskWorkerGroup => ApiResource::erase::<DaskWorkerGroup>(&()),
        SubjectKind::DaskJob => ApiResource::erase::<DaskJob>(&()),
        SubjectKind::DaskAutoscaler => ApiResource::erase::<DaskAutoscaler>(&()),
        SubjectKind::Service => ApiResource::erase::<Service>(&()),
        SubjectKind::Deployment => ApiResource::erase::<Deployment>(&()),
        SubjectKind::Pod => ApiResource::erase::<Pod>(&()),
    }
}

/// Of other people's kinds only the objects that the controller makes are watched.
pub(super) fn label_selector(kind: SubjectKind) -> Option<&'static str> {
    match kind {
        SubjectKind::Service => Some("dask.org/component=scheduler"),
        SubjectKind::Deployment => Some("dask.org/component in (scheduler,worker)"),
        SubjectKind::Pod => Some("dask.org/component in (scheduler,worker,job-runner)"),
        _ => None,
    }
}

/// `scheduler`, `worker` or `job-runner`; nothing for Dask's own kinds.
pub(super) fn component(kind: SubjectKind, object: &DynamicObject) -> Option<&str> {
    label_selector(kind).and_then(|_| object.labels().get(meta::COMPONENT).map(String::as_str))
}

/// The nearest Dask resource: the object itself, or the one that its labels name.
pub(super) fn owner_of(kind: SubjectKind, object: &DynamicObject) -> Option<SubjectKey> {
    let Some(component) = component(kind, object) else {
        return label_selector(kind).is_none().then(|| SubjectKey::of(kind, object));
    };
    let (kind, label) = match component {
        "scheduler" => (SubjectKind::DaskCluster, meta::CLUSTER_NAME),
        "worker" => (SubjectKind::DaskWorkerGroup, meta::WORKER_GROUP),
        "job-runner" => (SubjectKind::DaskJob, meta::CLUSTER_NAME),
        _ => return None,
    };
    let name = object.labels().get(label)?.clone();
    Some(SubjectKey { kind, namespace: object.namespace()?, name })
}

/// Whether `object` really is below `owner`. Labels are anybody's to write; owner references of the objects
/// that the controller makes are not. Between a pod and its Deployment stands another object, so there
/// labels must do.
pub(super) fn is_below(kind: SubjectKind, object: &DynamicObject, owner: &DynamicObject) -> bool {
    match kind {
        SubjectKind::Service | SubjectKind::Deployment => {
            owner.uid().is_some_and(|uid| meta::is_controlled_by(object, &uid))
        }
        _ => true,
    }
}

#[cfg(test)]
#[expect(clippy::needless_pass_by_value, reason = "literals read better at the call without a reference")]
mod tests {
    use serde_json::json;

    use super::*;

    fn object(labels: serde_json::Value) -> DynamicObject {
        let value = json!({"metadata": {"name": "a", "namespace": "ns", "labels": labels}});
        serde_json::from_value(value).unwrap()
    }

    fn owner(kind: SubjectKind, labels: serde_json::Value) -> Option<String> {
        owner_of(kind, &object(labels)).map(|owner| owner.to_string())
    }

    #[test]
    fn the_owner_is_the_nearest_dask_resource() {
        let scheduler = json!({"dask.org/component": "scheduler", "dask.org/cluster-name": "demo"});
        assert_eq!(owner(SubjectKind::Service, scheduler).unwrap(), "DaskCluster ns/demo");
        let worker =
            json!({"dask.org/component": "worker", "dask.org/cluster-name": "demo", "dask.org/workergroup-name": "g"});
        assert_eq!(owner(SubjectKind::Pod, worker).unwrap(), "DaskWorkerGroup ns/g");
        let runner = json!({"dask.org/component": "job-runner", "dask.org/cluster-name": "job"});
        assert_eq!(owner(SubjectKind::Pod, runner).unwrap(), "DaskJob ns/job");
        assert_eq!(owner(SubjectKind::DaskCluster, json!({})).unwrap(), "DaskCluster ns/a");
        assert_eq!(owner(SubjectKind::Service, json!({})), None);
    }
}
