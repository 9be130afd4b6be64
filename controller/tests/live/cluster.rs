//! DaskClusters and worker groups.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex},
    time::Duration,
};

use futures::StreamExt as _;
use k8s_openapi::api::core::v1::Namespace;
use kube::{
    Api,
    api::{DeleteParams, DynamicObject, Patch, PatchParams},
    runtime::watcher,
};
use serde_json::{Value, json};
use tokio::{sync::oneshot, task::AbortHandle};

use crate::support::{
    TestContext, by_name, cluster, condition, eventually, message, name, owned_by, uid, version, with_controller,
    with_temp_ns, within,
};

/// How soon a lost child must be recreated.
const SOON: Duration = Duration::from_secs(5);

pub(crate) const SCHEDULERS: &str = "dask.org/component=scheduler";
pub(crate) const WORKERS: &str = "dask.org/component=worker";

fn of(cluster: &str) -> String {
    format!("dask.org/cluster-name={cluster}")
}

pub(crate) fn workers_of(cluster: &str) -> String {
    format!("{WORKERS},{}", of(cluster))
}

// --- The components of a cluster ---

fn labelled_cluster() -> Value {
    let mut manifest = cluster("demo", 2);
    manifest["metadata"]["labels"] = json!({"team": "a", "app.kubernetes.io/instance": "release"});
    manifest["metadata"]["annotations"] = json!({"note": "x", "argocd.argoproj.io/tracking-id": "y"});
    manifest["spec"]["scheduler"]["metadata"] = json!({"labels": {"tier": "s"}});
    manifest["spec"]["worker"]["metadata"] = json!({"labels": {"tier": "w"}, "annotations": {"note": "z"}});
    manifest
}

#[tokio::test]
#[ignore = "needs a cluster: make live"]
async fn a_cluster_gets_a_scheduler_with_the_names_labels_and_owner_that_clients_look_for() {
    with_controller(async |context| {
        let demo = context.create(&labelled_cluster()).await;
        context.running("demo").await;
        let identity = json!({"dask.org/cluster-name": "demo", "dask.org/component": "scheduler"});
        let labels = json!({
            "dask.org/cluster-name": "demo",
            "dask.org/component": "scheduler",
            "sidecar.istio.io/inject": "false",
            "team": "a",
            "tier": "s",
        });

        let deployment = context.expect("Deployment", "demo-scheduler").await;
        assert_eq!(deployment["metadata"]["labels"], labels);
        assert_eq!(deployment["metadata"]["annotations"]["note"], "x");
        // A GitOps tool that found its own mark on a child would prune it.
        assert_eq!(deployment["metadata"]["annotations"]["argocd.argoproj.io/tracking-id"], Value::Null);
        assert_eq!(deployment["metadata"]["ownerReferences"], owned_by(&demo, true));
        let spec = &deployment["spec"];
        assert_eq!(spec["selector"]["matchLabels"], identity);
        assert_eq!((&spec["replicas"], &spec["strategy"]), (&json!(1), &json!({"type": "Recreate"})));
        assert_eq!(spec["template"]["metadata"]["labels"], labels);
        let container = &spec["template"]["spec"]["containers"][0];
        assert_eq!(container["env"], json!([{"name": "MINE", "value": "1"}]));
        assert_eq!(container["args"], json!(["dask-scheduler"]));

        let service = context.expect("Service", "demo-scheduler").await;
        let labels = json!({
            "dask.org/cluster-name": "demo", "dask.org/component": "scheduler", "team": "a", "tier": "s",
        });
        assert_eq!(service["metadata"]["labels"], labels);
        assert_eq!(service["metadata"]["ownerReferences"], owned_by(&demo, true));
        assert_eq!(service["spec"]["selector"], identity);
        let ports = json!([
            {"name": "tcp-comm", "protocol": "TCP", "port": 8786, "targetPort": "tcp-comm"},
            {"name": "http-dashboard", "protocol": "TCP", "port": 8787, "targetPort": "http-dashboard"},
        ]);
        assert_eq!(service["spec"]["ports"], ports);
    })
    .await;
}

#[tokio::test]
#[ignore = "needs a cluster: make live"]
async fn a_cluster_gets_a_default_group_and_workers_that_know_their_name_and_scheduler() {
    with_controller(async |context| {
        let demo = context.create(&labelled_cluster()).await;
        context.settled("demo", 2).await;

        let group = context.expect("DaskWorkerGroup", "demo-default").await;
        let labels = json!({
            "dask.org/cluster-name": "demo", "dask.org/component": "workergroup", "team": "a", "tier": "w",
        });
        assert_eq!(group["metadata"]["labels"], labels);
        assert_eq!(group["metadata"]["ownerReferences"], owned_by(&demo, true));
        assert_eq!(group["spec"], json!({"cluster": "demo", "worker": demo["spec"]["worker"]}));

        let workers = context.list("Deployment", &workers_of("demo")).await;
        assert_eq!(workers.len(), 2);
        for worker in &workers {
            assert_is_worker_of(&group, worker, &context.namespace);
        }
    })
    .await;
}

