//! The objects that plugins can be called about, and the Dask resources that own them.

use dask_operator_api::{DaskAutoscaler, DaskCluster, DaskJob, DaskWorkerGroup, SubjectKind, meta};
use k8s_openapi::api::{
    apps::v1::Deployment,
    core::v1::{Pod, Service},
};
use kube::{Resource, ResourceExt as _, api::DynamicObject, core::ApiResource};

/// The kind, namespace and name of a subject. An object that is created later under the same name has the same key, but
/// another uid.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct SubjectKey {
    pub(crate) kind: SubjectKind,
    pub(crate) namespace: String,
    pub(crate) name: String,
}

impl std::fmt::Display for SubjectKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {}/{}", kind_name(self.kind), self.namespace, self.name)
    }
}

impl SubjectKey {
    pub(crate) fn of(kind: SubjectKind, object: &impl Resource) -> Self {
        Self { kind, namespace: object.namespace().unwrap_or_default(), name: object.name_any() }
    }
}

/// An object that a plugin may be called about, or the Dask resource that owns it, with its key.
#[derive(Clone, Copy, Debug)]
pub(crate) struct KeyedObject<'a> {
    pub(crate) key: &'a SubjectKey,
    pub(crate) object: &'a DynamicObject,
}

pub(crate) fn kind_name(kind: SubjectKind) -> &'static str {
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

pub(crate) fn api_resource(kind: SubjectKind) -> ApiResource {
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

/// Returns the label selector for a kind. Of Kubernetes' own kinds, only the objects that the controller creates are
/// watched.
pub(crate) fn label_selector(kind: SubjectKind) -> Option<&'static str> {
    match kind {
        SubjectKind::Service => Some("dask.org/component=scheduler"),
        SubjectKind::Deployment => Some("dask.org/component in (scheduler,worker)"),
        SubjectKind::Pod => Some("dask.org/component in (scheduler,worker,job-runner)"),
        _ => None,
    }
}

/// Returns `scheduler`, `worker` or `job-runner`, or `None` for Dask's own kinds.
pub(crate) fn component(kind: SubjectKind, object: &impl Resource) -> Option<&str> {
    label_selector(kind).and_then(|_| object.labels().get(meta::COMPONENT).map(String::as_str))
}

