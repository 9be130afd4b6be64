//! A namespace with a controller of its own, and what is done in it.

use std::{path::Path, time::Duration};

use dask_operator::crd::{self, DaskCluster, DaskOperatorPlugin, DaskWorkerGroup};
use futures::{StreamExt as _, TryStreamExt as _, stream};
use k8s_openapi::{
    api::{
        apps::v1::Deployment,
        core::v1::{ConfigMap, Namespace, Secret, Service},
    },
    apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition,
};
use kube::{
    Api, Client, Config, ResourceExt as _,
    api::{DeleteParams, DynamicObject, ListParams, PartialObjectMeta, Patch, PatchParams, PostParams},
    core::ApiResource,
    runtime::{conditions::is_crd_established, wait::await_condition},
};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::{Error, controller::Controller};

/// As many requests at a time as the controller makes for one plugin.
pub(crate) const PARALLEL: usize = 8;
/// How long anything may take before the measurement is given up.
const PATIENCE: Duration = Duration::from_mins(10);
const POLL: Duration = Duration::from_millis(100);
const FIELD_MANAGER: &str = "bench";

/// A kind that a lab works with.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Kind {
    ConfigMap,
    DaskCluster,
    DaskOperatorPlugin,
    DaskWorkerGroup,
    Deployment,
    Secret,
    Service,
}

impl Kind {
    fn resource(self) -> ApiResource {
        match self {
            Self::ConfigMap => ApiResource::erase::<ConfigMap>(&()),
            Self::DaskCluster => ApiResource::erase::<DaskCluster>(&()),
            Self::DaskOperatorPlugin => ApiResource::erase::<DaskOperatorPlugin>(&()),
            Self::DaskWorkerGroup => ApiResource::erase::<DaskWorkerGroup>(&()),
            Self::Deployment => ApiResource::erase::<Deployment>(&()),
            Self::Secret => ApiResource::erase::<Secret>(&()),
            Self::Service => ApiResource::erase::<Service>(&()),
        }
    }
}

/// A namespace with a controller of its own.
pub(crate) struct Lab {
    pub(crate) client: Client,
    pub(crate) namespace: String,
    pub(crate) dir: TempDir,
    pub(crate) controller: Controller,
}

/// A client of the current cluster, which has the operator's definitions afterwards.
pub(crate) async fn connect() -> Result<Client, Error> {
    let client = Client::try_from(Config::infer().await?)?;
    let api: Api<CustomResourceDefinition> = Api::all(client.clone());
    for definition in crd::all() {
        let name = definition.name_any();
        api.patch(&name, &PatchParams::apply(FIELD_MANAGER).force(), &Patch::Apply(&definition)).await?;
        let established = await_condition(api.clone(), &name, is_crd_established());
        let waited = tokio::time::timeout(PATIENCE, established).await;
        waited.map_err(|_| Error::Late(name))?.map_err(|error| Error::Plugin(error.to_string()))?;
    }
    Ok(client)
}

/// Measures in a new lab, which goes afterwards with all that is in it, so that its end disturbs nobody else.
pub(crate) async fn with_lab<T>(
    client: &Client,
    controller: &Path,
    measure: impl AsyncFnOnce(&Lab) -> Result<T, Error>,
) -> Result<T, Error> {
    let namespace = format!("bench-{:08x}", fastrand::u32(..));
    let namespaces: Api<Namespace> = Api::all(client.clone());
    let manifest = serde_json::from_value(json!({"metadata": {"name": namespace}}))?;
    namespaces.create(&PostParams::default(), &manifest).await?;
    let result = async {
        let dir = tempfile::tempdir()?;
        let controller = Controller::start(controller, &namespace, dir.path())?;
        measure(&Lab { client: client.clone(), namespace: namespace.clone(), dir, controller }).await
    };
    let result = result.await;
    namespaces.delete(&namespace, &DeleteParams::default()).await?;
    until("the namespace to go", async || Ok(namespaces.get_opt(&namespace).await?.is_none())).await?;
    result
}

/// Polls `check` until it holds; for what is not measured.
pub(crate) async fn until(what: &str, mut check: impl AsyncFnMut() -> Result<bool, Error>) -> Result<(), Error> {
    let wait = async {
        while !check().await? {
            tokio::time::sleep(POLL).await;
        }
        Ok(())
    };
    tokio::time::timeout(PATIENCE, wait).await.map_err(|_| Error::Late(what.to_owned()))?
}

impl Lab {
    pub(crate) fn api(&self, kind: Kind) -> Api<DynamicObject> {
        Api::namespaced_with(self.client.clone(), &self.namespace, &kind.resource())
    }

    /// The same without their content.
    pub(crate) fn metadata(&self, kind: Kind) -> Api<PartialObjectMeta<DynamicObject>> {
        Api::namespaced_with(self.client.clone(), &self.namespace, &kind.resource())
    }

    pub(crate) async fn get(&self, kind: Kind, name: &str) -> Result<Option<Value>, Error> {
        let found = self.api(kind).get_opt(name).await?;
        Ok(found.map(serde_json::to_value).transpose()?)
    }

    /// Creates a cluster; it is as complete as it gets without nodes when this is long over.
    pub(crate) async fn create_cluster(&self, name: &str, workers: usize) -> Result<(), Error> {
        let object: DynamicObject = serde_json::from_value(cluster(name, workers))?;
        self.api(Kind::DaskCluster).create(&PostParams::default(), &object).await?;
        Ok(())
    }

    /// Creates clusters, some at a time.
    pub(crate) async fn create_clusters(&self, names: &[String], workers: usize) -> Result<(), Error> {
        let creations = names.iter().map(|name| self.create_cluster(name, workers));
        stream::iter(creations).buffer_unordered(PARALLEL).try_collect().await
    }

    /// Deletes all objects of `kind` that `labels` select, and waits until they are gone.
    pub(crate) async fn clear(&self, kind: Kind, labels: &str) -> Result<(), Error> {
        let (api, selected) = (self.api(kind), ListParams::default().labels(labels));
        api.delete_collection(&DeleteParams::background(), &selected).await?;
        until("objects to go", async || Ok(api.list_metadata(&selected).await?.items.is_empty())).await
    }
}

fn cluster(name: &str, workers: usize) -> Value {
    let container = |name: &str, program: &str| json!({"name": name, "image": "ghcr.io/dask/dask:latest", "args": [program, "--name", "$(DASK_WORKER_NAME)"]});
    let ports = [("tcp-comm", 8786), ("http-dashboard", 8787)];
    let ports = ports.map(|(name, port)| json!({"name": name, "port": port, "targetPort": name}));
    json!({
        "apiVersion": "kubernetes.dask.org/v1",
        "kind": "DaskCluster",
        "metadata": {"name": name},
        "spec": {
            "scheduler": {
                "spec": {"containers": [container("scheduler", "dask-scheduler")]},
                "service": {
                    "selector": {"dask.org/cluster-name": name, "dask.org/component": "scheduler"},
                    "ports": ports,
                },
            },
            "worker": {"replicas": workers, "spec": {"containers": [container("worker", "dask-worker")]}},
        },
    })
}
