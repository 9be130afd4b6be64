//! The definitions of the resources on a real API server: what is refused, merged, pruned and kept. And specs of pods in
//! other words: what the API server stores for them, and that the controller replaces nothing.

use std::time::Duration;

use dask_operator_api::testing::Spelling;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::{
    Api,
    api::{
        ApiResource, DeleteParams, DynamicObject, GroupVersionKind, Patch, PatchParams, PostParams, ValidationDirective,
    },
};
use serde_json::{Value, json};

use crate::support::{
    TestContext, cluster, condition, eventually, job, stays,
    test_cluster::{GROUP, with_workers},
    uid, with_temp_ns,
};

/// Returns a cluster in which the value at the JSON pointer is `value`.
fn cluster_with(pointer: &str, value: &Value) -> Value {
    let mut cluster = cluster("demo", 1);
    set(&mut cluster, pointer, value);
    cluster
}

fn set(object: &mut Value, pointer: &str, value: &Value) {
    let mut place = object;
    for part in pointer.split('/').skip(1) {
        place = match part.parse::<usize>() {
            Ok(index) => &mut place[index],
            Err(_) => &mut place[part],
        };
    }
    *place = value.clone();
}

/// Returns the message with which the API server refuses the object.
async fn refusal(context: &TestContext, manifest: &Value) -> String {
    match context.try_create(manifest).await.unwrap_err() {
        kube::Error::Api(status) => status.message,
        other => other.to_string(),
    }
}

#[tokio::test]
#[ignore = "needs a cluster: make live"]
async fn a_wrong_type_is_refused_with_its_path() {
    let worker = "/spec/worker/spec/containers/0";
    let scheduler = "/spec/scheduler/spec/containers/0";
    let table = [
        (format!("{worker}/env"), json!({"A": "b"}), "spec.worker.spec.containers[0].env"),
        (format!("{worker}/args"), json!("dask-worker"), "spec.worker.spec.containers[0].args"),
        (format!("{worker}/env"), json!([{"name": "N", "value": 4}]), "spec.worker.spec.containers[0].env[0].value"),
        (format!("{worker}/env"), json!([{"value": "4"}]), "spec.worker.spec.containers[0].env[0].name"),
        (format!("{worker}/resources"), json!({"limits": ["1Gi"]}), "spec.worker.spec.containers[0].resources.limits"),
        (
            format!("{worker}/resources"),
            json!({"limits": {"cpu": 0.5}}),
            "spec.worker.spec.containers[0].resources.limits.cpu",
        ),
        (format!("{worker}/image"), json!(["a"]), "spec.worker.spec.containers[0].image"),
        (
            format!("{scheduler}/ports"),
            json!([{"containerPort": "8786"}]),
            "spec.scheduler.spec.containers[0].ports[0].containerPort",
        ),
        (
            format!("{scheduler}/livenessProbe"),
            json!({"httpGet": {"path": "/"}}),
            "spec.scheduler.spec.containers[0].livenessProbe.httpGet.port",
        ),
        ("/spec/worker/spec/volumes".to_owned(), json!({"name": "a"}), "spec.worker.spec.volumes"),
        ("/spec/worker/spec/tolerations".to_owned(), json!([{"key": 1}]), "spec.worker.spec.tolerations[0].key"),
        ("/spec/worker/spec/nodeSelector".to_owned(), json!({"gpu": true}), "spec.worker.spec.nodeSelector.gpu"),
        ("/spec/worker/spec/hostNetwork".to_owned(), json!("yes"), "spec.worker.spec.hostNetwork"),
        (
            "/spec/worker/spec/affinity".to_owned(),
            json!({"nodeAffinity": []}),
            "spec.worker.spec.affinity.nodeAffinity",
        ),
        ("/spec/scheduler/service/ports".to_owned(), json!([{"port": "8786"}]), "spec.scheduler.service.ports[0].port"),
        ("/spec/scheduler/service/selector".to_owned(), json!(["a"]), "spec.scheduler.service.selector"),
    ];
    with_temp_ns(|context| async move {
        for (pointer, value, path) in table {
            let message = refusal(&context, &cluster_with(&pointer, &value)).await;
            assert!(message.contains(path), "{pointer} {value}: {message}");
        }
        let mut job = job("demo");
        set(&mut job, "/spec/job/spec/containers/0/env", &json!({"A": "b"}));
        assert!(refusal(&context, &job).await.contains("spec.job.spec.containers[0].env"));
    })
    .await;
}

