//! Tests of the manifests of a cluster's components.

use dask_operator_api::DaskCluster;
use serde_json::Value;

use super::*;
use crate::{cluster::validate::validate, test_fixtures::from_yaml};

/// A cluster whose every part has labels or annotations of its own, so that each manifest shows where its values come
/// from.
const CLUSTER: &str = r#"
apiVersion: kubernetes.dask.org/v1
kind: DaskCluster
metadata:
  name: demo
  namespace: team-a
  uid: cluster-uid
  labels:
    from-cluster: cluster
    overridden: cluster
    app.kubernetes.io/instance: argo-app
    dask.org/component: forged
  annotations:
    from-cluster: cluster
    plugin.kubernetes.dask.org/adopt: ingress
    overridden: cluster
    argocd.argoproj.io/tracking-id: demo:kubernetes.dask.org/DaskCluster:team-a/demo
    kubectl.kubernetes.io/last-applied-configuration: "{}"
spec:
  scheduler:
    metadata:
      labels: {overridden: scheduler, dask.org/cluster-name: forged}
      annotations: {overridden: scheduler, plugin.kubernetes.dask.org/adopt: ingress}
    spec:
      containers:
        - name: scheduler
          image: ghcr.io/dask/dask:latest
          env: [{name: FIRST, value: mine}]
          resources: {limits: {cpu: 1, nvidia.com/gpu: 1}}
          readinessProbe: {httpGet: {port: 8787, path: /health}}
      futureField: {kept: [1, true, null]}
    service:
      type: ClusterIP
      trafficDistribution: PreferClose
      selector: {dask.org/cluster-name: demo, dask.org/component: scheduler}
      ports:
        - {name: tcp-comm, port: 8786, targetPort: 8786}
        - {name: http-dashboard, port: 8787, targetPort: http-dashboard}
  worker:
    replicas: 3
    metadata:
      labels: {overridden: worker, dask.org/cluster-name: forged}
      annotations: {overridden: worker, plugin.kubernetes.dask.org/adopt: ingress}
    spec:
      containers: [{name: worker, args: [--name, $(DASK_WORKER_NAME)], futureField: 1}]
"#;

/// The manifests without the controller's own annotations: what users see.
struct Manifests {
    scheduler: Value,
    service: Value,
    group: Value,
}

impl Manifests {
    fn of(cluster: &DaskCluster) -> Self {
        let Desired { scheduler, service, group } = build(&validate(cluster).unwrap());
        Self { scheduler: plain(&scheduler), service: plain(&service), group: plain(&group) }
    }
}

fn plain(component: &Component) -> Value {
    let mut manifest = component.manifest();
    let annotations = manifest["metadata"]["annotations"].as_object_mut().unwrap();
    annotations.retain(|key, _| !key.starts_with("operator.dask.org/"));
    manifest
}

fn built(yaml: &str) -> Manifests {
    Manifests::of(&from_yaml(yaml))
}

fn built_from(edit: impl FnOnce(&mut Value)) -> Manifests {
    let mut cluster: Value = from_yaml(CLUSTER);
    edit(&mut cluster);
    Manifests::of(&serde_json::from_value(cluster).unwrap())
}

/// These annotations distinguish a change of the cluster from a change of the component.
#[test]
fn each_component_remembers_what_it_was_made_from() {
    let Desired { scheduler, service, group } = build(&validate(&from_yaml(CLUSTER)).unwrap());
    let notes = |component: &Component| -> Vec<String> {
        let manifest = component.manifest();
        let annotations = manifest["metadata"]["annotations"].as_object().unwrap();
        annotations.keys().filter_map(|key| key.strip_prefix("operator.dask.org/")).map(str::to_owned).collect()
    };
    assert_eq!(notes(&scheduler), ["propagated", "template", "template-meaning"]);
    assert_eq!(notes(&service), ["propagated", "service-fields", "template", "template-meaning"]);
    assert_eq!(notes(&group), ["cluster-replicas", "propagated", "template", "template-meaning"]);
    assert_eq!(
        service.manifest()["metadata"]["annotations"][meta::SERVICE_FIELDS],
        "ports,selector,trafficDistribution,type"
    );
    assert_eq!(group.manifest()["metadata"]["annotations"][meta::CLUSTER_REPLICAS], "3");
}

fn owner() -> Value {
    json!({
        "apiVersion": "kubernetes.dask.org/v1",
        "kind": "DaskCluster",
        "name": "demo",
        "uid": "cluster-uid",
        "controller": true,
        "blockOwnerDeletion": true,
    })
}

