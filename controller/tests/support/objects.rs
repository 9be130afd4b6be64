//! Reading, writing and awaiting the objects of a test's namespace. They are JSON, so that no field of the API server's
//! response is lost.

use dask_operator::crd::{DaskAutoscaler, DaskCluster, DaskJob, DaskOperatorPlugin, DaskWorkerGroup};
use k8s_openapi::api::{
    apps::v1::Deployment,
    coordination::v1::Lease,
    core::v1::{ConfigMap, Pod, ResourceQuota, Secret, Service, ServiceAccount},
    discovery::v1::EndpointSlice,
    events::v1::Event,
    networking::v1::{Ingress, NetworkPolicy},
    rbac::v1::{Role, RoleBinding},
};
use kube::{
    Api,
    api::{DeleteParams, DynamicObject, ListParams, Patch, PatchParams, PostParams},
    core::{ApiResource, GroupVersionKind},
};
use serde_json::{Value, json};

use super::{FIELD_MANAGER, TestContext, cluster, condition, eventually};

/// An annotation that no controller reads.
pub(crate) const NUDGE: &str = "example.com/nudge";

impl TestContext {
    /// Returns the API of one kind.
    pub(crate) fn api(&self, kind: &str) -> Api<DynamicObject> {
        Api::namespaced_with(self.client.clone(), &self.namespace, &resource(kind))
    }

    pub(crate) async fn get(&self, kind: &str, name: &str) -> Option<Value> {
        self.api(kind).get_opt(name).await.unwrap().map(|object| to_json(&object))
    }

    /// Returns the object. Panics if it does not exist.
    pub(crate) async fn expect(&self, kind: &str, name: &str) -> Value {
        self.get(kind, name).await.unwrap_or_else(|| panic!("{kind} {name} is not there"))
    }

    /// Waits until the object exists.
    pub(crate) async fn appears(&self, kind: &str, name: &str) -> Value {
        self.until(kind, name, |_| true).await
    }

    /// Waits until the object exists and fulfils `condition`.
    pub(crate) async fn until(&self, kind: &str, name: &str, condition: impl Fn(&Value) -> bool) -> Value {
        eventually(&format!("{kind} {name}"), async || match self.get(kind, name).await {
            Some(object) if condition(&object) => Ok(object),
            Some(object) => Err(format!("it is {}", brief(&object))),
            None => Err("it is not there".to_owned()),
        })
        .await
    }

    /// Waits until the object no longer exists.
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

    /// Counts objects without reading their content.
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

    /// Creates or changes the object with server-side apply.
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

    /// Deletes the object as `kubectl delete` does, without waiting for the garbage collector.
    pub(crate) async fn delete(&self, kind: &str, name: &str) {
        self.api(kind).delete(name, &DeleteParams::background()).await.unwrap();
    }

    /// Creates a cluster and waits until it is [`Self::settled`]. Returns the object as it was created.
    pub(crate) async fn create_settled(&self, name: &str, workers: usize) -> Value {
        let created = self.create(&cluster(name, workers)).await;
        self.settled(name, workers).await;
        created
    }

    /// Changes the annotation [`NUDGE`] of a cluster, so that its plugins are called again. Returns the new value.
    pub(crate) async fn nudge(&self, cluster: &str) -> String {
        let value = format!("{:08x}", fastrand::u32(..));
        self.annotate("DaskCluster", cluster, NUDGE, &value).await;
        value
    }

    /// Waits until the ConfigMap, which is a child of a plugin, has this value.
    pub(crate) async fn until_value(&self, child: &str, value: &str) -> Value {
        self.until("ConfigMap", child, |child| child["data"]["value"] == value).await
    }

    /// Waits until the cluster is `Running`.
    pub(crate) async fn running(&self, cluster: &str) -> Value {
        self.until("DaskCluster", cluster, |cluster| cluster["status"]["phase"] == "Running").await
    }

    /// Waits until the cluster is `Running` with this number of workers, and Kubernetes' own controllers have written their
    /// final status. No node ever runs the pods.
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
        "Certificate" => ApiResource::from_gvk(&GroupVersionKind::gvk("cert-manager.io", "v1", kind)),
        "Gateway" | "VirtualService" => {
            ApiResource::from_gvk(&GroupVersionKind::gvk("networking.istio.io", "v1", kind))
        }
        other => panic!("no test uses the kind {other} yet"),
    }
}

fn to_json(object: &DynamicObject) -> Value {
    serde_json::to_value(object).unwrap()
}

/// Returns the object without its managed fields, for messages.
fn brief(object: &Value) -> String {
    let mut object = object.clone();
    if let Some(metadata) = object["metadata"].as_object_mut() {
        metadata.remove("managedFields");
    }
    object.to_string()
}
