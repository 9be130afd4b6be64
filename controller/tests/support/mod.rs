//! What the tests against a real API server share: namespaces, objects as JSON, the controller's process,
//! and waiting.
#![allow(dead_code, reason = "each test program uses a part of its own")]
#![expect(clippy::unwrap_used, clippy::panic, reason = "in tests, what fails must fail loudly")]

pub(crate) mod controller;
pub(crate) mod fake_cluster;
pub(crate) mod faulty_plugin;
pub(crate) mod hostile;
pub(crate) mod https_plugin;
pub(crate) mod identities;
pub(crate) mod kubelet;
pub(crate) mod misbehaviour;
pub(crate) mod plugin;
pub(crate) mod prometheus;
pub(crate) mod proxy;
pub(crate) mod real;
pub(crate) mod scheduler;
pub(crate) mod test_cluster;

use std::{
    collections::BTreeMap,
    panic::{AssertUnwindSafe, resume_unwind},
    path::PathBuf,
    sync::Arc,
    time::{Duration, Instant},
};

use dask_operator::crd::{self, DaskAutoscaler, DaskCluster, DaskJob, DaskOperatorPlugin, DaskWorkerGroup};
use futures::FutureExt as _;
use k8s_openapi::{
    api::{
        apps::v1::Deployment,
        coordination::v1::Lease,
        core::v1::{ConfigMap, Namespace, Pod, ResourceQuota, Secret, Service, ServiceAccount},
        discovery::v1::EndpointSlice,
        events::v1::Event,
        networking::v1::{Ingress, NetworkPolicy},
        rbac::v1::{Role, RoleBinding},
    },
    apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition,
};
use kube::{
    Api, Client, ResourceExt as _,
    api::{DeleteParams, DynamicObject, ListParams, Patch, PatchParams, PostParams},
    core::ApiResource,
    runtime::{conditions, wait::await_condition},
};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::sync::{OnceCell, RwLock};

pub(crate) use controller::Controller;

/// How long anything may take unless a test says otherwise: ample, since machines differ.
pub(crate) const DEADLINE: Duration = Duration::from_mins(3);
const POLL: Duration = Duration::from_millis(50);
const FIELD_MANAGER: &str = "live-test";

/// One test's namespace.
#[derive(Clone)]
pub(crate) struct TestContext {
    pub(crate) client: Client,
    pub(crate) namespace: String,
    dir: Arc<TempDir>,
}

/// Tests that would slow down others run alone: those hold it for reading, these for writing.
static ALONE: RwLock<()> = RwLock::const_new(());

/// Runs `test` in a namespace of its own, which goes afterwards whatever happened. If the test fails, the
/// controller's log is printed.
pub(crate) async fn with_temp_ns<Test: Future<Output = ()>>(test: impl FnOnce(TestContext) -> Test) {
    let _others_may_run = ALONE.read().await;
    let context = TestContext::new().await;
    run(&context, test(context.clone())).await;
}

/// As [`with_temp_ns`], while no other test of this program runs, and until the namespace is gone.
pub(crate) async fn alone_with_temp_ns<Test: Future<Output = ()>>(test: impl FnOnce(TestContext) -> Test) {
    let _nobody_else_runs = ALONE.write().await;
    let context = TestContext::new().await;
    run(&context, test(context.clone())).await;
    context.namespace_goes().await;
}

async fn run(context: &TestContext, test: impl Future<Output = ()>) {
    let result = AssertUnwindSafe(test).catch_unwind().await;
    let namespaces: Api<Namespace> = Api::all(context.client.clone());
    let deleted = namespaces.delete(&context.namespace, &DeleteParams::default()).await;
    if let Err(panic) = result {
        let log = std::fs::read_to_string(context.log()).unwrap_or_default();
        eprintln!("--- the controller's log in {} ---\n{log}--- end of the log ---", context.namespace);
        resume_unwind(panic);
    }
    deleted.unwrap();
}

/// Polls `check` until it says `Ok`; panics with its last words after [`DEADLINE`].
pub(crate) async fn eventually<T>(what: &str, check: impl AsyncFnMut() -> Result<T, String>) -> T {
    within(DEADLINE, what, check).await
}

