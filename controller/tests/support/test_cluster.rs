//! A Dask cluster that seems to run: a fake scheduler, workers that are registered with it, a fake kubelet, and a controller.

use std::{collections::BTreeSet, sync::Arc};

use serde_json::{Value, json};

use super::{
    Controller, TestContext, cluster, condition, eventually,
    kubelet::{Connect, Kubelet, by_name},
    name,
    scheduler::FakeScheduler,
    version, with_temp_ns,
};

/// The name of the default group.
pub(crate) const GROUP: &str = "demo-default";

/// The cluster `demo` and everything around it.
pub(crate) struct TestCluster {
    pub(crate) context: TestContext,
    pub(crate) scheduler: Arc<FakeScheduler>,
    pub(crate) kubelet: Kubelet,
    pub(crate) controller: Option<Controller>,
}

/// How a test cluster differs from the usual one.
pub(crate) struct Setup {
    /// The number of workers in the spec.
    pub(crate) workers: usize,
    /// The number of workers that the node has room for.
    pub(crate) room: usize,
    /// How workers register.
    pub(crate) connect: Connect,
    /// Changes the cluster's manifest.
    pub(crate) change: fn(&mut Value),
}

impl Setup {
    pub(crate) fn of(workers: usize) -> Self {
        Self { workers, room: usize::MAX, connect: by_name, change: |_| {} }
    }
}

/// Runs `test` with a cluster of `workers` workers, all registered.
pub(crate) async fn with_workers<Test: Future<Output = ()>>(workers: usize, test: impl FnOnce(TestCluster) -> Test) {
    with_setup(Setup::of(workers), test).await;
}

/// Runs `test` with a cluster that has reached its final state.
pub(crate) async fn with_setup<Test: Future<Output = ()>>(setup: Setup, test: impl FnOnce(TestCluster) -> Test) {
    with_temp_ns(|context| async move {
        let mut test_cluster = TestCluster::around(&context, setup.connect, setup.room).await;
        test_cluster.controller = Some(context.start_controller().await);
        let mut manifest = test_cluster.manifest(setup.workers);
        (setup.change)(&mut manifest);
        context.apply(&manifest).await;
        let ready = |cluster: &Value| condition(cluster, "SchedulerReady").0 == "True";
        context.until("DaskCluster", "demo", ready).await;
        test_cluster.has_workers(GROUP, setup.workers).await;
        test_cluster.connected(GROUP, setup.workers.min(setup.room)).await;
        test(test_cluster).await;
    })
    .await;
}

impl TestCluster {
    /// Starts scheduler and kubelet, but no controller.
    pub(crate) async fn around(context: &TestContext, connect: Connect, room: usize) -> Self {
        let scheduler = Arc::new(FakeScheduler::start().await);
        let kubelet = Kubelet::start(context, &scheduler, connect, room).await;
        Self { context: context.clone(), scheduler, kubelet, controller: None }
    }

    /// Returns a cluster whose Service has the ports of the scheduler.
    pub(crate) fn manifest(&self, workers: usize) -> Value {
        let mut manifest = cluster("demo", workers);
        let ports = &mut manifest["spec"]["scheduler"]["service"]["ports"];
        ports[0]["port"] = json!(self.scheduler.port());
        ports[1]["port"] = json!(self.scheduler.http_port());
        manifest
    }

    /// Returns another group of the cluster.
    pub(crate) fn group(&self, name: &str, workers: usize) -> Value {
        let worker = self.manifest(workers)["spec"]["worker"].clone();
        json!({
            "apiVersion": "kubernetes.dask.org/v1",
            "kind": "DaskWorkerGroup",
            "metadata": {"name": name},
            "spec": {"cluster": "demo", "worker": worker},
        })
    }

    /// Lists the worker Deployments of a group that are not being deleted.
    pub(crate) async fn deployments(&self, group: &str) -> Vec<Value> {
        let selector = format!("dask.org/component=worker,dask.org/workergroup-name={group}");
        let mut deployments = self.context.list("Deployment", &selector).await;
        deployments.retain(|deployment| deployment["metadata"]["deletionTimestamp"].is_null());
        deployments
    }

    /// Returns the names of these Deployments.
    pub(crate) async fn workers(&self, group: &str) -> BTreeSet<String> {
        self.deployments(group).await.iter().map(|deployment| name(deployment).to_owned()).collect()
    }

    /// Waits until the group has this number of workers and says so. Returns their names.
    pub(crate) async fn has_workers(&self, group: &str, count: usize) -> BTreeSet<String> {
        eventually(&format!("{group} to have {count} workers"), async || {
            let workers = self.workers(group).await;
            let Some(object) = self.context.get("DaskWorkerGroup", group).await else {
                return Err("it is not there".to_owned());
            };
            let says = (condition(&object, "Scaled"), &object["status"]["replicas"]);
            let fits = says.0.0 == "True" && *says.1 == count;
            if workers.len() == count && fits { Ok(workers) } else { Err(format!("has {workers:?} and says {says:?}")) }
        })
        .await
    }

    /// Waits until the group says that this number of its workers is registered.
    pub(crate) async fn connected(&self, group: &str, count: usize) {
        self.context.until("DaskWorkerGroup", group, |group| group["status"]["connectedReplicas"] == count).await;
    }

    /// Sets the number of workers in the group's spec.
    pub(crate) async fn scale(&self, group: &str, workers: usize) {
        self.context.merge("DaskWorkerGroup", group, json!({"spec": {"worker": {"replicas": workers}}})).await;
    }

    /// Waits until the group's condition `Scaled` has this reason.
    pub(crate) async fn scaled_says(&self, group: &str, reason: &str) -> Value {
        self.context.until("DaskWorkerGroup", group, |group| condition(group, "Scaled").1 == reason).await
    }

    /// Returns the addresses of all workers that the scheduler was asked to retire.
    pub(crate) fn retired(&self) -> Vec<String> {
        let address = |address: &Value| address.as_str().unwrap().to_owned();
        let calls = self.scheduler.calls_of("retire_workers");
        calls.iter().flat_map(|call| call["workers"].as_array().unwrap().iter().map(address)).collect()
    }

    /// Returns the address of the worker with this name.
    pub(crate) fn address(&self, worker: &str) -> String {
        let mut found = None;
        self.scheduler.set(|state| {
            found = state.workers.iter().find(|known| known.name == worker).map(|known| known.address.clone());
        });
        found.unwrap()
    }

    pub(crate) async fn restart_controller(&mut self) {
        self.kill_controller().await;
        self.controller = Some(self.context.start_controller().await);
    }

    pub(crate) async fn kill_controller(&mut self) {
        if let Some(controller) = self.controller.take() {
            controller.kill().await;
        }
    }

    /// Returns the versions of all objects that the controller writes.
    pub(crate) async fn versions(&self) -> Vec<(String, String)> {
        let mut versions = Vec::new();
        for kind in ["DaskCluster", "DaskWorkerGroup", "Deployment", "Service"] {
            let objects = self.context.list(kind, "").await;
            versions
                .extend(objects.iter().map(|object| (format!("{kind} {}", name(object)), version(object).to_owned())));
        }
        versions
    }
}