fn assert_is_worker_of(group: &Value, worker: &Value, namespace: &str) {
    let id = name(worker).strip_prefix("demo-default-worker-").unwrap();
    assert!(id.len() == 10 && id.bytes().all(|c| c.is_ascii_digit() || (b'a'..=b'f').contains(&c)), "{id}");
    let identity = json!({
        "dask.org/cluster-name": "demo",
        "dask.org/component": "worker",
        "dask.org/workergroup-name": "demo-default",
        "dask.org/worker-id": id,
    });
    let mut labels = identity.clone();
    labels["sidecar.istio.io/inject"] = json!("false");
    labels["team"] = json!("a");
    labels["tier"] = json!("w");
    assert_eq!(worker["metadata"]["labels"], labels);
    assert_eq!(worker["metadata"]["annotations"]["note"], "z");
    assert_eq!(worker["metadata"]["ownerReferences"], owned_by(group, true));
    assert_eq!(worker["spec"]["selector"]["matchLabels"], identity);
    let address = format!("tcp://demo-scheduler.{namespace}.svc.cluster.local:8786");
    let env = json!([
        {"name": "MINE", "value": "1"},
        {"name": "DASK_WORKER_NAME", "value": name(worker)},
        {"name": "DASK_SCHEDULER_ADDRESS", "value": address},
    ]);
    assert_eq!(worker["spec"]["template"]["spec"]["containers"][0]["env"], env);
}

// --- Phases ---

/// The phases of all clusters of the namespace, in order, as a watch sees them.
struct Phases {
    seen: Arc<Mutex<Vec<String>>>,
    watch: AbortHandle,
}

impl Phases {
    /// Returns when the watch is established.
    async fn watch(context: &TestContext) -> Self {
        let seen = Arc::new(Mutex::new(Vec::new()));
        let (established, ready) = oneshot::channel();
        let (api, phases) = (context.api("DaskCluster"), Arc::clone(&seen));
        let watch = tokio::spawn(async move {
            let mut events = watcher(api, watcher::Config::default()).boxed();
            let mut established = Some(established);
            while let Some(event) = events.next().await {
                match event.unwrap() {
                    watcher::Event::InitDone => drop(established.take().map(|sender| sender.send(()))),
                    watcher::Event::Apply(cluster) => record_phase(&phases, &cluster),
                    _ => {}
                }
            }
        });
        ready.await.unwrap();
        Self { seen, watch: watch.abort_handle() }
    }

    fn seen(&self) -> Vec<String> {
        self.seen.lock().unwrap().clone()
    }
}

impl Drop for Phases {
    fn drop(&mut self) {
        self.watch.abort();
    }
}

fn record_phase(phases: &Mutex<Vec<String>>, cluster: &DynamicObject) {
    let mut phases = phases.lock().unwrap();
    if let Some(phase) = cluster.data["status"]["phase"].as_str()
        && phases.last().is_none_or(|last| last != phase)
    {
        phases.push(phase.to_owned());
    }
}

/// Clients give up if `Running` comes late, and upstream's tests fail if `Created` does not come first.
#[tokio::test]
#[ignore = "needs a cluster: make live"]
async fn the_phases_that_a_watch_sees_are_created_and_then_running() {
    with_temp_ns(|context| async move {
        let phases = Phases::watch(&context).await;
        let _controller = context.start_controller().await;
        context.create_settled("demo", 2).await;
        assert_eq!(phases.seen(), ["Created", "Running"]);
    })
    .await;
}

#[tokio::test]
#[ignore = "needs a cluster: make live"]
async fn a_cluster_is_pending_while_its_load_balancer_has_no_address() {
    with_temp_ns(|context| async move {
        let phases = Phases::watch(&context).await;
        let _controller = context.start_controller().await;
        let mut manifest = cluster("demo", 1);
        manifest["spec"]["scheduler"]["service"]["type"] = json!("LoadBalancer");
        context.create(&manifest).await;
        context.until("DaskCluster", "demo", |demo| demo["status"]["phase"] == "Pending").await;
        let status = json!({"status": {"loadBalancer": {"ingress": [{"ip": "192.0.2.1"}]}}});
        context.merge_status("Service", "demo-scheduler", status).await;
        context.settled("demo", 1).await;
        assert_eq!(phases.seen(), ["Created", "Pending", "Running"]);
    })
    .await;
}

// --- Fields ---