/// As [`eventually`], with another deadline.
pub(crate) async fn within<T>(limit: Duration, what: &str, mut check: impl AsyncFnMut() -> Result<T, String>) -> T {
    let begin = Instant::now();
    loop {
        match check().await {
            Ok(result) => return result,
            Err(why) if begin.elapsed() > limit => panic!("waited {limit:?} for {what}, but {why}"),
            Err(_) => tokio::time::sleep(POLL).await,
        }
    }
}

impl TestContext {
    async fn new() -> Self {
        let client = Client::try_default().await.expect("there is a cluster: see `make live`");
        install_crds(&client).await;
        let context = Self::of(client, &format!("live-{:08x}", fastrand::u32(..)));
        context.create_namespace().await;
        context
    }

    /// One namespace of a cluster as it is: nothing is installed, made or removed.
    pub(crate) fn of(client: Client, namespace: &str) -> Self {
        let dir = Arc::new(tempfile::tempdir().unwrap());
        Self { client, namespace: namespace.to_owned(), dir }
    }

    /// A namespace in which pods can be made: without the account, ReplicaSets would back off.
    pub(crate) async fn create_namespace(&self) {
        let namespace = serde_json::from_value(json!({"metadata": {"name": self.namespace}})).unwrap();
        Api::<Namespace>::all(self.client.clone()).create(&PostParams::default(), &namespace).await.unwrap();
        self.appears("ServiceAccount", "default").await;
    }

    /// Deletes the namespace, and does not wait until it is gone.
    pub(crate) async fn delete_namespace(&self) {
        let namespaces: Api<Namespace> = Api::all(self.client.clone());
        namespaces.delete(&self.namespace, &DeleteParams::default()).await.unwrap();
    }

    /// Waits until the namespace, which was deleted, is gone with all that was in it.
    pub(crate) async fn namespace_goes(&self) {
        let namespaces: Api<Namespace> = Api::all(self.client.clone());
        within(3 * DEADLINE, "the namespace to go", async || {
            let found = namespaces.get_opt(&self.namespace).await.unwrap();
            found.map_or(Ok(()), |_| Err("it is still there".to_owned()))
        })
        .await;
    }

    /// What controllers of this namespace have logged so far.
    pub(crate) fn controller_log(&self) -> String {
        std::fs::read_to_string(self.log()).unwrap()
    }

    fn log(&self) -> PathBuf {
        self.dir.path().join("controller.log")
    }

    /// Where the controller looks for Unix sockets of plugins.
    pub(crate) fn socket_dir(&self) -> PathBuf {
        self.dir.path().to_owned()
    }

    /// A new folder that goes with the namespace.
    pub(crate) fn folder(&self) -> PathBuf {
        let folder = self.dir.path().join(format!("{:08x}", fastrand::u32(..)));
        std::fs::create_dir(&folder).unwrap();
        folder
    }

    /// Starts a controller for this namespace and waits until it is ready.
    pub(crate) async fn start_controller(&self) -> Controller {
        let mut controller = self.spawn_controller();
        controller.ready().await;
        controller
    }

    /// Starts a controller for this namespace.
    pub(crate) fn spawn_controller(&self) -> Controller {
        Controller::spawn(&self.namespace, &self.socket_dir(), &self.log())
    }

    /// As [`Self::spawn_controller`], with more flags.
    pub(crate) fn spawn_controller_with(&self, flags: &[&str]) -> Controller {
        Controller::spawn_with(&self.namespace, &self.socket_dir(), &self.log(), (None, flags))
    }

    /// As [`Self::start_controller`], with more flags.
    pub(crate) async fn start_controller_with(&self, flags: &[&str]) -> Controller {
        let mut controller = self.spawn_controller_with(flags);
        controller.ready().await;
        controller
    }

    /// Starts a controller whose API server is `proxy`, and waits until it is ready.
    pub(crate) async fn start_controller_through(&self, proxy: &proxy::FaultProxy) -> Controller {
        self.start_controller_through_with(proxy, &[]).await
    }

