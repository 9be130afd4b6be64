//! Names, labels, annotations and owners of what the controller makes.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use kube::Resource;

use plugin_protocol::screening::is_reserved_key;

/// Labels and annotations.
pub type Map = BTreeMap<String, String>;

/// Name of the DaskCluster that an object belongs to.
pub const CLUSTER_NAME: &str = "dask.org/cluster-name";
/// What an object is within its cluster.
pub const COMPONENT: &str = "dask.org/component";
/// Name of the DaskWorkerGroup that a worker belongs to.
pub const WORKER_GROUP: &str = "dask.org/workergroup-name";
/// Identifies one worker within its group: the last part of its name.
pub const WORKER_ID: &str = "dask.org/worker-id";
/// Keeps Istio's sidecars out of Dask pods unless the user says otherwise.
pub const ISTIO_INJECT: &str = "sidecar.istio.io/inject";

/// The keys of the labels and annotations that an object was given with its owner's.
pub const PROPAGATED: &str = "operator.dask.org/propagated";
/// Fingerprint of the text of the template that an object was made from.
pub const TEMPLATE: &str = "operator.dask.org/template";
/// Fingerprint of the meaning of the template that an object was made from, whatever its spelling.
pub const TEMPLATE_MEANING: &str = "operator.dask.org/template-meaning";
/// On a default group: `spec.worker.replicas` of the DaskCluster that reached it last.
pub const CLUSTER_REPLICAS: &str = "operator.dask.org/cluster-replicas";
/// On a scheduler Service: the fields of its spec that users wrote.
pub const SERVICE_FIELDS: &str = "operator.dask.org/service-fields";
/// What the paths of a scheduler's dashboard begin with. On a DaskCluster it is set by users, and on a Service by the
/// controller, for monitors.
pub const DASHBOARD_PREFIX: &str = "operator.dask.org/dashboard-prefix";
/// On a scheduler Service and on pods of workers: the name of the port of the dashboard, if it is not `http-dashboard`.
pub const DASHBOARD_PORT: &str = "operator.dask.org/dashboard-port";
/// On a DaskWorkerGroup: the workers that are being retired, and since when.
pub const RETIRING: &str = "operator.dask.org/retiring";

/// On an object that a controller created: what the API server warned about.
pub const WARNINGS: &str = "operator.dask.org/warnings";
/// On a DaskWorkerGroup: what the API server warned about when workers were created.
pub const WORKER_WARNINGS: &str = "operator.dask.org/worker-warnings";
/// On the DaskCluster of a DaskJob: labels of the job that the cluster does not inherit and that its Service selects by.
pub const SELECTED_LABELS: &str = "operator.dask.org/selected-labels";

/// On a DaskCluster: the idle period for which all groups were scaled to 0, so that a user who scales up during it is left
/// alone.
pub const SCALED_TO_ZERO: &str = "operator.dask.org/scaled-to-zero";

/// Values of [`COMPONENT`].
pub mod component {
    /// The scheduler.
    pub const SCHEDULER: &str = "scheduler";
    /// A worker.
    pub const WORKER: &str = "worker";
    /// The pod that runs a DaskJob.
    pub const JOB_RUNNER: &str = "job-runner";
    /// The DaskWorkerGroup that a DaskCluster makes.
    pub const WORKER_GROUP: &str = "workergroup";
}

/// The longest name of an object.
const MAX_OBJECT_NAME: usize = 253;

/// Keys that describe who manages an object, and so must not be copied to what is made from it.
/// dask-kubernetes copies them, and the tools that work by them then prune the children.
const TOOL_PREFIXES: [&str; 7] = [
    "argocd.argoproj.io",
    "helm.sh",
    "helm.toolkit.fluxcd.io",
    "kopf.zalando.org",
    "kubectl.kubernetes.io",
    "kustomize.toolkit.fluxcd.io",
    "meta.helm.sh",
];
const TOOL_LABELS: [&str; 2] = ["app.kubernetes.io/instance", "app.kubernetes.io/managed-by"];