/// dask-kubernetes refuses or silently drops each of these.
#[tokio::test]
#[ignore = "needs a cluster: make live"]
async fn fields_of_pods_and_services_survive_from_the_cluster_to_its_children() {
    with_controller(async |context| {
        let mut manifest = cluster("demo", 1);
        let scheduler = &mut manifest["spec"]["scheduler"];
        let pod = &mut scheduler["spec"];
        pod["schedulingGates"] = json!([{"name": "example.com/quota"}]);
        pod["resourceClaims"] = json!([{"name": "gpu", "resourceClaimTemplateName": "gpu"}]);
        pod["initContainers"] = json!([{"name": "sidecar", "image": "proxy", "restartPolicy": "Always"}]);
        let container = &mut pod["containers"][0];
        container["resources"] = json!({"limits": {"nvidia.com/gpu": 1, "cpu": 2}, "claims": [{"name": "gpu"}]});
        container["readinessProbe"] = json!({"httpGet": {"path": "/health", "port": 8787}});
        container["resizePolicy"] = json!([{"resourceName": "cpu", "restartPolicy": "NotRequired"}]);
        scheduler["service"]["ports"][0]["targetPort"] = json!(8786);
        scheduler["service"]["trafficDistribution"] = json!("PreferClose");
        manifest["spec"]["worker"]["spec"] = manifest["spec"]["scheduler"]["spec"].clone();
        context.create(&manifest).await;
        context.settled("demo", 1).await;

        for deployment in context.list("Deployment", &of("demo")).await {
            let pod = &deployment["spec"]["template"]["spec"];
            assert_eq!(pod["schedulingGates"], json!([{"name": "example.com/quota"}]));
            assert_eq!(pod["resourceClaims"], json!([{"name": "gpu", "resourceClaimTemplateName": "gpu"}]));
            assert_eq!(pod["initContainers"][0]["restartPolicy"], "Always");
            let container = &pod["containers"][0];
            assert_eq!(container["resources"]["limits"], json!({"nvidia.com/gpu": "1", "cpu": "2"}));
            assert_eq!(container["resources"]["claims"], json!([{"name": "gpu"}]));
            assert_eq!(container["readinessProbe"]["httpGet"]["port"], 8787);
            assert_eq!(container["resizePolicy"][0]["restartPolicy"], "NotRequired");
        }
        let service = context.expect("Service", "demo-scheduler").await;
        assert_eq!(service["spec"]["ports"][0]["targetPort"], 8786);
        assert_eq!(service["spec"]["trafficDistribution"], "PreferClose");
    })
    .await;
}

/// A Deployment refuses other policies, and dask-kubernetes then fails for ever without reporting it.
#[tokio::test]
#[ignore = "needs a cluster: make live"]
async fn a_restart_policy_that_deployments_refuse_is_overridden_and_reported() {
    with_controller(async |context| {
        let mut manifest = cluster("demo", 1);
        manifest["spec"]["scheduler"]["spec"]["restartPolicy"] = json!("Never");
        context.create(&manifest).await;
        context.settled("demo", 1).await;
        let deployment = context.expect("Deployment", "demo-scheduler").await;
        assert_eq!(deployment["spec"]["template"]["spec"]["restartPolicy"], "Always");
        let demo = context.expect("DaskCluster", "demo").await;
        assert_eq!(condition(&demo, "Accepted"), ("True", "RestartPolicyIgnored"));
        assert!(message(&demo, "Accepted").contains("scheduler"), "{}", message(&demo, "Accepted"));
    })
    .await;
}

// --- The definitions ---

#[tokio::test]
#[ignore = "needs a cluster: make live"]
async fn defaults_are_those_of_dask_kubernetes() {
    with_temp_ns(|context| async move {
        let mut manifest = cluster("demo", 1);
        manifest["spec"]["worker"].as_object_mut().unwrap().remove("replicas");
        let demo = context.create(&manifest).await;
        assert_eq!(demo["spec"]["worker"]["replicas"], 1);
        assert_eq!(demo["spec"]["idleTimeout"], 0);
        assert_eq!(demo["spec"]["scheduler"]["service"]["ports"][0]["protocol"], "TCP");
        assert_eq!(demo["spec"]["scheduler"]["spec"]["containers"][0]["ports"][0]["protocol"], "TCP");

        let job = json!({
            "apiVersion": "kubernetes.dask.org/v1",
            "kind": "DaskJob",
            "metadata": {"name": "job"},
            "spec": {
                "job": {"spec": {"containers": [{"name": "job", "image": "dask"}]}},
                "cluster": {"spec": manifest["spec"]},
            },
        });
        let job = context.create(&job).await;
        assert_eq!(job["spec"]["job"]["spec"]["restartPolicy"], "OnFailure");
        assert_eq!(job["spec"]["cluster"]["spec"]["worker"]["replicas"], 1);
    })
    .await;
}

