//! The cluster on which an operator is measured. Each measurement runs in a namespace of its own.

use std::path::{Path, PathBuf};

use dask_operator::crd::{self, DaskAutoscaler, DaskCluster, DaskOperatorPlugin, DaskWorkerGroup};
use futures::{StreamExt as _, TryStreamExt as _, stream};
use k8s_openapi::{
    api::{
        apps::v1::Deployment,
        core::v1::{ConfigMap, Namespace, Secret, Service},
    },
    apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition,
};
use kube::{
    Api, Client, ResourceExt as _,
    api::{DeleteParams, DynamicObject, ListParams, PartialObjectMeta, Patch, PatchParams, PostParams},
    config::Kubeconfig,
    core::ApiResource,
    runtime::{conditions::is_crd_established, wait::await_condition},
};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::{
    Error,
    account::{self, Account},
    components::Components,
    operator::{Operator, OperatorConfig, Program},
    wait::{TIMEOUT, wait_until},
};

/// Concurrent requests of the bench's own client: as many as the controller sends for one plugin.
pub(crate) const CONCURRENCY: usize = 8;
const FIELD_MANAGER: &str = "bench";

/// A kind that measurements read or write.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Kind {
    ConfigMap,
    DaskAutoscaler,
    DaskCluster,
    DaskOperatorPlugin,
    DaskWorkerGroup,
    Deployment,
    Secret,
    Service,
}

impl Kind {
    pub(crate) fn resource(self) -> ApiResource {
        match self {
            Self::ConfigMap => ApiResource::erase::<ConfigMap>(&()),
            Self::DaskAutoscaler => ApiResource::erase::<DaskAutoscaler>(&()),
            Self::DaskCluster => ApiResource::erase::<DaskCluster>(&()),
            Self::DaskOperatorPlugin => ApiResource::erase::<DaskOperatorPlugin>(&()),
            Self::DaskWorkerGroup => ApiResource::erase::<DaskWorkerGroup>(&()),
            Self::Deployment => ApiResource::erase::<Deployment>(&()),
            Self::Secret => ApiResource::erase::<Secret>(&()),
            Self::Service => ApiResource::erase::<Service>(&()),
        }
    }
}

/// A cluster with the CustomResourceDefinitions of one operator.
pub(crate) struct BenchCluster {
    pub(crate) client: Client,
    pub(crate) account: Account,
    pub(crate) program: Program,
    pub(crate) components: Components,
    /// The administrator's kubeconfig.
    pub(crate) kubeconfig: PathBuf,
    pub(crate) dir: TempDir,
}

/// The namespace of one measurement.
pub(crate) struct BenchNamespace<'a> {
    pub(crate) cluster: &'a BenchCluster,
    pub(crate) client: Client,
    pub(crate) name: String,
    /// For logs, sockets and certificates.
    pub(crate) dir: TempDir,
}

impl BenchCluster {
    /// Prepares the cluster of `kubeconfig` for `program`: CustomResourceDefinitions and account.
    pub(crate) async fn new(kubeconfig: &Path, program: Program) -> Result<Self, Error> {
        let client = account::client_of(Kubeconfig::read_from(kubeconfig)?).await?;
        let definitions = match &program {
            Program::Ours(_) => crd::all(),
            Program::Upstream(environment) => upstream_definitions(environment)?,
        };
        let api: Api<CustomResourceDefinition> = Api::all(client.clone());
        for definition in definitions {
            let name = definition.name_any();
            api.patch(&name, &PatchParams::apply(FIELD_MANAGER).force(), &Patch::Apply(&definition)).await?;
            let established = await_condition(api.clone(), &name, is_crd_established());
            let waited = tokio::time::timeout(TIMEOUT, established).await;
            waited.map_err(|_| Error::Timeout(name))?.map_err(|error| Error::Watch(error.to_string()))?;
        }
        let dir = tempfile::tempdir()?;
        let account = Account::new(kubeconfig, dir.path()).await?;
        let components = Components::read(kubeconfig)?;
        Ok(Self { client, account, program, components, kubeconfig: kubeconfig.to_owned(), dir })
    }