    /// As [`Self::start_controller_through`], with more flags.
    pub(crate) async fn start_controller_through_with(&self, proxy: &proxy::FaultProxy, flags: &[&str]) -> Controller {
        let kubeconfig = proxy.kubeconfig(&self.folder());
        let mut controller =
            Controller::spawn_with(&self.namespace, &self.socket_dir(), &self.log(), (Some(&kubeconfig), flags));
        controller.ready().await;
        controller
    }

    /// Starts a controller whose API server is `proxy`, with more flags.
    pub(crate) fn spawn_controller_through(&self, proxy: &proxy::FaultProxy, flags: &[&str]) -> Controller {
        let kubeconfig = proxy.kubeconfig(&self.folder());
        Controller::spawn_with(&self.namespace, &self.socket_dir(), &self.log(), (Some(&kubeconfig), flags))
    }

    /// The objects of one kind, as JSON: nothing that the API server says is lost.
    pub(crate) fn api(&self, kind: &str) -> Api<DynamicObject> {
        Api::namespaced_with(self.client.clone(), &self.namespace, &resource(kind))
    }

    pub(crate) async fn get(&self, kind: &str, name: &str) -> Option<Value> {
        self.api(kind).get_opt(name).await.unwrap().map(|object| to_json(&object))
    }

    /// The object, which has to be there by now.
    pub(crate) async fn expect(&self, kind: &str, name: &str) -> Value {
        self.get(kind, name).await.unwrap_or_else(|| panic!("{kind} {name} is not there"))
    }

    /// Waits for the object.
    pub(crate) async fn appears(&self, kind: &str, name: &str) -> Value {
        self.until(kind, name, |_| true).await
    }

    /// Waits until the object is there and fulfils `condition`.
    pub(crate) async fn until(&self, kind: &str, name: &str, condition: impl Fn(&Value) -> bool) -> Value {
        eventually(&format!("{kind} {name}"), async || match self.get(kind, name).await {
            Some(object) if condition(&object) => Ok(object),
            Some(object) => Err(format!("it is {}", brief(&object))),
            None => Err("it is not there".to_owned()),
        })
        .await
    }

    /// Waits until the object, or the one with `uid`, is not there any more.
    pub(crate) async fn goes(&self, kind: &str, name: &str) {
        eventually(&format!("{kind} {name} to go"), async || {
            self.get(kind, name).await.map_or(Ok(()), |object| Err(format!("it is {}", brief(&object))))
        })
        .await;
    }

    pub(crate) async fn list(&self, kind: &str, selector: &str) -> Vec<Value> {
        let list = self.api(kind).list(&ListParams::default().labels(selector)).await.unwrap();
        list.items.iter().map(to_json).collect()
    }

    /// How many objects there are: without reading them.
    pub(crate) async fn count(&self, kind: &str, selector: &str) -> usize {
        let params = ListParams::default().labels(selector);
        self.api(kind).list_metadata(&params).await.unwrap().items.len()
    }

    pub(crate) async fn create(&self, manifest: &Value) -> Value {
        self.try_create(manifest).await.unwrap()
    }

    pub(crate) async fn try_create(&self, manifest: &Value) -> Result<Value, kube::Error> {
        let object: DynamicObject = serde_json::from_value(manifest.clone()).unwrap();
        let kind = manifest["kind"].as_str().unwrap();
        self.api(kind).create(&PostParams::default(), &object).await.map(|object| to_json(&object))
    }

    /// Server-side apply: creates the object or changes it.
    pub(crate) async fn apply(&self, manifest: &Value) -> Value {
        let (kind, name) = (manifest["kind"].as_str().unwrap(), manifest["metadata"]["name"].as_str().unwrap());
        let params = PatchParams::apply(FIELD_MANAGER).force();
        to_json(&self.api(kind).patch(name, &params, &Patch::Apply(manifest)).await.unwrap())
    }

    pub(crate) async fn merge(&self, kind: &str, name: &str, patch: Value) -> Value {
        to_json(&self.api(kind).patch(name, &PatchParams::default(), &Patch::Merge(patch)).await.unwrap())
    }

    pub(crate) async fn json_patch(&self, kind: &str, name: &str, operations: Value) {
        let patch = Patch::Json::<()>(serde_json::from_value(operations).unwrap());
        self.api(kind).patch(name, &PatchParams::default(), &patch).await.unwrap();
    }

