//! The plugins that are measured. They are served by the plugin server kit with mutual TLS.

use std::{
    future::pending,
    net::{Ipv4Addr, TcpListener},
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use k8s_openapi::ByteString;
use kube::api::{DynamicObject, Patch, PatchParams, PostParams};
use plugin_server_kit::{
    Answer, Plugin, PluginError,
    protocol::{Child, Discovery, PluginRequest},
    router,
    serve::{Listener, serve},
    tls::Tls,
};
use serde_json::{Value, json};
use tokio::task::AbortHandle;

use crate::{
    Error,
    cluster::{BenchNamespace, Kind},
    wait::wait_until,
};

/// Label selector of the children of all plugins.
pub(crate) const CHILD_SELECTOR: &str = "plugin.kubernetes.dask.org/plugin";
/// Response time of a plugin.
const LATENCY: Duration = Duration::from_millis(1);

/// How a plugin responds.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Behaviour {
    /// With one ConfigMap for each subject, after [`LATENCY`].
    Responsive,
    /// Never.
    Hanging,
}

struct BenchPlugin {
    name: String,
    behaviour: Behaviour,
    calls: Arc<AtomicUsize>,
}

impl Plugin for BenchPlugin {
    fn discovery(&self) -> Discovery {
        Discovery::new(&self.name, env!("CARGO_PKG_VERSION"))
    }

    async fn sync(&self, request: &PluginRequest) -> Result<Answer, PluginError> {
        self.calls.fetch_add(1, Ordering::Relaxed);
        if matches!(self.behaviour, Behaviour::Hanging) {
            return pending().await;
        }
        tokio::time::sleep(LATENCY).await;
        let data = json!({"cluster": request.owner.name(), "subject": request.subject.name()});
        Ok(Child::new("config", json!({"apiVersion": "v1", "kind": "ConfigMap", "data": data})).into())
    }
}

/// Returns the name of the child that `plugin` has for the scheduler's Service of `cluster`.
pub(crate) fn child_name(cluster: &str, plugin: &str) -> String {
    format!("{cluster}-scheduler-{plugin}-config")
}

/// Returns names for `count` plugins.
pub(crate) fn names(count: usize) -> Vec<String> {
    (0..count).map(|number| format!("p{number}")).collect()
}

/// A plugin that is served and has a DaskOperatorPlugin resource. The server stops when this is dropped.
pub(crate) struct InstalledPlugin<'a> {
    namespace: &'a BenchNamespace<'a>,
    name: String,
    calls: Arc<AtomicUsize>,
    server: AbortHandle,
}

impl<'a> InstalledPlugin<'a> {
    /// Installs a plugin for `subjects`, suspended. Waits until the controller has accepted it.
    pub(crate) async fn new(
        namespace: &'a BenchNamespace<'a>,
        name: &str,
        behaviour: Behaviour,
        subjects: &Value,
    ) -> Result<Self, Error> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        let manifest = json!({
            "apiVersion": "kubernetes.dask.org/v1alpha1",
            "kind": "DaskOperatorPlugin",
            "metadata": {"name": name},
            "spec": {
                "endpoint": {"service": {"name": name, "port": listener.local_addr()?.port()}},
                "subjects": subjects,
                "children": [{"apiVersion": "v1", "kind": "ConfigMap"}],
                "suspend": true,
            },
        });
        let object: DynamicObject = serde_json::from_value(manifest)?;
        namespace.api(Kind::DaskOperatorPlugin).create(&PostParams::default(), &object).await?;
        let tls = Tls::load(write_certificates(namespace, name).await?)
            .await
            .map_err(|error| Error::Plugin(error.to_string()))?;
        let calls = Arc::default();
        let plugin = BenchPlugin { name: name.to_owned(), behaviour, calls: Arc::clone(&calls) };
        let server = tokio::spawn(serve(Listener::tls(listener, tls)?, router(plugin), pending())).abort_handle();
        let installed = Self { namespace, name: name.to_owned(), calls, server };
        installed.wait_for_reason("Suspended").await?;
        Ok(installed)
    }

    /// Unsuspends the plugin, without waiting until it is ready.
    pub(crate) async fn resume(&self) -> Result<(), Error> {
        self.set_suspended(false).await
    }

    /// Suspends the plugin. It gets no more requests when this returns.
    pub(crate) async fn suspend(&self) -> Result<(), Error> {
        self.set_suspended(true).await?;
        self.wait_for_reason("Suspended").await
    }

    /// Waits until the plugin is ready.
    pub(crate) async fn wait_until_ready(&self) -> Result<(), Error> {
        self.wait_for_reason("Ready").await
    }

    /// Changes the plugin's settings, so that it is asked about all subjects again.
    pub(crate) async fn resync(&self) -> Result<(), Error> {
        let settings = json!({"spec": {"settings": {"resync": self.calls()}}});
        self.patch(settings).await
    }

    /// Returns the number of Sync requests so far.
    pub(crate) fn calls(&self) -> usize {
        self.calls.load(Ordering::Relaxed)
    }

    async fn set_suspended(&self, suspend: bool) -> Result<(), Error> {
        self.patch(json!({"spec": {"suspend": suspend}})).await
    }

    async fn patch(&self, patch: Value) -> Result<(), Error> {
        let api = self.namespace.api(Kind::DaskOperatorPlugin);
        api.patch(&self.name, &PatchParams::default(), &Patch::Merge(patch)).await?;
        Ok(())
    }

    /// Waits until the plugin's `Ready` condition has this reason.
    async fn wait_for_reason(&self, reason: &str) -> Result<(), Error> {
        wait_until(&format!("the plugin to be {reason}"), async || {
            let resource = self.namespace.get(Kind::DaskOperatorPlugin, &self.name).await?.unwrap_or_default();
            let conditions = resource["status"]["conditions"].as_array();
            let matches = |condition: &Value| condition["type"] == "Ready" && condition["reason"] == reason;
            Ok(conditions.is_some_and(|conditions| conditions.iter().any(matches)))
        })
        .await
    }
}

impl Drop for InstalledPlugin<'_> {
    fn drop(&mut self) {
        self.server.abort();
    }
}

/// Writes the files of the plugin's Secret to a directory, as the kubelet does. Returns the directory.
async fn write_certificates(namespace: &BenchNamespace<'_>, name: &str) -> Result<PathBuf, Error> {
    let secret = format!("{name}-plugin-tls");
    wait_until("the plugin's certificate", async || Ok(namespace.get(Kind::Secret, &secret).await?.is_some())).await?;
    let secret = namespace.get(Kind::Secret, &secret).await?.unwrap_or_default();
    let directory = namespace.dir.path().join(name);
    std::fs::create_dir_all(&directory)?;
    for file in ["ca.crt", "tls.crt", "tls.key"] {
        let bytes: ByteString = serde_json::from_value(secret["data"][file].clone())?;
        std::fs::write(directory.join(file), bytes.0)?;
    }
    Ok(directory)
}
