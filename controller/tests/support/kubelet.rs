//! A fake kubelet: pods are bound, run and end. With their pods, workers register with a scheduler and disconnect from it.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use k8s_openapi::{
    api::core::v1::{Namespace, Node, Pod},
    apimachinery::pkg::apis::meta::v1::Status,
};
use kube::{
    Api,
    api::{DeleteParams, Patch, PatchParams, PostParams, Preconditions},
};
use serde_json::{Value, json};
use tokio::task::AbortHandle;

use super::{TestContext, name, scheduler::FakeScheduler, uid};

const PERIOD: Duration = Duration::from_millis(100);
/// A node without a heartbeat for 40 s is lost, and its pods with it.
const HEARTBEAT: Duration = Duration::from_secs(10);

/// Registers the processes of a worker, given the name of its Deployment and the IP address of its pod.
pub(crate) type Connect = fn(&FakeScheduler, &str, &str);

/// Registers the usual worker: one process with the name of its Deployment.
pub(crate) fn by_name(scheduler: &FakeScheduler, deployment: &str, _: &str) {
    scheduler.register(deployment);
}

/// The kubelet of all pods of one namespace. It runs until it is dropped.
pub(crate) struct Kubelet {
    room: Arc<AtomicUsize>,
    task: AbortHandle,
}

impl Drop for Kubelet {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Kubelet {
    /// Starts a kubelet that runs schedulers and at most `room` workers.
    pub(crate) async fn start(
        context: &TestContext,
        scheduler: &Arc<FakeScheduler>,
        connect: Connect,
        room: usize,
    ) -> Self {
        let room = Arc::new(AtomicUsize::new(room));
        let mut node = NodeAgent {
            context: context.clone(),
            scheduler: Arc::clone(scheduler),
            connect,
            room: Arc::clone(&room),
            running: BTreeMap::new(),
            addresses: 0,
        };
        create_cordoned_node(context).await;
        node.send_heartbeat().await;
        let task = tokio::spawn(async move { node.run().await }).abort_handle();
        Self { room, task }
    }

    /// Limits the number of workers from now on. Those that run already stay.
    pub(crate) fn room_for(&self, workers: usize) {
        self.room.store(workers, Ordering::Relaxed);
    }
}

/// Creates a node with the name of the namespace, with which it is deleted. Kubernetes' scheduler binds no pod to it.
pub(crate) async fn create_cordoned_node(context: &TestContext) {
    let name = &context.namespace;
    let namespace = Api::<Namespace>::all(context.client.clone()).get(name).await.unwrap();
    let owner = json!({"apiVersion": "v1", "kind": "Namespace", "name": name, "uid": namespace.metadata.uid});
    let node = json!({
        "metadata": {"name": name, "ownerReferences": [owner]},
        "spec": {"unschedulable": true},
    });
    let node = serde_json::from_value(node).unwrap();
    Api::<Node>::all(context.client.clone()).create(&PostParams::default(), &node).await.unwrap();
}

struct NodeAgent {
    context: TestContext,
    scheduler: Arc<FakeScheduler>,
    connect: Connect,
    room: Arc<AtomicUsize>,
    /// The running pods by uid, with the addresses of a worker's processes; none for a scheduler.
    running: BTreeMap<String, Option<BTreeSet<String>>>,
    addresses: usize,
}

impl NodeAgent {
    fn nodes(&self) -> Api<Node> {
        Api::all(self.context.client.clone())
    }

    async fn send_heartbeat(&self) {
        let now = k8s_openapi::jiff::Timestamp::now().to_string();
        let ready = json!({"type": "Ready", "status": "True", "reason": "Test", "message": "",
            "lastHeartbeatTime": now, "lastTransitionTime": now});
        let patch = Patch::Merge(json!({"status": {"conditions": [ready]}}));
        self.nodes().patch_status(&self.context.namespace, &PatchParams::default(), &patch).await.unwrap();
    }