/// Returns the part of an owner's labels or annotations that its children inherit.
pub fn inherited(map: &Map) -> Map {
    let is_tools = |key: &str| TOOL_LABELS.contains(&key) || TOOL_PREFIXES.iter().any(|prefix| key.starts_with(prefix));
    let mut inherited = of_template(map);
    inherited.retain(|key, _| !is_tools(key));
    inherited
}

/// Returns the part of the labels or annotations of a template that its objects get: all keys except those of
/// `*.dask.org`. These say what an object is, whose child it is, and which plugin may take it over. The controller alone
/// decides that.
pub fn of_template(map: &Map) -> Map {
    map.iter().filter(|(key, _)| !is_reserved_key(key)).map(|(key, value)| (key.clone(), value.clone())).collect()
}

/// Returns the part of `labels` that `selector` names, for the pods that it has to select. Tools that prune by their
/// labels do not prune such pods, because a ReplicaSet owns them.
pub fn selected(labels: &Map, selector: &serde_json::Value) -> Map {
    let mut selected = of_template(labels);
    selected.retain(|key, _| selector.get(key).is_some());
    selected
}

/// Merges `layers`. Later ones take precedence.
pub fn merged<const N: usize>(layers: [&Map; N]) -> Map {
    layers.into_iter().flatten().map(|(key, value)| (key.clone(), value.clone())).collect()
}

/// Returns a map of literal pairs.
pub fn map_of<const N: usize>(pairs: [(&str, &str); N]) -> Map {
    pairs.into_iter().map(|(key, value)| (key.to_owned(), value.to_owned())).collect()
}

/// Returns a controller reference to `owner`, or `None` for an object that the API server has not seen.
pub fn owner_ref<K: Resource<DynamicType = ()>>(owner: &K) -> Option<OwnerReference> {
    owner.controller_owner_ref(&()).map(|reference| OwnerReference { block_owner_deletion: Some(true), ..reference })
}

/// Returns the owner of kind `kind` in the Dask group that controls `object`.
pub fn dask_controller<'a, K: Resource>(object: &'a K, kind: &str) -> Option<&'a OwnerReference> {
    any_dask_controller(object).filter(|owner| owner.kind == kind)
}

/// Returns whether a Dask resource controls `object`.
pub fn is_controlled_by_dask<K: Resource>(object: &K) -> bool {
    any_dask_controller(object).is_some()
}

/// Kubernetes allows one controller.
fn any_dask_controller<K: Resource>(object: &K) -> Option<&OwnerReference> {
    let is_dask = |api_version: &str| api_version.split('/').next() == Some(crate::GROUP);
    let owners = object.meta().owner_references.as_ref()?;
    owners.iter().find(|owner| owner.controller == Some(true) && is_dask(&owner.api_version))
}

/// Returns the name of the scheduler's Deployment and Service.
pub fn scheduler_name(cluster: &str) -> String {
    format!("{cluster}-scheduler")
}

/// Returns the name of the Deployment of the worker of `group` with this id.
pub fn worker_name(group: &str, id: &str) -> String {
    format!("{group}-worker-{id}")
}

/// Returns whether a worker of `group` can have this name. Ids of workers that dask-kubernetes created are ten random
/// digits. Ours have five digits of the group's uid and a number of at least five digits.
pub fn is_worker_name(group: &str, name: &str) -> bool {
    let id = name.strip_prefix(&worker_name(group, ""));
    let is_digit = |digit: u8| digit.is_ascii_digit() || (b'a'..=b'f').contains(&digit);
    id.is_some_and(|id| id.len() >= 10 && id.bytes().all(is_digit))
}

/// Returns the name of the pod that runs a DaskJob.
pub fn runner_name(job: &str) -> String {
    format!("{job}-runner")
}