    pub(crate) async fn merge_status(&self, kind: &str, name: &str, patch: Value) {
        self.try_merge_status(kind, name, patch).await.unwrap();
    }

    pub(crate) async fn try_merge_status(&self, kind: &str, name: &str, patch: Value) -> Result<(), kube::Error> {
        let params = PatchParams::default();
        self.api(kind).patch_status(name, &params, &Patch::Merge(patch)).await.map(|_| ())
    }

    pub(crate) async fn annotate(&self, kind: &str, name: &str, key: &str, value: &str) {
        self.merge(kind, name, json!({"metadata": {"annotations": {key: value}}})).await;
    }

    /// Deletes as `kubectl delete` does, and does not wait for what the garbage collector does then.
    pub(crate) async fn delete(&self, kind: &str, name: &str) {
        self.api(kind).delete(name, &DeleteParams::background()).await.unwrap();
    }

    /// Waits until the cluster is `Running`.
    pub(crate) async fn running(&self, cluster: &str) -> Value {
        self.until("DaskCluster", cluster, |cluster| cluster["status"]["phase"] == "Running").await
    }

    /// Waits until the cluster is `Running`, has exactly these workers, and Kubernetes' own controllers
    /// have nothing left to write about them: no node will ever run their pods.
    pub(crate) async fn settled(&self, cluster: &str, workers: usize) {
        self.until("DaskCluster", cluster, |cluster| {
            cluster["status"]["phase"] == "Running" && cluster["status"]["replicas"] == workers
        })
        .await;
        self.until("DaskWorkerGroup", &format!("{cluster}-default"), |group| {
            group["status"]["replicas"] == workers && condition(group, "Scaled").0 == "True"
        })
        .await;
        let selector = format!("dask.org/cluster-name={cluster}");
        eventually(&format!("the Deployments of {cluster}"), async || {
            let deployments = self.list("Deployment", &selector).await;
            let waiting = deployments.iter().filter(|deployment| !is_settled(deployment)).count();
            match (deployments.len(), waiting) {
                (count, 0) if count == workers + 1 => Ok(()),
                (count, waiting) => Err(format!("there are {count}, {waiting} of them unsettled")),
            }
        })
        .await;
    }
}

fn is_settled(deployment: &Value) -> bool {
    deployment["status"]["updatedReplicas"] == 1 && condition(deployment, "Progressing").1 == "ReplicaSetUpdated"
}

/// Once in this program.
pub(crate) async fn install_crds(client: &Client) {
    static INSTALLED: OnceCell<()> = OnceCell::const_new();
    INSTALLED.get_or_init(|| apply_crds(client)).await;
}

async fn apply_crds(client: &Client) {
    let api: Api<CustomResourceDefinition> = Api::all(client.clone());
    for crd in crd::all() {
        let name = crd.name_any();
        let params = PatchParams::apply(FIELD_MANAGER).force();
        api.patch(&name, &params, &Patch::Apply(&crd)).await.unwrap();
        let established = await_condition(api.clone(), &name, conditions::is_crd_established());
        tokio::time::timeout(DEADLINE, established).await.expect("the API server serves the kind").unwrap();
    }
}

fn resource(kind: &str) -> ApiResource {
    match kind {
        "ConfigMap" => ApiResource::erase::<ConfigMap>(&()),
        "DaskAutoscaler" => ApiResource::erase::<DaskAutoscaler>(&()),
        "DaskCluster" => ApiResource::erase::<DaskCluster>(&()),
        "DaskJob" => ApiResource::erase::<DaskJob>(&()),
        "DaskOperatorPlugin" => ApiResource::erase::<DaskOperatorPlugin>(&()),
        "DaskWorkerGroup" => ApiResource::erase::<DaskWorkerGroup>(&()),
        "Deployment" => ApiResource::erase::<Deployment>(&()),
        "EndpointSlice" => ApiResource::erase::<EndpointSlice>(&()),
        "Event" => ApiResource::erase::<Event>(&()),
        "Lease" => ApiResource::erase::<Lease>(&()),
        "Ingress" => ApiResource::erase::<Ingress>(&()),
        "NetworkPolicy" => ApiResource::erase::<NetworkPolicy>(&()),
        "Pod" => ApiResource::erase::<Pod>(&()),
        "ResourceQuota" => ApiResource::erase::<ResourceQuota>(&()),
        "Role" => ApiResource::erase::<Role>(&()),
        "RoleBinding" => ApiResource::erase::<RoleBinding>(&()),
        "Secret" => ApiResource::erase::<Secret>(&()),
        "Service" => ApiResource::erase::<Service>(&()),
        "ServiceAccount" => ApiResource::erase::<ServiceAccount>(&()),
        other => panic!("no test uses the kind {other} yet"),
    }
}