    /// Runs `measure` in a new namespace. The namespace is gone when this returns, so that its deletion does not affect
    /// the next measurement.
    pub(crate) async fn with_namespace<T>(
        &self,
        measure: impl AsyncFnOnce(&BenchNamespace<'_>) -> Result<T, Error>,
    ) -> Result<T, Error> {
        let name = format!("bench-{:08x}", fastrand::u32(..));
        let namespaces: Api<Namespace> = Api::all(self.client.clone());
        let manifest = serde_json::from_value(json!({"metadata": {"name": name}}))?;
        namespaces.create(&PostParams::default(), &manifest).await?;
        let dir = tempfile::tempdir_in(self.dir.path())?;
        let namespace = BenchNamespace { cluster: self, client: self.client.clone(), name: name.clone(), dir };
        let result = measure(&namespace).await;
        namespace.remove_finalizers().await?;
        namespaces.delete(&name, &DeleteParams::default()).await?;
        wait_until("the namespace to be deleted", async || Ok(namespaces.get_opt(&name).await?.is_none())).await?;
        result
    }
}

/// Returns the CustomResourceDefinitions that dask-kubernetes ships.
fn upstream_definitions(environment: &Path) -> Result<Vec<CustomResourceDefinition>, Error> {
    const FOLDER: &str = "site-packages/dask_kubernetes/operator/deployment/helm/dask-kubernetes-operator/crds";
    let mut definitions = Vec::new();
    for python in std::fs::read_dir(environment.join("lib"))? {
        for file in std::fs::read_dir(python?.path().join(FOLDER))? {
            let text = std::fs::read_to_string(file?.path())?;
            definitions.push(serde_saphyr::from_str(&text).map_err(|error| Error::Definition(error.to_string()))?);
        }
    }
    Ok(definitions)
}

impl BenchNamespace<'_> {
    /// Starts the operator that is measured, and waits until it is ready.
    pub(crate) async fn start(&self) -> Result<Operator, Error> {
        let config = OperatorConfig {
            kubeconfig: &self.cluster.account.kubeconfig,
            namespace: &self.name,
            dir: self.dir.path(),
        };
        let mut operator = Operator::start(&self.cluster.program, &config)?;
        operator.wait_until_ready().await?;
        Ok(operator)
    }

    /// Removes the finalizers that the operator would remove if it still ran.
    async fn remove_finalizers(&self) -> Result<(), Error> {
        for kind in [Kind::DaskCluster, Kind::DaskWorkerGroup] {
            let objects = self.metadata(kind).list(&ListParams::default()).await?.items;
            for object in objects.iter().filter(|object| !object.finalizers().is_empty()) {
                let patch = Patch::Merge(json!({"metadata": {"finalizers": null}}));
                self.api(kind).patch_metadata(&object.name_any(), &PatchParams::default(), &patch).await?;
            }
        }
        Ok(())
    }

    pub(crate) fn api(&self, kind: Kind) -> Api<DynamicObject> {
        Api::namespaced_with(self.client.clone(), &self.name, &kind.resource())
    }

    /// Like [`Self::api`], for metadata only.
    pub(crate) fn metadata(&self, kind: Kind) -> Api<PartialObjectMeta<DynamicObject>> {
        Api::namespaced_with(self.client.clone(), &self.name, &kind.resource())
    }

    pub(crate) async fn get(&self, kind: Kind, name: &str) -> Result<Option<Value>, Error> {
        let found = self.api(kind).get_opt(name).await?;
        Ok(found.map(serde_json::to_value).transpose()?)
    }

    /// Creates an object without waiting for its effects.
    pub(crate) async fn create(&self, kind: Kind, manifest: &Value) -> Result<(), Error> {
        let object: DynamicObject = serde_json::from_value(manifest.clone())?;
        self.api(kind).create(&PostParams::default(), &object).await?;
        Ok(())
    }

    /// Creates a DaskCluster.
    pub(crate) async fn create_cluster(&self, name: &str, workers: usize) -> Result<(), Error> {
        self.create(Kind::DaskCluster, &cluster_manifest(name, workers)).await
    }

    /// Creates DaskClusters, [`CONCURRENCY`] at a time.
    pub(crate) async fn create_clusters(&self, names: &[String], workers: usize) -> Result<(), Error> {
        let creations = names.iter().map(|name| self.create_cluster(name, workers));
        stream::iter(creations).buffer_unordered(CONCURRENCY).try_collect().await
    }

    /// Deletes all objects of `kind` that `labels` select. Waits until they are gone.
    pub(crate) async fn clear(&self, kind: Kind, labels: &str) -> Result<(), Error> {
        let (api, selected) = (self.api(kind), ListParams::default().labels(labels));
        api.delete_collection(&DeleteParams::background(), &selected).await?;
        wait_until("objects to be deleted", async || Ok(api.list_metadata(&selected).await?.items.is_empty())).await
    }
}

/// Returns the manifest of a DaskCluster as users write it.
pub(crate) fn cluster_manifest(name: &str, workers: usize) -> Value {
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