#[test]
fn the_scheduler_is_a_deployment_of_the_users_pod() {
    let labels = json!({
        "from-cluster": "cluster",
        "overridden": "scheduler",
        "dask.org/cluster-name": "demo",
        "dask.org/component": "scheduler",
        "sidecar.istio.io/inject": "false",
    });
    let annotations = json!({"from-cluster": "cluster", "overridden": "scheduler"});
    let expected = json!({
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {
            "name": "demo-scheduler",
            "namespace": "team-a",
            "labels": labels,
            "annotations": annotations,
            "ownerReferences": [owner()],
        },
        "spec": {
            "replicas": 1,
            // A rolling update would run two schedulers for a while, and clients fail with "Expected exactly one Pod
            // object".
            "strategy": {"type": "Recreate"},
            // The selector is immutable, so it contains nothing that a user may want to change later.
            "selector": {"matchLabels": {"dask.org/cluster-name": "demo", "dask.org/component": "scheduler"}},
            "template": {
                "metadata": {"labels": labels, "annotations": annotations},
                "spec": {
                    "containers": [{
                        "name": "scheduler",
                        "image": "ghcr.io/dask/dask:latest",
                        "env": [{"name": "FIRST", "value": "mine"}],
                        "resources": {"limits": {"cpu": 1, "nvidia.com/gpu": 1}},
                        "readinessProbe": {"httpGet": {"port": 8787, "path": "/health"}},
                    }],
                    "futureField": {"kept": [1, true, null]},
                },
            },
        },
    });
    assert_eq!(built(CLUSTER).scheduler, expected);
}

/// Clients forward to the Service's port numbers as if they were the pod's, so nothing is normalised.
#[test]
fn the_service_has_the_users_spec_to_the_letter() {
    let expected = json!({
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {
            "name": "demo-scheduler",
            "namespace": "team-a",
            "labels": {
                "from-cluster": "cluster",
                "overridden": "scheduler",
                "dask.org/cluster-name": "demo",
                "dask.org/component": "scheduler",
            },
            "annotations": {"from-cluster": "cluster", "overridden": "scheduler"},
            "ownerReferences": [owner()],
        },
        "spec": {
            "type": "ClusterIP",
            "trafficDistribution": "PreferClose",
            "selector": {"dask.org/cluster-name": "demo", "dask.org/component": "scheduler"},
            "ports": [
                {"name": "tcp-comm", "port": 8786, "targetPort": 8786},
                {"name": "http-dashboard", "port": 8787, "targetPort": "http-dashboard"},
            ],
        },
    });
    assert_eq!(built(CLUSTER).service, expected);
}

#[test]
fn the_default_group_has_the_whole_worker_spec() {
    let expected = json!({
        "apiVersion": "kubernetes.dask.org/v1",
        "kind": "DaskWorkerGroup",
        "metadata": {
            "name": "demo-default",
            "namespace": "team-a",
            "labels": {
                "from-cluster": "cluster",
                "overridden": "worker",
                "dask.org/cluster-name": "demo",
                "dask.org/component": "workergroup",
            },
            "annotations": {"from-cluster": "cluster", "overridden": "worker"},
            "ownerReferences": [owner()],
        },
        "spec": {
            "cluster": "demo",
            "worker": {
                "replicas": 3,
                "metadata": {
                    "labels": {"overridden": "worker", "dask.org/cluster-name": "forged"},
                    "annotations": {"overridden": "worker", "plugin.kubernetes.dask.org/adopt": "ingress"},
                },
                "spec": {
                    "containers": [{"name": "worker", "args": ["--name", "$(DASK_WORKER_NAME)"], "futureField": 1}],
                },
            },
        },
    });
    assert_eq!(built(CLUSTER).group, expected);
}

#[test]
fn a_cluster_without_any_metadata_of_its_own_gets_the_base_labels_only() {
    let minimal = r"
        metadata: {name: demo, namespace: team-a, uid: cluster-uid}
        spec:
          scheduler: {spec: {containers: []}, service: {}}
          worker: {spec: {containers: []}}
    ";
    let desired = built(minimal);
    let base = json!({"dask.org/cluster-name": "demo", "dask.org/component": "scheduler"});
    assert_eq!(desired.service["metadata"]["labels"], base);
    assert_eq!(desired.service["metadata"]["annotations"], json!({}));
    let worker = json!({"replicas": 1, "metadata": {}, "spec": {"containers": []}});
    assert_eq!(desired.group["spec"], json!({"cluster": "demo", "worker": worker}));
}

/// In dask-kubernetes the operator's value wins, so a mesh cannot be used.
#[test]
fn users_may_let_istio_in_for_the_cluster_or_for_the_scheduler() {
    for pointer in ["/metadata/labels", "/spec/scheduler/metadata/labels"] {
        let desired = built_from(|cluster| {
            cluster.pointer_mut(pointer).unwrap()["sidecar.istio.io/inject"] = json!("true");
        });
        let template = &desired.scheduler["spec"]["template"]["metadata"]["labels"];
        assert_eq!(template["sidecar.istio.io/inject"], "true", "{pointer}");
        assert_eq!(desired.scheduler["metadata"]["labels"]["sidecar.istio.io/inject"], "true", "{pointer}");
    }
}