#[tokio::test]
#[ignore = "needs a cluster: make live"]
async fn nulls_that_the_python_client_sends_are_accepted() {
    with_controller(async |context| {
        let mut manifest = cluster("demo", 1);
        manifest["spec"]["idleTimeout"] = Value::Null;
        manifest["spec"]["worker"]["replicas"] = Value::Null;
        for part in ["scheduler", "worker"] {
            let container = &mut manifest["spec"][part]["spec"]["containers"][0];
            container["env"] = Value::Null;
            container["resources"] = Value::Null;
        }
        context.create(&manifest).await;
        context.settled("demo", 1).await;
        let demo = context.expect("DaskCluster", "demo").await;
        assert_eq!((&demo["spec"]["idleTimeout"], &demo["spec"]["worker"]["replicas"]), (&json!(0), &json!(1)));
        let workers = context.list("Deployment", &workers_of("demo")).await;
        let env = &workers[0]["spec"]["template"]["spec"]["containers"][0]["env"];
        assert_eq!(env[0]["name"], "DASK_WORKER_NAME");
    })
    .await;
}

#[tokio::test]
#[ignore = "needs a cluster: make live"]
async fn manifests_without_required_fields_are_refused() {
    with_temp_ns(|context| async move {
        let autoscaler = json!({
            "apiVersion": "kubernetes.dask.org/v1",
            "kind": "DaskAutoscaler",
            "metadata": {"name": "demo"},
            "spec": {"cluster": "demo", "minimum": null, "maximum": 3},
        });
        let mut broken = vec![(autoscaler, "minimum".to_owned())];
        for (parent, field) in [
            ("/spec", "worker"),
            ("/spec", "scheduler"),
            ("/spec/scheduler", "service"),
            ("/spec/scheduler/spec", "containers"),
            ("/spec/worker", "spec"),
        ] {
            let mut manifest = cluster("demo", 1);
            manifest.pointer_mut(parent).unwrap().as_object_mut().unwrap().remove(field);
            broken.push((manifest, field.to_owned()));
        }
        for (manifest, field) in broken {
            let error = context.try_create(&manifest).await.unwrap_err();
            let kube::Error::Api(status) = error else { unreachable!("{error}") };
            assert_eq!(status.code, 422, "{field}: {}", status.message);
            assert!(status.message.contains(&field), "{field}: {}", status.message);
        }
    })
    .await;
}

// --- Scaling ---

/// `kubectl scale`, HPA and KEDA read the current count and the selector here.
#[tokio::test]
#[ignore = "needs a cluster: make live"]
async fn the_scale_subresource_shows_the_workers_that_exist_and_how_to_select_them() {
    with_controller(async |context| {
        context.create_settled("demo", 3).await;
        for (kind, name) in [("DaskCluster", "demo"), ("DaskWorkerGroup", "demo-default")] {
            let status = eventually(&format!("the scale of {name}"), async || {
                let scale = context.api(kind).get_scale(name).await.unwrap();
                let status = scale.status.unwrap_or_default();
                if status.replicas == 3 { Ok(status) } else { Err(format!("it is {status:?}")) }
            })
            .await;
            assert_eq!(context.count("Deployment", &status.selector.unwrap()).await, 3);
        }
    })
    .await;
}

#[tokio::test]
#[ignore = "needs a cluster: make live"]
async fn a_group_that_is_scaled_up_keeps_its_workers_and_gets_exactly_the_missing_ones() {
    with_controller(async |context| {
        context.create_settled("demo", 2).await;
        let before = by_name(&context.list("Deployment", &workers_of("demo")).await, uid);
        let patch = Patch::Merge(json!({"spec": {"replicas": 5}}));
        let groups = context.api("DaskWorkerGroup");
        groups.patch_scale("demo-default", &PatchParams::default(), &patch).await.unwrap();
        context.settled("demo", 5).await;
        let after = by_name(&context.list("Deployment", &workers_of("demo")).await, uid);
        assert!(before.iter().all(|(name, uid)| after.get(name) == Some(uid)), "{before:?} {after:?}");
    })
    .await;
}

// --- Invalid clusters ---

#[tokio::test]
#[ignore = "needs a cluster: make live"]
async fn a_cluster_with_an_invalid_name_ends_in_error_says_why_and_gets_no_children() {
    with_controller(async |context| {
        for invalid in ["dotted.name".to_owned(), "a".repeat(54)] {
            context.create(&cluster(&invalid, 1)).await;
            let object = context.until("DaskCluster", &invalid, |object| object["status"]["phase"] == "Error").await;
            assert_eq!(condition(&object, "Accepted"), ("False", "InvalidName"));
            let message = message(&object, "Accepted");
            assert!(message.contains(&invalid) && message.contains("53"), "{message}");
            let event = event_about(&context, &object).await;
            assert_eq!((&event["type"], &event["reason"]), (&json!("Warning"), &json!("InvalidName")));
        }
        // When a later cluster has all its children, these clusters would have some.
        context.create(&cluster("a".repeat(53).as_str(), 1)).await;
        context.settled(&"a".repeat(53), 1).await;
        let counts = [context.count("Deployment", "").await, context.count("DaskWorkerGroup", "").await];
        assert_eq!(counts, [2, 1]);
        assert_eq!(context.count("Service", "").await, 1);
    })
    .await;
}