#[tokio::test]
#[ignore = "needs a cluster: make live"]
async fn lists_of_two_authors_are_merged_by_key() {
    with_temp_ns(|context| async move {
        let mut cluster = cluster("demo", 1);
        set(&mut cluster, "/spec/worker/spec/containers/0/env", &json!([{"name": "A", "value": "a"}]));
        context.apply(&cluster).await;
        let name = &cluster["spec"]["worker"]["spec"]["containers"][0]["name"];
        let container = json!({
            "name": name,
            "env": [{"name": "B", "value": "b"}],
            "volumeMounts": [{"name": "data", "mountPath": "/data"}],
        });
        let mut theirs = json!({
            "apiVersion": cluster["apiVersion"],
            "kind": cluster["kind"],
            "metadata": {"name": "demo"},
            "spec": {"worker": {"spec": {"containers": [container], "volumes": [{"name": "data"}]}}},
        });
        let api: Api<DynamicObject> = context.api("DaskCluster");
        api.patch("demo", &PatchParams::apply("another-author"), &Patch::Apply(&theirs)).await.unwrap();
        let merged = context.expect("DaskCluster", "demo").await;
        let container = &merged["spec"]["worker"]["spec"]["containers"][0];
        assert_eq!(container["env"], json!([{"name": "A", "value": "a"}, {"name": "B", "value": "b"}]));
        assert!(container["image"].is_string(), "{container}");
        // What an author no longer applies goes, and the other's stays.
        theirs["spec"]["worker"]["spec"]["containers"][0]["env"] = json!([]);
        api.patch("demo", &PatchParams::apply("another-author"), &Patch::Apply(&theirs)).await.unwrap();
        let merged = context.expect("DaskCluster", "demo").await;
        assert_eq!(merged["spec"]["worker"]["spec"]["containers"][0]["env"], json!([{"name": "A", "value": "a"}]));
    })
    .await;
}

/// A later version of Kubernetes adds fields to pods, containers and Services. Deeper inside, an unknown field is most
/// likely a typo: it is removed, and the API server says so to an author who asks for validation, as `kubectl` does.
#[tokio::test]
#[ignore = "needs a cluster: make live"]
async fn unknown_fields_are_kept_where_kubernetes_adds_them_and_nowhere_else() {
    with_temp_ns(|context| async move {
        let mut cluster = cluster("demo", 1);
        let (pod, container) = ("/spec/worker/spec", "/spec/worker/spec/containers/0");
        set(&mut cluster, &format!("{pod}/future"), &json!({"a": [1]}));
        set(&mut cluster, &format!("{container}/future"), &json!("b"));
        set(&mut cluster, "/spec/scheduler/service/future", &json!(3));
        set(&mut cluster, &format!("{container}/resources"), &json!({"limit": {"memory": "1Gi"}}));
        let stored = context.create(&cluster).await;
        assert_eq!(stored["spec"]["worker"]["spec"]["future"], json!({"a": [1]}));
        assert_eq!(stored["spec"]["worker"]["spec"]["containers"][0]["future"], "b");
        assert_eq!(stored["spec"]["scheduler"]["service"]["future"], 3);
        assert_eq!(stored["spec"]["worker"]["spec"]["containers"][0]["resources"], json!({}));
        let params = PatchParams { field_validation: Some(ValidationDirective::Strict), ..PatchParams::default() };
        let typo = json!({"spec": {"worker": cluster["spec"]["worker"]}});
        let patched = context.api("DaskCluster").patch("demo", &params, &Patch::Merge(&typo)).await;
        let error = patched.unwrap_err().to_string();
        assert!(error.contains("spec.worker.spec.containers[0].resources.limit"), "{error}");
    })
    .await;
}

