//! The plugin whose cost is measured: a real one over mutual TLS.

use std::{future::pending, net::Ipv4Addr, path::PathBuf, time::Duration};

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
use tokio::{net::TcpListener, task::AbortHandle};

use crate::{
    Error,
    lab::{Kind, Lab, until},
};

/// Name of the plugin resource.
const NAME: &str = "bench";
/// What selects its children.
pub(crate) const CHILDREN: &str = "plugin.kubernetes.dask.org/plugin=bench";
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

impl Plugin for Temper {
    fn discovery(&self) -> Discovery {
        Discovery::new(NAME, env!("CARGO_PKG_VERSION"))
    }

    async fn sync(&self, request: &PluginRequest) -> Result<Answer, PluginError> {
        if matches!(self, Self::Hanging) {
            return pending().await;
        }
        tokio::time::sleep(LATENCY).await;
        let data = json!({"cluster": request.owner.name(), "subject": request.subject.name()});
        Ok(Child::new("config", json!({"apiVersion": "v1", "kind": "ConfigMap", "data": data})).into())
    }
}

/// The name of the child of the scheduler's Service of `cluster`.
pub(crate) fn child_of(cluster: &str) -> String {
    format!("{cluster}-scheduler-{NAME}-config")
}

/// A plugin that is installed and suspended. Its server stops when this is dropped.
pub(crate) struct Installed<'a> {
    lab: &'a Lab,
    serving: AbortHandle,
}

impl<'a> Installed<'a> {
    /// Installs and serves a plugin that is asked about `subjects`, and waits until the controller knows it.
    pub(crate) async fn new(lab: &'a Lab, temper: Temper, subjects: Value) -> Result<Self, Error> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let manifest = json!({
            "apiVersion": "kubernetes.dask.org/v1alpha1",
            "kind": "DaskOperatorPlugin",
            "metadata": {"name": NAME},
            "spec": {
                "endpoint": {"service": {"name": NAME, "port": listener.local_addr()?.port()}},
                "subjects": subjects,
                "children": [{"apiVersion": "v1", "kind": "ConfigMap"}],
                "suspend": true,
            },
        });
        let object: DynamicObject = serde_json::from_value(manifest)?;
        lab.api(Kind::DaskOperatorPlugin).create(&PostParams::default(), &object).await?;
        let tls = Tls::load(certificates(lab).await?).await.map_err(|error| Error::Plugin(error.to_string()))?;
        let serving = tokio::spawn(serve(Listener::tls(listener, tls), router(temper), pending())).abort_handle();
        let installed = Self { lab, serving };
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

    async fn set_suspended(&self, suspend: bool) -> Result<(), Error> {
        let patch = Patch::Merge(json!({"spec": {"suspend": suspend}}));
        self.lab.api(Kind::DaskOperatorPlugin).patch(NAME, &PatchParams::default(), &patch).await?;
        Ok(())
    }

    async fn until(&self, type_: &str, reason: &str) -> Result<(), Error> {
        until(&format!("the plugin to be {reason}"), async || {
            let resource = self.lab.get(Kind::DaskOperatorPlugin, NAME).await?.unwrap_or_default();
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
async fn certificates(lab: &Lab) -> Result<PathBuf, Error> {
    let secret = format!("{NAME}-plugin-tls");
    until("the plugin's certificate", async || Ok(lab.get(Kind::Secret, &secret).await?.is_some())).await?;
    let secret = lab.get(Kind::Secret, &secret).await?.unwrap_or_default();
    let folder = lab.dir.path().join("tls");
    std::fs::create_dir_all(&folder)?;
    for file in ["ca.crt", "tls.crt", "tls.key"] {
        let bytes: ByteString = serde_json::from_value(secret["data"][file].clone())?;
        std::fs::write(folder.join(file), bytes.0)?;
    }
    Ok(folder)
}