async fn event_about(context: &TestContext, object: &Value) -> Value {
    eventually(&format!("an Event about {}", name(object)), async || {
        let events = context.list("Event", "").await;
        events
            .into_iter()
            .find(|event| event["regarding"]["uid"] == uid(object))
            .ok_or_else(|| "there is none".to_owned())
    })
    .await
}

// --- Lost children ---

#[tokio::test]
#[ignore = "needs a cluster: make live"]
async fn deleted_components_come_back_at_once_and_the_cluster_stays_running() {
    with_temp_ns(|context| async move {
        let phases = Phases::watch(&context).await;
        let _controller = context.start_controller().await;
        let demo = context.create_settled("demo", 2).await;
        let components =
            [("Deployment", "demo-scheduler"), ("Service", "demo-scheduler"), ("DaskWorkerGroup", "demo-default")];
        for (kind, name) in components {
            let old = context.expect(kind, name).await;
            context.delete(kind, name).await;
            let new = within(SOON, &format!("a new {kind} {name}"), async || {
                let found = context.get(kind, name).await.filter(|found| uid(found) != uid(&old));
                found.ok_or_else(|| "it is not back".to_owned())
            })
            .await;
            assert_eq!(new["metadata"]["ownerReferences"], owned_by(&demo, true));
        }
        let group = context.expect("DaskWorkerGroup", "demo-default").await;
        eventually("the workers of the new group alone", async || {
            let workers = context.list("Deployment", &workers_of("demo")).await;
            let old = workers.iter().filter(|worker| worker["metadata"]["ownerReferences"][0]["uid"] != uid(&group));
            let counts = (workers.len(), old.count());
            if counts == (2, 0) { Ok(()) } else { Err(format!("workers, old ones among them: {counts:?}")) }
        })
        .await;
        context.settled("demo", 2).await;
        assert_eq!(phases.seen(), ["Created", "Running"]);
    })
    .await;
}

/// With its old name it would conflict with its own pod, which is still shutting down.
#[tokio::test]
#[ignore = "needs a cluster: make live"]
async fn a_deleted_worker_is_replaced_at_once_under_a_new_name() {
    with_controller(async |context| {
        context.create_settled("demo", 3).await;
        let before = by_name(&context.list("Deployment", &workers_of("demo")).await, uid);
        let lost = before.keys().next().unwrap().clone();
        context.delete("Deployment", &lost).await;
        within(SOON, "three workers without the lost one", async || {
            let workers = by_name(&context.list("Deployment", &workers_of("demo")).await, uid);
            let replaced = workers.len() == 3 && !workers.contains_key(&lost);
            if replaced { Ok(()) } else { Err(format!("there are {:?}", workers.keys())) }
        })
        .await;
        context.settled("demo", 3).await;
        let after = by_name(&context.list("Deployment", &workers_of("demo")).await, uid);
        let kept = after.iter().filter(|(name, uid)| before.get(*name) == Some(*uid)).count();
        assert_eq!((after.len(), kept, after.contains_key(&lost)), (3, 2, false));
    })
    .await;
}

/// The watch reports that they are gone, and they continue.
#[tokio::test]
#[ignore = "needs a cluster: make live"]
async fn components_that_lose_a_label_get_it_back_and_no_worker_is_one_too_many() {
    with_controller(async |context| {
        context.create_settled("demo", 2).await;
        let before = by_name(&context.list("Deployment", &workers_of("demo")).await, uid);
        let worker = before.keys().next().unwrap().as_str();
        let labels = ["dask.org/component", "dask.org/cluster-name", "dask.org/workergroup-name", "dask.org/worker-id"];
        for (kind, name) in [("Service", "demo-scheduler"), ("Deployment", "demo-scheduler"), ("Deployment", worker)] {
            let old = context.expect(kind, name).await;
            for label in labels.into_iter().filter(|label| old["metadata"]["labels"].get(label).is_some()) {
                context.merge(kind, name, json!({"metadata": {"labels": {label: null}}})).await;
                let has_it = |now: &Value| now["metadata"]["labels"] == old["metadata"]["labels"];
                let new = context.until(kind, name, has_it).await;
                assert_eq!(uid(&new), uid(&old), "{kind} {name} without {label}");
            }
        }
        context.until("DaskCluster", "demo", |demo| condition(demo, "ComponentsCreated").0 == "True").await;
        context.settled("demo", 2).await;
        assert_eq!(by_name(&context.list("Deployment", &workers_of("demo")).await, uid), before);
    })
    .await;
}

// --- Foreign objects ---

/// An object of another owner with the name that the cluster `demo` needs. An apply that takes over fields would
/// succeed: only the check of the owner protects it.
fn foreign(kind: &str) -> Value {
    let (api_version, spec) = if kind == "Service" {
        ("v1", json!({"selector": {"app": "other"}, "ports": [{"name": "http", "port": 80}]}))
    } else {
        let labels = json!({"dask.org/cluster-name": "demo", "dask.org/component": "scheduler"});
        let pod = json!({"containers": [{"name": "scheduler", "image": "other"}]});
        let template = json!({"metadata": {"labels": labels}, "spec": pod});
        let strategy = json!({"type": "Recreate"});
        let selector = json!({"matchLabels": labels});
        ("apps/v1", json!({"replicas": 0, "strategy": strategy, "selector": selector, "template": template}))
    };
    json!({"apiVersion": api_version, "kind": kind, "metadata": {"name": "demo-scheduler"}, "spec": spec})
}