/// Returns the definition of DaskCluster under another group, so that no other test sees it change.
fn definition_of(group: &str, open: bool) -> Value {
    let definition =
        dask_operator_api::all().into_iter().find(|definition| definition.spec.names.kind == "DaskCluster");
    let mut definition = serde_json::to_value(definition.unwrap()).unwrap();
    definition["metadata"]["name"] = json!(format!("daskclusters.{group}"));
    definition["spec"]["group"] = json!(group);
    definition["spec"]["names"] = json!({"kind": "DaskCluster", "plural": "daskclusters", "singular": "daskcluster"});
    if open {
        let spec = &mut definition["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"];
        *spec = json!({"type": "object", "x-kubernetes-preserve-unknown-fields": true});
    }
    definition
}

#[tokio::test]
#[ignore = "needs a cluster: make live"]
async fn an_object_that_was_stored_with_a_wrong_type_stays_readable_and_its_other_fields_writable() {
    with_temp_ns(|context| async move {
        let group = format!("{}.example.org", context.namespace);
        let definitions: Api<CustomResourceDefinition> = Api::all(context.client.clone());
        let old = serde_json::from_value(definition_of(&group, true)).unwrap();
        definitions.create(&PostParams::default(), &old).await.unwrap();
        let kind =
            ApiResource::from_gvk_with_plural(&GroupVersionKind::gvk(&group, "v1", "DaskCluster"), "daskclusters");
        let clusters: Api<DynamicObject> = Api::namespaced_with(context.client.clone(), &context.namespace, &kind);
        let mut cluster = cluster_with("/spec/worker/spec/containers/0/env", &json!({"A": "b"}));
        cluster["apiVersion"] = json!(format!("{group}/v1"));
        let object: DynamicObject = serde_json::from_value(cluster).unwrap();
        eventually("the first definition to be served", async || {
            let created = clusters.create(&PostParams::default(), &object).await;
            created.map(|_| ()).map_err(|error| error.to_string())
        })
        .await;
        let new = Patch::Merge(definition_of(&group, false));
        definitions.patch(&format!("daskclusters.{group}"), &PatchParams::default(), &new).await.unwrap();
        eventually("the new definition to be served", async || {
            let mut other = object.clone();
            other.metadata.name = Some("other".to_owned());
            let dry_run = PostParams { dry_run: true, ..PostParams::default() };
            let refused = clusters.create(&dry_run, &other).await.is_err();
            if refused { Ok(()) } else { Err("it accepts a wrong type".to_owned()) }
        })
        .await;
        let read = clusters.get("demo").await.unwrap();
        assert!(read.data["spec"]["worker"]["spec"]["containers"][0]["env"].is_object(), "{read:?}");
        let status = Patch::Merge(json!({"status": {"phase": "Running"}}));
        clusters.patch_status("demo", &PatchParams::default(), &status).await.unwrap();
        let replicas = Patch::Merge(json!({"spec": {"worker": {"replicas": 7}}}));
        clusters.patch("demo", &PatchParams::default(), &replicas).await.unwrap();
        definitions.delete(&format!("daskclusters.{group}"), &DeleteParams::default()).await.unwrap();
    })
    .await;
}

/// Returns the template that the API server would store for a Deployment of this pod.
async fn stored(context: &TestContext, pod: &Value) -> Value {
    let labels = json!({"app": "spelling"});
    let deployment = json!({
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "spelling"},
        "spec": {"selector": {"matchLabels": labels}, "template": {"metadata": {"labels": labels}, "spec": pod}},
    });
    let params = PostParams { dry_run: true, ..PostParams::default() };
    let object: DynamicObject = serde_json::from_value(deployment).unwrap();
    let stored = context.api("Deployment").create(&params, &object).await.unwrap();
    let mut template = stored.data["spec"]["template"]["spec"].clone();
    // A pod gets these requests; a template does not.
    for container in template["containers"].as_array_mut().unwrap() {
        if let Some(limits) = container["resources"].get("limits").cloned() {
            let requests = container["resources"].get("requests").cloned().unwrap_or_else(|| json!({}));
            let mut all = limits;
            for (resource, request) in requests.as_object().unwrap() {
                all[resource] = request.clone();
            }
            container["resources"]["requests"] = all;
        }
    }
    template
}

