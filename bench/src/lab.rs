//! The cluster on which an operator is measured, and namespaces in it, one for each measurement.

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

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
    operator::{Operator, Place, Program},
};

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

/// A cluster with the definitions of one operator.
pub(crate) struct Bench {
    pub(crate) client: Client,
    pub(crate) account: Account,
    pub(crate) program: Program,
    pub(crate) components: Components,
    /// The administrator's kubeconfig.
    pub(crate) kubeconfig: PathBuf,
    pub(crate) dir: TempDir,
}

/// A namespace of its own for one measurement.
pub(crate) struct Lab<'a> {
    pub(crate) bench: &'a Bench,
    pub(crate) client: Client,
    pub(crate) namespace: String,
    pub(crate) dir: TempDir,
}

impl Bench {
    /// Prepares the cluster of `kubeconfig` for `program`: its definitions and its account.
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
            let waited = tokio::time::timeout(PATIENCE, established).await;
            waited.map_err(|_| Error::Late(name))?.map_err(|error| Error::Watch(error.to_string()))?;
        }
        let dir = tempfile::tempdir()?;
        let account = Account::new(kubeconfig, dir.path()).await?;
        let components = Components::of(kubeconfig)?;
        Ok(Self { client, account, program, components, kubeconfig: kubeconfig.to_owned(), dir })
    }

    /// Measures in a new lab, which goes afterwards with all that is in it, so that its end disturbs nobody else.
    pub(crate) async fn with_lab<T>(
        &self,
        measure: impl AsyncFnOnce(&Lab<'_>) -> Result<T, Error>,
    ) -> Result<T, Error> {
        let namespace = format!("bench-{:08x}", fastrand::u32(..));
        let namespaces: Api<Namespace> = Api::all(self.client.clone());
        let manifest = serde_json::from_value(json!({"metadata": {"name": namespace}}))?;
        namespaces.create(&PostParams::default(), &manifest).await?;
        let dir = tempfile::tempdir_in(self.dir.path())?;
        let lab = Lab { bench: self, client: self.client.clone(), namespace: namespace.clone(), dir };
        let result = measure(&lab).await;
        lab.release().await?;
        namespaces.delete(&namespace, &DeleteParams::default()).await?;
        until("the namespace to go", async || Ok(namespaces.get_opt(&namespace).await?.is_none())).await?;
        result
    }
}

/// The definitions that dask-kubernetes ships.
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

/// Polls `check` until it holds; for what is not measured.
pub(crate) async fn until(what: &str, check: impl AsyncFnMut() -> Result<bool, Error>) -> Result<(), Error> {
    until_every(POLL, what, check).await
}

/// As [`until`], for what is measured, with a pause of its own.
pub(crate) async fn until_every(
    pause: Duration,
    what: &str,
    mut check: impl AsyncFnMut() -> Result<bool, Error>,
) -> Result<(), Error> {
    let wait = async {
        while !check().await? {
            tokio::time::sleep(pause).await;
        }
        Ok(())
    };
    tokio::time::timeout(PATIENCE, wait).await.map_err(|_| Error::Late(what.to_owned()))?
}

impl Lab<'_> {
    /// Starts the operator that is measured, and waits until it is ready.
    pub(crate) async fn start(&self) -> Result<Operator, Error> {
        let place =
            Place { kubeconfig: &self.bench.account.kubeconfig, namespace: &self.namespace, dir: self.dir.path() };
        let mut operator = Operator::start(&self.bench.program, &place)?;
        operator.ready().await?;
        Ok(operator)
    }

    /// Takes the finalizers from what an operator, which is gone, would have to release.
    async fn release(&self) -> Result<(), Error> {
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

    /// Creates an object, and does not wait for anything.
    pub(crate) async fn create(&self, kind: Kind, manifest: &Value) -> Result<(), Error> {
        let object: DynamicObject = serde_json::from_value(manifest.clone())?;
        self.api(kind).create(&PostParams::default(), &object).await?;
        Ok(())
    }

    /// Creates a cluster.
    pub(crate) async fn create_cluster(&self, name: &str, workers: usize) -> Result<(), Error> {
        self.create(Kind::DaskCluster, &cluster(name, workers)).await
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

/// A DaskCluster as users write it.
pub(crate) fn cluster(name: &str, workers: usize) -> Value {
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