/// A tool such as Argo CD deletes objects that carry its labels or annotations and are not in its repository.
#[test]
fn marks_of_deployment_tools_reach_no_component() {
    let marks = [
        ("labels", "app.kubernetes.io/instance"),
        ("labels", "app.kubernetes.io/managed-by"),
        ("labels", "argocd.argoproj.io/instance"),
        ("labels", "kustomize.toolkit.fluxcd.io/name"),
        ("labels", "helm.toolkit.fluxcd.io/name"),
        ("labels", "helm.sh/chart"),
        ("annotations", "meta.helm.sh/release-name"),
        ("annotations", "argocd.argoproj.io/tracking-id"),
        ("annotations", "kopf.zalando.org/last-handled-configuration"),
        ("annotations", "kubectl.kubernetes.io/last-applied-configuration"),
    ];
    for (place, key) in marks {
        let Manifests { scheduler, service, group } =
            built_from(|cluster| cluster["metadata"][place][key] = json!("x"));
        let template = &scheduler["spec"]["template"]["metadata"];
        for metadata in [&scheduler["metadata"], template, &service["metadata"], &group["metadata"]] {
            assert!(metadata[place].get(key).is_none(), "{key} in {metadata}");
        }
    }
}

/// Otherwise no client could connect. Deployment and Service do not get them, because tools would prune those.
#[test]
fn the_schedulers_pods_have_every_label_that_the_service_selects_by_and_the_cluster_has() {
    let key = "app.kubernetes.io/instance";
    let template = &built(CLUSTER).scheduler["spec"]["template"]["metadata"]["labels"];
    assert!(template.get(key).is_none(), "not selected by");
    let selecting = |cluster: &mut Value| cluster["spec"]["scheduler"]["service"]["selector"][key] = json!("argo-app");
    let Manifests { scheduler, service, group } = built_from(selecting);
    assert_eq!(scheduler["spec"]["template"]["metadata"]["labels"][key], "argo-app");
    for manifest in [&scheduler, &service, &group] {
        assert!(manifest["metadata"]["labels"].get(key).is_none(), "{manifest}");
    }
    assert!(scheduler["spec"]["selector"]["matchLabels"].get(key).is_none());
    let of_job = built_from(|cluster| {
        selecting(cluster);
        cluster["metadata"]["labels"].as_object_mut().unwrap().remove(key);
        cluster["metadata"]["annotations"][meta::SELECTED_LABELS] =
            json!(r#"{"app.kubernetes.io/instance": "of-the-job", "not-selected": "x"}"#);
    });
    let template = &of_job.scheduler["spec"]["template"]["metadata"]["labels"];
    assert_eq!((template[key].as_str(), template.get("not-selected")), (Some("of-the-job"), None));
}

/// A scheduler that runs must not be replaced because the controller is.
#[test]
fn what_is_recorded_of_a_component_does_not_depend_on_the_labels_that_its_service_selects_by() {
    let notes = |cluster: &Value| {
        let desired = build(&validate(&serde_json::from_value(cluster.clone()).unwrap()).unwrap());
        desired.scheduler.manifest()["metadata"].clone()
    };
    let mut cluster: Value = from_yaml(CLUSTER);
    let before = notes(&cluster);
    cluster["spec"]["scheduler"]["service"]["selector"]["app.kubernetes.io/instance"] = json!("argo-app");
    assert_eq!(notes(&cluster), before);
}

/// `Never` makes the Deployment invalid, and the cluster would never start.
#[test]
fn the_scheduler_always_restarts() {
    let desired = built_from(|cluster| cluster["spec"]["scheduler"]["spec"]["restartPolicy"] = json!("Never"));
    assert_eq!(desired.scheduler["spec"]["template"]["spec"]["restartPolicy"], "Always");
}

/// Prometheus finds path and port of the scheduler's metrics there.
#[test]
fn the_service_says_where_the_dashboard_is_if_it_is_elsewhere() {
    let annotations = |args: Value| {
        let mut cluster: DaskCluster = from_yaml(CLUSTER);
        cluster.spec.scheduler.spec.set("containers", json!([{"name": "scheduler", "args": args}]));
        let Desired { service, scheduler, .. } = build(&validate(&cluster).unwrap());
        assert_eq!(
            scheduler.manifest()["spec"]["template"]["metadata"]["annotations"].get(meta::DASHBOARD_PREFIX),
            None
        );
        let annotations = service.manifest()["metadata"]["annotations"].clone();
        // Otherwise it would not be removed later.
        let propagated = annotations[meta::PROPAGATED].as_str().unwrap().contains(meta::DASHBOARD_PREFIX);
        (annotations[meta::DASHBOARD_PREFIX].clone(), propagated)
    };
    assert_eq!(annotations(json!(["dask-scheduler", "--dashboard-prefix", "/p"])), (json!("/p"), true));
    assert_eq!(annotations(json!(["dask-scheduler"])), (Value::Null, false));
}