/// Creates what the controller itself would create, without its labels and owner.
async fn lookalike(context: &TestContext, kind: &str) -> Value {
    let controller = context.start_controller().await;
    context.create(&cluster("demo", 0)).await;
    context.running("demo").await;
    let made = context.expect(kind, "demo-scheduler").await;
    controller.kill().await;
    context.delete("DaskCluster", "demo").await;
    for kind in ["Deployment", "Service"] {
        context.goes(kind, "demo-scheduler").await;
    }
    context.goes("DaskWorkerGroup", "demo-default").await;
    let mut spec = made["spec"].clone();
    for field in ["clusterIP", "clusterIPs"] {
        spec.as_object_mut().unwrap().remove(field);
    }
    json!({
        "apiVersion": made["apiVersion"], "kind": kind, "metadata": {"name": "demo-scheduler"}, "spec": spec,
    })
}

async fn assert_left_alone_until_deleted(context: &TestContext, kind: &str, manifest: &Value) {
    context.create(manifest).await;
    let stable = |object: &Value| kind == "Service" || object["status"]["observedGeneration"] == 1;
    let before = context.until(kind, "demo-scheduler", stable).await;
    let _controller = context.start_controller().await;
    context.create(&cluster("demo", 1)).await;
    let is_reported = |demo: &Value| {
        let (status, reason) = condition(demo, "ComponentsCreated");
        status == "False" && reason != "Creating"
    };
    let demo = context.until("DaskCluster", "demo", is_reported).await;
    assert!(message(&demo, "ComponentsCreated").contains("demo-scheduler"), "{demo}");
    // The other components do not wait.
    context.appears("DaskWorkerGroup", "demo-default").await;
    let after = context.expect(kind, "demo-scheduler").await;
    let (before, after) = (by_manager(&before), by_manager(&after));
    assert_eq!(before, after);
    context.delete(kind, "demo-scheduler").await;
    context.settled("demo", 1).await;
}

/// Returns the object without what Kubernetes' own controllers write.
fn by_manager(object: &Value) -> Value {
    let mut object = object.clone();
    if object["kind"] == "Deployment" {
        object.as_object_mut().unwrap().remove("status");
        let metadata = object["metadata"].as_object_mut().unwrap();
        metadata.remove("resourceVersion");
        metadata["managedFields"].as_array_mut().unwrap().retain(|entry| entry["subresource"] != "status");
    }
    object
}

#[tokio::test]
#[ignore = "needs a cluster: make live"]
async fn a_foreign_service_of_the_needed_name_is_not_touched_and_the_cluster_says_what_it_waits_for() {
    with_temp_ns(|context| async move {
        assert_left_alone_until_deleted(&context, "Service", &foreign("Service")).await;
    })
    .await;
}

#[tokio::test]
#[ignore = "needs a cluster: make live"]
async fn a_foreign_deployment_of_the_needed_name_is_not_touched_and_the_cluster_says_what_it_waits_for() {
    with_temp_ns(|context| async move {
        assert_left_alone_until_deleted(&context, "Deployment", &foreign("Deployment")).await;
    })
    .await;
}

/// Without a conflict, an apply would silently take it over, and it would be deleted with the cluster.
#[tokio::test]
#[ignore = "needs a cluster: make live"]
async fn a_foreign_service_that_looks_just_like_ours_is_not_taken_over_either() {
    with_temp_ns(|context| async move {
        let manifest = lookalike(&context, "Service").await;
        assert_left_alone_until_deleted(&context, "Service", &manifest).await;
    })
    .await;
}

#[tokio::test]
#[ignore = "needs a cluster: make live"]
async fn a_foreign_deployment_that_looks_just_like_ours_is_not_taken_over_either() {
    with_temp_ns(|context| async move {
        let mut manifest = lookalike(&context, "Deployment").await;
        manifest["spec"]["template"]["metadata"]["labels"].as_object_mut().unwrap().remove("sidecar.istio.io/inject");
        assert_left_alone_until_deleted(&context, "Deployment", &manifest).await;
    })
    .await;
}

// --- Clusters with a reused name ---

/// The children of the old cluster are not yet garbage collected when the new one needs their names.
#[tokio::test]
#[ignore = "needs a cluster: make live"]
async fn a_cluster_that_is_made_again_at_once_gets_children_of_its_own_each_time() {
    with_controller(async |context| {
        let mut seen = BTreeSet::new();
        for round in 0..10 {
            let demo = context.create(&cluster("demo", 3)).await;
            eventually(&format!("round {round}"), async || whole(&context, &demo, 3).await).await;
            let deployments = context.list("Deployment", &of("demo")).await;
            let services = context.list("Service", &of("demo")).await;
            for child in deployments.iter().chain(&services) {
                assert!(seen.insert(uid(child).to_owned()), "{} was there before", name(child));
            }
            context.delete("DaskCluster", "demo").await;
        }
    })
    .await;
}