/// Returns the name of the Deployment that a pod belongs to: that of the `ReplicaSet` that controls it, without the
/// template's hash.
pub fn deployment_of<K: Resource>(pod: &K) -> Option<&str> {
    let controller = pod.meta().owner_references.iter().flatten().find(|owner| owner.controller == Some(true))?;
    if controller.kind != "ReplicaSet" || !controller.api_version.starts_with("apps/") {
        return None;
    }
    let hash = pod.meta().labels.as_ref()?.get("pod-template-hash")?;
    controller.name.strip_suffix(hash.as_str())?.strip_suffix('-')
}

/// Returns the name of the Deployment that a pod was created for, also if its `ReplicaSet` has released it because it
/// lost a label. The name of the pod is then all that is left.
pub fn deployment_of_released<K: Resource>(pod: &K) -> Option<&str> {
    let is_controlled = || pod.meta().owner_references.iter().flatten().any(|owner| owner.controller == Some(true));
    deployment_of(pod).or_else(|| {
        let hash = pod.meta().labels.as_ref()?.get("pod-template-hash").filter(|_| !is_controlled())?;
        let (replica_set, _) = pod.meta().name.as_deref()?.rsplit_once('-')?;
        replica_set.strip_suffix(hash.as_str())?.strip_suffix('-')
    })
}

/// Returns the name of the group that a DaskCluster creates.
pub fn default_group_name(cluster: &str) -> String {
    format!("{cluster}-default")
}

/// Returns the label selector of the workers of `group`, as text.
pub fn worker_selector(group: &str) -> String {
    format!("{WORKER_GROUP}={group},{COMPONENT}={}", component::WORKER)
}

/// Returns whether `name` consists of a-z, 0-9 and '-', and begins and ends with a letter or digit: RFC 1123 without
/// its bound on the length.
pub fn is_dns_label(name: &str) -> bool {
    let alphanumeric = |c: &u8| c.is_ascii_lowercase() || c.is_ascii_digit();
    let bytes = name.as_bytes();
    bytes.first().is_some_and(alphanumeric)
        && bytes.last().is_some_and(alphanumeric)
        && bytes.iter().all(|c| alphanumeric(c) || *c == b'-')
}