    async fn run(&mut self) {
        let mut spoken = Instant::now();
        loop {
            for pod in self.context.list("Pod", "").await {
                self.look_at(&pod).await;
            }
            if spoken.elapsed() > HEARTBEAT {
                self.send_heartbeat().await;
                spoken = Instant::now();
            }
            tokio::time::sleep(PERIOD).await;
        }
    }

    async fn look_at(&mut self, pod: &Value) {
        let is_worker = pod["metadata"]["labels"]["dask.org/component"] == "worker";
        let known = self.running.contains_key(uid(pod));
        if pod["metadata"]["deletionTimestamp"].is_string() {
            self.end(pod).await;
        } else if !known && (!is_worker || self.workers() < self.room.load(Ordering::Relaxed)) {
            self.begin(pod, is_worker).await;
        }
    }

    fn workers(&self) -> usize {
        self.running.values().flatten().count()
    }

    async fn begin(&mut self, pod: &Value, is_worker: bool) {
        self.addresses += 1;
        let ip = format!("10.255.{}.{}", self.addresses / 250, self.addresses % 250 + 1);
        // A pod may go at any moment.
        if self.bind(pod).await.is_err() || set_running(&self.context, pod, &ip).await.is_err() {
            return;
        }
        let addresses = is_worker.then(|| {
            let before = addresses(&self.scheduler);
            (self.connect)(&self.scheduler, deployment_of(pod), &ip);
            addresses(&self.scheduler).difference(&before).cloned().collect()
        });
        self.running.insert(uid(pod).to_owned(), addresses);
    }

    async fn bind(&self, pod: &Value) -> Result<Status, kube::Error> {
        let binding = json!({
            "apiVersion": "v1",
            "kind": "Binding",
            "metadata": {"name": name(pod)},
            "target": {"kind": "Node", "name": self.context.namespace},
        });
        let pods: Api<Pod> = Api::namespaced(self.context.client.clone(), &self.context.namespace);
        pods.create_subresource("binding", name(pod), &PostParams::default(), &binding).await
    }

    async fn end(&mut self, pod: &Value) {
        if let Some(Some(gone)) = self.running.remove(uid(pod)) {
            self.scheduler.set(|state| state.workers.retain(|worker| !gone.contains(&worker.address)));
        }
        let preconditions = Preconditions { uid: Some(uid(pod).to_owned()), resource_version: None };
        let now = DeleteParams {
            grace_period_seconds: Some(0),
            preconditions: Some(preconditions),
            ..DeleteParams::default()
        };
        // It may be gone already.
        let _gone = self.context.api("Pod").delete(name(pod), &now).await;
    }
}

fn addresses(scheduler: &FakeScheduler) -> BTreeSet<String> {
    let mut addresses = BTreeSet::new();
    scheduler.set(|state| addresses.extend(state.workers.iter().map(|worker| worker.address.clone())));
    addresses
}

/// Name of the Deployment of `pod`.
pub(crate) fn deployment_of(pod: &Value) -> &str {
    let replica_set = pod["metadata"]["ownerReferences"][0]["name"].as_str().unwrap();
    replica_set.rsplit_once('-').unwrap().0
}

async fn set_running(context: &TestContext, pod: &Value, ip: &str) -> Result<(), kube::Error> {
    let state = |container: &Value| {
        json!({"name": container["name"], "image": "", "imageID": "", "ready": true, "restartCount": 0,
            "state": {"running": {}}})
    };
    let containers: Vec<Value> = pod["spec"]["containers"].as_array().unwrap().iter().map(state).collect();
    let holds = |type_: &str| json!({"type": type_, "status": "True"});
    let conditions = ["PodScheduled", "Initialized", "ContainersReady", "Ready"].map(holds);
    let status = json!({"status": {
        "phase": "Running",
        "podIP": ip,
        "podIPs": [{"ip": ip}],
        "containerStatuses": containers,
        "conditions": conditions,
    }});
    context.try_merge_status("Pod", name(pod), status).await
}