/// Returns the nearest Dask resource: the object itself, or the one that its labels name.
pub(crate) fn owner_of(kind: SubjectKind, object: &impl Resource) -> Option<SubjectKey> {
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

/// Returns whether the labels of `object` name another Dask resource than the one that controls it. Pods of Deployments
/// are controlled by ReplicaSets.
pub(crate) fn is_mislabelled(kind: SubjectKind, object: &impl Resource) -> bool {
    let owners = [
        (SubjectKind::DaskCluster, "DaskCluster"),
        (SubjectKind::DaskWorkerGroup, "DaskWorkerGroup"),
        (SubjectKind::DaskJob, "DaskJob"),
    ];
    let controller = owners.into_iter().find_map(|(kind, name)| Some((kind, meta::dask_controller(object, name)?)));
    controller.is_some_and(|(owner_kind, owner)| {
        owner_of(kind, object).is_none_or(|labelled| labelled.kind != owner_kind || labelled.name != owner.name)
    })
}

/// Returns whether the controller created `object` for `owner`, or `object` is a pod of such an object.
///
/// Labels and owner references prove nothing, because a user who creates an object chooses them freely. But only the
/// controller decides which names it uses, and a second object with such a name cannot exist. If a user creates it
/// first, the controller's own creation fails with a conflict, and a condition reports that. Therefore a subject needs
/// the name that follows from its owner, in addition to an owner reference with the owner's uid.
///
/// Names of workers end in digits that other users may choose too. But a user who may create Deployments or pods can
/// run anything in the namespace without any plugin. Such a Deployment also counts as a worker of the group, so that
/// the group has one worker less of its own. Such a pod is surplus for its `ReplicaSet`, which deletes it. If there is
/// no such `ReplicaSet`, the garbage collector deletes the pod.
pub(crate) fn is_below(kind: SubjectKind, object: &impl Resource, owner: &impl Resource) -> bool {
    let (component, owner_name) = (component(kind, object).unwrap_or_default(), owner.name_any());
    let controlled = || owner.uid().is_some_and(|uid| operator_runtime::k8s::is_controlled_by(object, &uid));
    match kind {
        SubjectKind::Service | SubjectKind::Deployment => {
            controlled() && has_name_below(kind, component, &object.name_any(), &owner_name)
        }
        SubjectKind::Pod if component == meta::component::JOB_RUNNER => {
            controlled() && has_name_below(kind, component, &object.name_any(), &owner_name)
        }
        // The pod's Deployment may already be deleted while the pod shuts down, so only its name is compared.
        SubjectKind::Pod => meta::deployment_of(object)
            .is_some_and(|deployment| has_name_below(SubjectKind::Deployment, component, deployment, &owner_name)),
        SubjectKind::DaskCluster
        | SubjectKind::DaskWorkerGroup
        | SubjectKind::DaskJob
        | SubjectKind::DaskAutoscaler => true,
    }
}

/// Returns whether the controller creates an object of this kind and component as `name` for the Dask resource `owner`.
pub(crate) fn has_name_below(kind: SubjectKind, component: &str, name: &str, owner: &str) -> bool {
    match (kind, component) {
        (SubjectKind::Service | SubjectKind::Deployment, meta::component::SCHEDULER) => {
            name == meta::scheduler_name(owner)
        }
        (SubjectKind::Deployment, meta::component::WORKER) => meta::is_worker_name(owner, name),
        (SubjectKind::Pod, meta::component::JOB_RUNNER) => name == meta::runner_name(owner),
        _ => false,
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

    #[test]
    fn an_object_whose_labels_name_another_resource_than_its_owner_is_mislabelled() {
        let table = [
            (json!({"dask.org/component": "scheduler", "dask.org/cluster-name": "demo"}), false),
            (json!({"dask.org/component": "scheduler", "dask.org/cluster-name": "other"}), true),
            (json!({"dask.org/component": "scheduler"}), true),
            (json!({"dask.org/component": "worker", "dask.org/workergroup-name": "demo"}), true),
        ];
        for (labels, expected) in table {
            let mut service = object(labels.clone());
            assert!(!is_mislabelled(SubjectKind::Service, &service), "nothing controls it");
            service.metadata.owner_references = serde_json::from_value(json!([{
                "apiVersion": "kubernetes.dask.org/v1", "kind": "DaskCluster", "name": "demo", "uid": "u", "controller": true,
            }]))
            .unwrap();
            assert_eq!(is_mislabelled(SubjectKind::Service, &service), expected, "{labels}");
        }
    }

    /// Returns the owner references of an object that `owner` controls.
    fn reference(owner: &str, uid: &str) -> serde_json::Value {
        json!([{"apiVersion": "kubernetes.dask.org/v1", "kind": "K", "name": owner, "uid": uid, "controller": true}])
    }

    /// Returns whether an object with this name, whose owner reference has the owner's uid, is below `owner`.
    fn is_named_below(kind: SubjectKind, component: &str, name: &str, owner: &str) -> bool {
        let labels = json!({"dask.org/component": component});
        let mut below = object(labels);
        below.metadata.name = Some(name.to_owned());
        below.metadata.owner_references = serde_json::from_value(reference(owner, "owner-uid")).unwrap();
        let mut above = object(json!({}));
        above.metadata.name = Some(owner.to_owned());
        let is_below = |above: &DynamicObject| is_below(kind, &below, above);
        above.metadata.uid = Some("another-uid".to_owned());
        assert!(!is_below(&above), "{name} of a namesake of {owner}");
        above.metadata.uid = Some("owner-uid".to_owned());
        is_below(&above)
    }

    /// Otherwise a user who may create nothing but Services could make a plugin publish an arbitrary Service under the
    /// name of another user's cluster.
    #[test]
    fn an_object_of_another_name_is_no_subject() {
        for (kind, component, name, owner, expected) in [
            (SubjectKind::Service, "scheduler", "demo-scheduler", "demo", true),
            (SubjectKind::Service, "scheduler", "mine", "demo", false),
            (SubjectKind::Service, "scheduler", "demo-scheduler-2", "demo", false),
            (SubjectKind::Service, "worker", "demo-default-worker-0123456789", "demo-default", false),
            (SubjectKind::Deployment, "scheduler", "demo-scheduler", "demo", true),
            (SubjectKind::Deployment, "scheduler", "demo-default-worker-0123456789", "demo", false),
            (SubjectKind::Deployment, "worker", "demo-default-worker-0123456789", "demo-default", true),
            (SubjectKind::Deployment, "worker", "demo-default-worker-mine", "demo-default", false),
            (SubjectKind::Deployment, "worker", "mine", "demo-default", false),
            (SubjectKind::Pod, "job-runner", "demo-runner", "demo", true),
            (SubjectKind::Pod, "job-runner", "mine", "demo", false),
            // Dask resources do not control the pods of schedulers and workers directly.
            (SubjectKind::Pod, "scheduler", "demo-scheduler", "demo", false),
            (SubjectKind::Pod, "worker", "demo-default-worker-0123456789", "demo-default", false),
        ] {
            assert_eq!(is_named_below(kind, component, name, owner), expected, "{kind:?} {name}");
        }
    }

    fn pod(component: &str, owner: &serde_json::Value) -> DynamicObject {
        let labels = json!({"dask.org/component": component, "pod-template-hash": "5d8f7c"});
        let mut pod = object(labels);
        pod.metadata.owner_references = Some(vec![serde_json::from_value(owner.clone()).unwrap()]);
        pod
    }

    #[test]
    fn a_pod_belongs_to_a_replica_set_of_a_deployment_that_can_be_a_subject() {
        let mut group = object(json!({}));
        (group.metadata.name, group.metadata.uid) = (Some("demo-default".to_owned()), Some("u".to_owned()));
        let set = |name: &str| json!({"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": name, "uid": "r", "controller": true});
        let genuine = set("demo-default-worker-0123456789-5d8f7c");
        assert!(is_below(SubjectKind::Pod, &pod("worker", &genuine), &group));
        let with = |field: &str, value: serde_json::Value| {
            let mut owner = genuine.clone();
            owner[field] = value;
            owner
        };
        for forged in [
            set("mine-5d8f7c"),
            set("demo-default-worker-0123456789-another"),
            set("demo-default-worker-5d8f7c"),
            with("controller", json!(false)),
            with("kind", json!("ConfigMap")),
            with("apiVersion", json!("example.org/v1")),
            reference("demo-default", "u")[0].clone(),
        ] {
            assert!(!is_below(SubjectKind::Pod, &pod("worker", &forged), &group), "{forged}");
        }
        assert!(!is_below(SubjectKind::Pod, &pod("scheduler", &genuine), &group), "a worker is no scheduler");
    }
}