/// Returns whether the cluster is `Running`, and nothing but it and its children exists.
async fn whole(context: &TestContext, demo: &Value, workers: usize) -> Result<(), String> {
    let phase = context.expect("DaskCluster", name(demo)).await["status"]["phase"].clone();
    let group = context.get("DaskWorkerGroup", "demo-default").await.unwrap_or_default();
    let owners: Vec<String> = [
        context.list("Deployment", SCHEDULERS).await,
        context.list("Service", SCHEDULERS).await,
        context.list("Deployment", WORKERS).await,
        context.list("DaskWorkerGroup", "").await,
    ]
    .concat()
    .iter()
    .map(|child| child["metadata"]["ownerReferences"][0]["uid"].as_str().unwrap_or_default().to_owned())
    .collect();
    let count = |owner: &str| owners.iter().filter(|uid| *uid == owner).count();
    let of_group = group["metadata"]["uid"].as_str().map_or(0, count);
    let found = (phase.as_str(), owners.len(), count(uid(demo)), of_group);
    let wanted = (Some("Running"), 3 + workers, 3, workers);
    if found == wanted { Ok(()) } else { Err(format!("found {found:?} and not {wanted:?}")) }
}

#[tokio::test]
#[ignore = "needs a cluster: make live"]
async fn ten_namesakes_in_a_row_without_any_wait_leave_the_last_one_whole() {
    with_controller(async |context| {
        for _ in 0..10 {
            context.create(&cluster("demo", 3)).await;
            context.delete("DaskCluster", "demo").await;
        }
        let demo = context.create(&cluster("demo", 3)).await;
        eventually("the last namesake", async || whole(&context, &demo, 3).await).await;
        context.settled("demo", 3).await;
    })
    .await;
}

/// If the controller adopted the old Deployment, the garbage collector would delete a running scheduler.
#[tokio::test]
#[ignore = "needs a cluster: make live"]
async fn a_cluster_waits_for_a_child_of_its_older_namesake_that_takes_its_time_to_go() {
    with_controller(async |context| {
        for (kind, child) in [("Service", "demo-scheduler"), ("DaskWorkerGroup", "demo-default")] {
            context.create_settled("demo", 2).await;
            let finalizers = |finalizers: Value| json!({"metadata": {"finalizers": finalizers}});
            let old = context.merge(kind, child, finalizers(json!(["example.com/hold"]))).await;
            context.delete("DaskCluster", "demo").await;
            let demo = context.create(&cluster("demo", 2)).await;
            let waits = |demo: &Value| condition(demo, "ComponentsCreated") == ("False", "WaitingForDeletion");
            context.until("DaskCluster", "demo", waits).await;
            let left_over = context.expect(kind, child).await;
            assert_eq!(left_over["metadata"]["ownerReferences"], old["metadata"]["ownerReferences"]);
            assert_eq!(left_over["spec"], old["spec"]);

            context.merge(kind, child, finalizers(Value::Null)).await;
            context.settled("demo", 2).await;
            eventually(&format!("the cluster without {kind} {child}"), async || whole(&context, &demo, 2).await).await;
            assert_ne!(uid(&context.expect(kind, child).await), uid(&old));
            context.delete("DaskCluster", "demo").await;
            context.goes("DaskWorkerGroup", "demo-default").await;
        }
    })
    .await;
}

// --- Additional groups ---

#[tokio::test]
#[ignore = "needs a cluster: make live"]
async fn a_group_that_is_created_before_its_cluster_says_so_and_works_as_soon_as_the_cluster_appears() {
    with_controller(async |context| {
        let other =
            context.create(&json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "other"}})).await;
        let foreign = json!({"apiVersion": "v1", "kind": "ConfigMap", "name": "other", "uid": uid(&other)});
        let group = json!({
            "apiVersion": "kubernetes.dask.org/v1",
            "kind": "DaskWorkerGroup",
            "metadata": {"name": "extra", "ownerReferences": [foreign]},
            "spec": {"cluster": "demo", "worker": cluster("demo", 2)["spec"]["worker"]},
        });
        context.create(&group).await;
        let not_found = |group: &Value| condition(group, "Accepted") == ("False", "ClusterNotFound");
        let waiting = context.until("DaskWorkerGroup", "extra", not_found).await;
        assert!(message(&waiting, "Accepted").contains("demo"));
        assert_eq!(context.count("Deployment", "").await, 0);

        let demo = context.create(&cluster("demo", 0)).await;
        let scaled = |group: &Value| condition(group, "Scaled").0 == "True" && group["status"]["replicas"] == 2;
        let group = context.until("DaskWorkerGroup", "extra", scaled).await;
        let owners = group["metadata"]["ownerReferences"].as_array().unwrap();
        assert!(owners.contains(&foreign) && owners.contains(&owned_by(&demo, true)[0]), "{owners:?}");
        assert_eq!(owners.len(), 2);
        // Clients find a cluster's default group by this label, and expect one.
        assert_eq!(group["metadata"]["labels"], Value::Null);
        assert_eq!(context.count("Deployment", "dask.org/workergroup-name=extra").await, 2);
    })
    .await;
}

