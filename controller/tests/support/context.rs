//! The namespace of one test, and the controllers that serve it.

use std::{path::PathBuf, sync::Arc};

use k8s_openapi::api::core::v1::Namespace;
use kube::{
    Api, Client,
    api::{DeleteParams, PostParams},
};
use serde_json::json;
use tempfile::TempDir;

use super::{Controller, DEADLINE, definitions::install_crds, proxy, within};

/// One test's namespace.
#[derive(Clone)]
pub(crate) struct TestContext {
    pub(crate) client: Client,
    pub(crate) namespace: String,
    dir: Arc<TempDir>,
}

impl TestContext {
    pub(super) async fn new() -> Self {
        let client = Client::try_default().await.expect("there is a cluster: see `make live`");
        install_crds(&client).await;
        let context = Self::of(client, &format!("live-{:08x}", fastrand::u32(..)));
        context.create_namespace().await;
        context
    }

    /// Returns a namespace of a cluster as it is, without creating anything.
    pub(crate) fn of(client: Client, namespace: &str) -> Self {
        let dir = Arc::new(tempfile::tempdir().unwrap());
        Self { client, namespace: namespace.to_owned(), dir }
    }

    /// Creates the namespace and waits for its ServiceAccount: without it, ReplicaSets would back off.
    pub(crate) async fn create_namespace(&self) {
        let namespace = serde_json::from_value(json!({"metadata": {"name": self.namespace}})).unwrap();
        Api::<Namespace>::all(self.client.clone()).create(&PostParams::default(), &namespace).await.unwrap();
        self.appears("ServiceAccount", "default").await;
    }

    /// Deletes the namespace without waiting until it is gone.
    pub(crate) async fn delete_namespace(&self) {
        let namespaces: Api<Namespace> = Api::all(self.client.clone());
        namespaces.delete(&self.namespace, &DeleteParams::default()).await.unwrap();
    }

    /// Waits until the deleted namespace is gone with everything in it.
    pub(crate) async fn namespace_goes(&self) {
        let namespaces: Api<Namespace> = Api::all(self.client.clone());
        within(3 * DEADLINE, "the namespace to go", async || {
            let found = namespaces.get_opt(&self.namespace).await.unwrap();
            found.map_or(Ok(()), |_| Err("it is still there".to_owned()))
        })
        .await;
    }

    /// Returns the log of the controllers of this namespace.
    pub(crate) fn controller_log(&self) -> String {
        std::fs::read_to_string(self.log()).unwrap()
    }

    pub(super) fn log(&self) -> PathBuf {
        self.dir.path().join("controller.log")
    }

    /// Returns the directory in which the controller looks for sockets of plugins.
    pub(crate) fn socket_dir(&self) -> PathBuf {
        self.dir.path().to_owned()
    }

    /// Creates a directory that is removed with the context.
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

    /// Does the same as [`Self::spawn_controller`] with additional flags.
    pub(crate) fn spawn_controller_with(&self, flags: &[&str]) -> Controller {
        Controller::spawn_with(&self.namespace, &self.socket_dir(), &self.log(), (None, flags))
    }

    /// Does the same as [`Self::start_controller`] with additional flags.
    pub(crate) async fn start_controller_with(&self, flags: &[&str]) -> Controller {
        let mut controller = self.spawn_controller_with(flags);
        controller.ready().await;
        controller
    }

    /// Starts a controller that talks to the API server through `proxy`, and waits until it is ready.
    pub(crate) async fn start_controller_through(&self, proxy: &proxy::FaultProxy) -> Controller {
        self.start_controller_through_with(proxy, &[]).await
    }

    /// Does the same as [`Self::start_controller_through`] with additional flags.
    pub(crate) async fn start_controller_through_with(&self, proxy: &proxy::FaultProxy, flags: &[&str]) -> Controller {
        let kubeconfig = proxy.kubeconfig(&self.folder());
        let mut controller =
            Controller::spawn_with(&self.namespace, &self.socket_dir(), &self.log(), (Some(&kubeconfig), flags));
        controller.ready().await;
        controller
    }

    /// Starts a controller that talks to the API server through `proxy`, with additional flags.
    pub(crate) fn spawn_controller_through(&self, proxy: &proxy::FaultProxy, flags: &[&str]) -> Controller {
        let kubeconfig = proxy.kubeconfig(&self.folder());
        Controller::spawn_with(&self.namespace, &self.socket_dir(), &self.log(), (Some(&kubeconfig), flags))
    }
}