fn to_json(object: &DynamicObject) -> Value {
    serde_json::to_value(object).unwrap()
}

/// For messages: the object without its managed fields.
fn brief(object: &Value) -> String {
    let mut object = object.clone();
    if let Some(metadata) = object["metadata"].as_object_mut() {
        metadata.remove("managedFields");
    }
    object.to_string()
}

/// Status and reason of a condition, "" if it is not there.
pub(crate) fn condition<'a>(object: &'a Value, type_: &str) -> (&'a str, &'a str) {
    let found = condition_of(object, type_);
    let text = |field| found.and_then(|condition| condition[field].as_str()).unwrap_or_default();
    (text("status"), text("reason"))
}

/// The message of a condition, "" if it is not there.
pub(crate) fn message<'a>(object: &'a Value, type_: &str) -> &'a str {
    condition_of(object, type_).and_then(|condition| condition["message"].as_str()).unwrap_or_default()
}

fn condition_of<'a>(object: &'a Value, type_: &str) -> Option<&'a Value> {
    object["status"]["conditions"].as_array()?.iter().find(|condition| condition["type"] == type_)
}

pub(crate) fn name(object: &Value) -> &str {
    object["metadata"]["name"].as_str().unwrap()
}

pub(crate) fn uid(object: &Value) -> &str {
    object["metadata"]["uid"].as_str().unwrap()
}

pub(crate) fn version(object: &Value) -> &str {
    object["metadata"]["resourceVersion"].as_str().unwrap()
}

/// Names of `objects` with what `field` says of each.
pub(crate) fn by_name(objects: &[Value], field: fn(&Value) -> &str) -> BTreeMap<String, String> {
    objects.iter().map(|object| (name(object).to_owned(), field(object).to_owned())).collect()
}

/// The reference that a child has to the Dask resource that it belongs to.
pub(crate) fn owned_by(owner: &Value, blocking: bool) -> Value {
    json!([{
        "apiVersion": owner["apiVersion"],
        "kind": owner["kind"],
        "name": owner["metadata"]["name"],
        "uid": owner["metadata"]["uid"],
        "controller": true,
        "blockOwnerDeletion": blocking,
    }])
}

/// A DaskCluster as users write it.
pub(crate) fn cluster(name: &str, workers: usize) -> Value {
    let scheduler = json!({
        "name": "scheduler",
        "image": "ghcr.io/dask/dask:latest",
        "args": ["dask-scheduler"],
        "env": [{"name": "MINE", "value": "1"}],
        "ports": [{"name": "tcp-comm", "containerPort": 8786}, {"name": "http-dashboard", "containerPort": 8787}],
    });
    let worker = json!({
        "name": "worker",
        "image": "ghcr.io/dask/dask:latest",
        "args": ["dask-worker", "--name", "$(DASK_WORKER_NAME)"],
        "env": [{"name": "MINE", "value": "1"}],
    });
    json!({
        "apiVersion": "kubernetes.dask.org/v1",
        "kind": "DaskCluster",
        "metadata": {"name": name},
        "spec": {
            "scheduler": {
                "spec": {"containers": [scheduler]},
                "service": {
                    "selector": {"dask.org/cluster-name": name, "dask.org/component": "scheduler"},
                    "ports": [
                        {"name": "tcp-comm", "port": 8786, "targetPort": "tcp-comm"},
                        {"name": "http-dashboard", "port": 8787, "targetPort": "http-dashboard"},
                    ],
                },
            },
            "worker": {"replicas": workers, "spec": {"containers": [worker]}},
        },
    })
}
