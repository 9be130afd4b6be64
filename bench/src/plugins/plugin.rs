//! The plugins whose cost is measured: real ones over mutual TLS.

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
    lab::{Kind, Lab, until},
};

/// What selects the children of all plugins.
pub(crate) const CHILDREN: &str = "plugin.kubernetes.dask.org/plugin";
/// How long a call takes.
const LATENCY: Duration = Duration::from_millis(1);

/// How the plugin behaves.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Temper {
    /// One ConfigMap for each subject, after [`LATENCY`].
    Quick,
    /// No call is ever answered.
    Hanging,
}

struct Tempered {
    name: String,
    temper: Temper,
    calls: Arc<AtomicUsize>,
}

impl Plugin for Tempered {
    fn discovery(&self) -> Discovery {
        Discovery::new(&self.name, env!("CARGO_PKG_VERSION"))
    }

    async fn sync(&self, request: &PluginRequest) -> Result<Answer, PluginError> {
        self.calls.fetch_add(1, Ordering::Relaxed);
        if matches!(self.temper, Temper::Hanging) {
            return pending().await;
        }
        tokio::time::sleep(LATENCY).await;
        let data = json!({"cluster": request.owner.name(), "subject": request.subject.name()});
        Ok(Child::new("config", json!({"apiVersion": "v1", "kind": "ConfigMap", "data": data})).into())
    }
}

/// The name of the child that `plugin` makes for the scheduler's Service of `cluster`.
pub(crate) fn child_of(cluster: &str, plugin: &str) -> String {
    format!("{cluster}-scheduler-{plugin}-config")
}

/// Names for so many plugins.
pub(crate) fn names(count: usize) -> Vec<String> {
    (0..count).map(|number| format!("p{number}")).collect()
}

/// A plugin that is installed and suspended. Its server stops when this is dropped.
pub(crate) struct Installed<'a> {
    lab: &'a Lab<'a>,
    name: String,
    calls: Arc<AtomicUsize>,
    serving: AbortHandle,
}

impl<'a> Installed<'a> {
    /// Installs and serves a plugin that is asked about `subjects`, and waits until the controller knows it.
    pub(crate) async fn new(lab: &'a Lab<'a>, name: &str, temper: Temper, subjects: &Value) -> Result<Self, Error> {
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
        lab.api(Kind::DaskOperatorPlugin).create(&PostParams::default(), &object).await?;
        let tls = Tls::load(certificates(lab, name).await?).await.map_err(|error| Error::Plugin(error.to_string()))?;
        let calls = Arc::default();
        let plugin = Tempered { name: name.to_owned(), temper, calls: Arc::clone(&calls) };
        let listener = Listener::tls(listener, tls)?;
        let serving = tokio::spawn(serve(listener, router(plugin), pending())).abort_handle();
        let installed = Self { lab, name: name.to_owned(), calls, serving };
        installed.until("Ready", "Suspended").await?;
        Ok(installed)
    }

    /// From now on the plugin is asked.
    pub(crate) async fn resume(&self) -> Result<(), Error> {
        self.set_suspended(false).await
    }

    /// The plugin is not asked any more when this returns.
    pub(crate) async fn suspend(&self) -> Result<(), Error> {
        self.set_suspended(true).await?;
        self.until("Ready", "Suspended").await
    }

    /// Waits until the plugin is asked.
    pub(crate) async fn ready(&self) -> Result<(), Error> {
        self.until("Ready", "Ready").await
    }

    /// The plugin is asked about all subjects once more.
    pub(crate) async fn ask_again(&self) -> Result<(), Error> {
        let settings = json!({"spec": {"settings": {"again": self.calls()}}});
        self.patch(settings).await
    }

    /// Questions so far.
    pub(crate) fn calls(&self) -> usize {
        self.calls.load(Ordering::Relaxed)
    }

    async fn set_suspended(&self, suspend: bool) -> Result<(), Error> {
        self.patch(json!({"spec": {"suspend": suspend}})).await
    }

    async fn patch(&self, patch: Value) -> Result<(), Error> {
        let api = self.lab.api(Kind::DaskOperatorPlugin);
        api.patch(&self.name, &PatchParams::default(), &Patch::Merge(patch)).await?;
        Ok(())
    }

    async fn until(&self, type_: &str, reason: &str) -> Result<(), Error> {
        until(&format!("the plugin to be {reason}"), async || {
            let resource = self.lab.get(Kind::DaskOperatorPlugin, &self.name).await?.unwrap_or_default();
            let conditions = resource["status"]["conditions"].as_array();
            let is_it = |condition: &Value| condition["type"] == type_ && condition["reason"] == reason;
            Ok(conditions.is_some_and(|conditions| conditions.iter().any(is_it)))
        })
        .await
    }
}

impl Drop for Installed<'_> {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

/// Writes the files of the plugin's Secret to a folder, as the kubelet does.
async fn certificates(lab: &Lab<'_>, name: &str) -> Result<PathBuf, Error> {
    let secret = format!("{name}-plugin-tls");
    until("the plugin's certificate", async || Ok(lab.get(Kind::Secret, &secret).await?.is_some())).await?;
    let secret = lab.get(Kind::Secret, &secret).await?.unwrap_or_default();
    let folder = lab.dir.path().join(name);
    std::fs::create_dir_all(&folder)?;
    for file in ["ca.crt", "tls.crt", "tls.key"] {
        let bytes: ByteString = serde_json::from_value(secret["data"][file].clone())?;
        std::fs::write(folder.join(file), bytes.0)?;
    }
    Ok(folder)
}