/// The canonical form decides by the catalogue which specs are equal. This compares the catalogue with the API server.
#[tokio::test]
#[ignore = "needs a cluster: make live"]
async fn the_api_server_stores_specs_as_the_same_that_the_catalogue_says_are_the_same() {
    with_temp_ns(|context| async move {
        let spellings = Spelling::all();
        for Spelling { of, pods } in &spellings.equal {
            let first = stored(&context, &pods[0]).await;
            for pod in &pods[1..] {
                assert_eq!(stored(&context, pod).await, first, "{of}: {pod}");
            }
        }
        for Spelling { of, pods } in spellings.different.iter().chain(&spellings.alike) {
            let first = stored(&context, &pods[0]).await;
            for pod in &pods[1..] {
                assert_ne!(stored(&context, pod).await, first, "{of}: {pod}");
            }
        }
    })
    .await;
}

#[tokio::test]
#[ignore = "needs a cluster: make live"]
async fn a_spec_in_other_words_replaces_no_worker_and_changes_no_condition() {
    with_workers(2, |test_cluster| async move {
        let context = &test_cluster.context;
        let container = "/spec/worker/spec/containers/0";
        let mut manifest = test_cluster.manifest(2);
        let limits = |cpu: Value, memory: &str| json!({"limits": {"cpu": cpu, "memory": memory}});
        set(&mut manifest, &format!("{container}/resources"), &limits(json!(1), "1Gi"));
        context.apply(&manifest).await;
        eventually("all workers to have the limits", async || {
            let workers = test_cluster.deployments(GROUP).await;
            let limited = workers.iter().filter(|worker| !memory_limit(worker).is_null()).count();
            if (workers.len(), limited) == (2, 2) { Ok(()) } else { Err(format!("{limited} of {}", workers.len())) }
        })
        .await;
        test_cluster.connected(GROUP, 2).await;
        context.until("DaskWorkerGroup", GROUP, |group| condition(group, "Scaled") == ("True", "Scaled")).await;
        let before: Vec<String> =
            test_cluster.deployments(GROUP).await.iter().map(|worker| uid(worker).to_owned()).collect();
        let is_settled = |cluster: &Value| is_observed(cluster) && condition(cluster, "Ready").0 == "True";
        let cluster = context.until("DaskCluster", "demo", is_settled).await;
        set(&mut manifest, &format!("{container}/resources"), &limits(json!("1000m"), "1024Mi"));
        set(&mut manifest, &format!("{container}/terminationMessagePolicy"), &json!("File"));
        set(&mut manifest, "/spec/worker/spec/volumes", &json!([]));
        set(&mut manifest, "/spec/scheduler/spec/dnsPolicy", &json!("ClusterFirst"));
        set(&mut manifest, "/spec/scheduler/service/sessionAffinity", &json!("None"));
        context.apply(&manifest).await;
        let generation = context.expect("DaskCluster", "demo").await["metadata"]["generation"].clone();
        assert_ne!(generation, cluster["metadata"]["generation"]);
        let after = context.until("DaskCluster", "demo", |cluster| {
            is_observed(cluster) && cluster["metadata"]["generation"] == generation
        });
        assert_eq!(statuses(&after.await), statuses(&cluster));
        stays(Duration::from_secs(2), async || {
            let uids: Vec<String> =
                test_cluster.deployments(GROUP).await.iter().map(|worker| uid(worker).to_owned()).collect();
            if uids == before { Ok(()) } else { Err(format!("they were {before:?} and are {uids:?}")) }
        })
        .await;
    })
    .await;
}

fn memory_limit(worker: &Value) -> &Value {
    &worker["spec"]["template"]["spec"]["containers"][0]["resources"]["limits"]["memory"]
}

fn is_observed(object: &Value) -> bool {
    object["status"]["observedGeneration"] == object["metadata"]["generation"]
}

/// Returns type and status of each condition but that of the workers, which may still be starting.
fn statuses(object: &Value) -> Vec<[Value; 2]> {
    let conditions = object["status"]["conditions"].as_array().unwrap();
    conditions
        .iter()
        .filter(|of| of["type"] != "WorkersAvailable")
        .map(|of| [of["type"].clone(), of["status"].clone()])
        .collect()
}