/// Returns whether `name` may be that of an object such as a Secret: an RFC 1123 subdomain. Others must not become part
/// of a URL.
pub fn is_object_name(name: &str) -> bool {
    name.len() <= MAX_OBJECT_NAME && name.split('.').all(is_dns_label)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_and_annotations_of_deployment_tools_are_not_inherited() {
        let map = map_of([
            ("team", "a"),
            ("app.kubernetes.io/name", "dask"),
            ("app.kubernetes.io/instance", "release"),
            ("argocd.argoproj.io/tracking-id", "x"),
            ("kubectl.kubernetes.io/last-applied-configuration", "{}"),
            ("meta.helm.sh/release-name", "x"),
            ("kopf.zalando.org/last-handled-configuration", "{}"),
        ]);
        assert_eq!(inherited(&map), map_of([("team", "a"), ("app.kubernetes.io/name", "dask")]));
    }

    /// Else a user of DaskClusters could hand their Services over to a plugin, or pass them off as its children.
    #[test]
    fn keys_of_the_controller_are_neither_inherited_nor_taken_from_templates() {
        let map = map_of([
            ("team", "a"),
            ("dask.org/worker-id", "x"),
            ("kubernetes.dask.org/x", "x"),
            ("operator.dask.org/retiring", "{}"),
            ("plugin.kubernetes.dask.org/adopt", "ingress"),
            ("plugin.kubernetes.dask.org/plugin", "ingress"),
            ("notdask.org/kept", "x"),
        ]);
        let expected = map_of([("team", "a"), ("notdask.org/kept", "x")]);
        assert_eq!((inherited(&map), of_template(&map)), (expected.clone(), expected));
        let tools = map_of([("argocd.argoproj.io/sync-wave", "1")]);
        assert_eq!((inherited(&tools), of_template(&tools)), (Map::new(), tools.clone()), "templates are for children");
    }

    #[test]
    fn workers_of_this_controller_and_of_dask_kubernetes_are_known_by_their_names() {
        for id in ["0123456789", "abcdef0123", "abcde100000"] {
            assert!(is_worker_name("demo-default", &worker_name("demo-default", id)), "{id}");
        }
        for name in [
            "demo-default-worker-",
            "demo-default-worker-012345678",
            "demo-default-worker-ABCDEF0123",
            "demo-default-worker-x123456789",
            "demo-default-worker-x-0123456789",
            "other-worker-0123456789",
            "demo-default",
        ] {
            assert!(!is_worker_name("demo-default", name), "{name}");
        }
    }

    #[test]
    fn names_of_objects_hold_nothing_that_a_url_is_made_of() {
        let table = [
            ("my-certificate", true),
            ("a.b-c.d0", true),
            ("", false),
            ("..", false),
            ("a/b", false),
            ("a?b", false),
            ("a%2Fb", false),
            ("a#b", false),
            ("A", false),
            ("a..b", false),
        ];
        for (name, expected) in table {
            assert_eq!(is_object_name(name), expected, "{name:?}");
        }
        assert!(is_object_name(&"a".repeat(MAX_OBJECT_NAME)) && !is_object_name(&"a".repeat(MAX_OBJECT_NAME + 1)));
    }

    #[test]
    fn labels_that_are_selected_by_include_those_of_tools_but_not_those_of_the_controller() {
        let labels = map_of([
            ("app.kubernetes.io/instance", "run-7"),
            ("argocd.argoproj.io/instance", "app"),
            ("team", "a"),
            ("plugin.kubernetes.dask.org/plugin", "ingress"),
        ]);
        let selector = serde_json::json!({
            "app.kubernetes.io/instance": "run-7", "team": "other", "absent": "x",
            "plugin.kubernetes.dask.org/plugin": "ingress", "dask.org/component": "scheduler",
        });
        let expected = map_of([("app.kubernetes.io/instance", "run-7"), ("team", "a")]);
        assert_eq!(selected(&labels, &selector), expected);
        assert_eq!(selected(&labels, &serde_json::Value::Null), Map::new());
    }

    #[test]
    fn a_pod_that_was_released_is_known_by_its_name_and_one_of_another_controller_is_not() {
        let pod = |labels: &str, owners: &str| -> k8s_openapi::api::core::v1::Pod {
            let text = format!(
                r#"{{"metadata": {{"name": "demo-scheduler-5d8f7c-abcde", "labels": {labels}, "ownerReferences": {owners}}}}}"#
            );
            serde_json::from_str(&text).unwrap()
        };
        let owned = |kind: &str| {
            format!(
                r#"[{{"apiVersion": "apps/v1", "kind": "{kind}", "uid": "u", "name": "other-5d8f7c", "controller": true}}]"#
            )
        };
        let hash = r#"{"pod-template-hash": "5d8f7c"}"#;
        let table = [
            (hash, "[]".to_owned(), Some("demo-scheduler")),
            (hash, owned("ReplicaSet"), Some("other")),
            (hash, owned("StatefulSet"), None),
            ("{}", "[]".to_owned(), None),
            (r#"{"pod-template-hash": "abcde"}"#, "[]".to_owned(), None),
        ];
        for (labels, owners, expected) in table {
            assert_eq!(deployment_of_released(&pod(labels, &owners)), expected, "{labels} {owners}");
        }
    }

    #[test]
    fn later_layers_win() {
        let merged = merged([&map_of([("a", "1"), ("b", "1")]), &map_of([("b", "2")])]);
        assert_eq!(merged, map_of([("a", "1"), ("b", "2")]));
    }
}