// --- Steady state and shutdown ---

type Versions = BTreeMap<String, String>;

async fn versions(context: &TestContext) -> Versions {
    let mut versions = Versions::new();
    for kind in ["DaskCluster", "DaskWorkerGroup", "Deployment", "Service"] {
        let objects = context.list(kind, "").await;
        versions
            .extend(by_name(&objects, version).into_iter().map(|(name, version)| (format!("{kind} {name}"), version)));
    }
    versions
}

/// Waits until Kubernetes' scheduler has marked each pod as unschedulable: statuses change until then.
async fn all_unschedulable(context: &TestContext, pods: usize) {
    let selector = "dask.org/cluster-name=demo";
    eventually("what Kubernetes' scheduler says", async || {
        let all = context.list("Pod", selector).await;
        let refused = all.iter().filter(|pod| condition(pod, "PodScheduled").1 == "Unschedulable").count();
        if refused == pods { Ok(()) } else { Err(format!("it has refused {refused} of {}", all.len())) }
    })
    .await;
}

/// A controller that writes in a steady state wakes itself and every watcher for ever.
#[tokio::test]
#[ignore = "needs a cluster: make live"]
async fn a_settled_cluster_causes_no_writes_not_even_when_the_controller_starts_again() {
    with_temp_ns(|context| async move {
        let controller = context.start_controller().await;
        context.create_settled("demo", 3).await;
        let barrier = async |name: &str| {
            context.create_settled(name, 0).await;
        };
        all_unschedulable(&context, 4).await;
        barrier("before").await;
        let is_told = |cluster: &Value| {
            ["SchedulerReady", "WorkersAvailable"].iter().all(|type_| condition(cluster, type_).1 == "Unschedulable")
        };
        context.until("DaskCluster", "demo", is_told).await;
        let before = versions(&context).await.into_iter().filter(|(name, _)| !name.contains("before"));
        let before: Versions = before.collect();
        assert_eq!(before.len(), 7);

        barrier("while-running").await;
        assert!(controller.stop().await.success());
        let _controller = context.start_controller().await;
        barrier("after-restart").await;
        // Wakes the cluster and its group without a change.
        context.annotate("DaskCluster", "while-running", "touched", "1").await;
        barrier("after-touch").await;

        let after: Versions =
            versions(&context).await.into_iter().filter(|(name, _)| before.contains_key(name)).collect();
        assert_eq!(before, after);
        let events = context.list("Event", "").await;
        // There is no node here, which is reported.
        let is_progress =
            |event: &&Value| event["reportingController"] == "dask-operator" && event["reason"] != "Unschedulable";
        assert_eq!(events.iter().find(is_progress), None, "normal progress makes no Events");
    })
    .await;
}

/// The kubelet kills it after 30 s; an upgrade should not take that long.
#[tokio::test]
#[ignore = "needs a cluster: make live"]
async fn the_controller_stops_in_good_order_on_sigterm() {
    with_temp_ns(|context| async move {
        let controller = context.start_controller().await;
        context.create(&cluster("demo", 1)).await;
        let code = tokio::time::timeout(Duration::from_secs(10), controller.stop()).await.expect("it stops soon");
        assert!(code.success(), "{code:?}");
        let _next = context.start_controller().await;
        context.settled("demo", 1).await;
    })
    .await;
}

/// Kubernetes empties a namespace kind by kind, and refuses what a controller would recreate. That is expected and must
/// not be reported as an error.
#[tokio::test]
#[ignore = "needs a cluster: make live"]
async fn a_namespace_that_is_deleted_ends_without_a_word_of_failure() {
    with_temp_ns(|context| async move {
        let ending = TestContext::of(context.client.clone(), &format!("{}-ending", context.namespace));
        ending.create_namespace().await;
        let _controller = context.start_controller_with(&["--namespace", &ending.namespace]).await;
        for index in 0..5 {
            ending.create(&cluster(&format!("demo{index}"), 2)).await;
        }
        for index in 0..5 {
            ending.settled(&format!("demo{index}"), 2).await;
        }
        let namespaces: Api<Namespace> = Api::all(context.client.clone());
        namespaces.delete(&ending.namespace, &DeleteParams::default()).await.unwrap();
        ending.namespace_goes().await;
        let log = context.controller_log();
        assert!(!log.contains("being terminated") && !log.contains("reconciliation failed"), "{log}");
    })
    .await;
}
