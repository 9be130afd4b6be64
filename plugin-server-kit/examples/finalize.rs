//! A plugin that holds something outside of the cluster, and releases it when the cluster is deleted.
//!
//! It registers a DNS name for each cluster. The client of the DNS service is left out: a map takes its place.
//!
//! ```console
//! $ PLUGIN_INSECURE_PORT=8000 cargo run --example finalize
//! ```

use std::collections::BTreeMap;
use std::process::ExitCode;
use std::sync::Arc;

use dask_plugin_server::protocol::{Child, Discovery, Hook, PluginRequest};
use dask_plugin_server::{Answer, Plugin, PluginError, run, settings};
use serde::Deserialize;
use serde_json::json;
use tokio::sync::Mutex;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Settings {
    domain: String,
}

/// A DNS service outside of the cluster. Both operations are idempotent, because a call may be repeated.
#[derive(Default)]
struct Zone {
    /// Names by the uid of the owner.
    records: Mutex<BTreeMap<String, String>>,
}

impl Zone {
    async fn register(&self, uid: &str, name: &str) {
        self.records.lock().await.insert(uid.to_owned(), name.to_owned());
    }

    async fn unregister(&self, uid: &str) {
        self.records.lock().await.remove(uid);
    }
}

struct Dns {
    zone: Arc<Zone>,
}

impl Plugin for Dns {
    fn discovery(&self) -> Discovery {
        // Without the hook, the controller does not wait for this plugin when a cluster is deleted.
        Discovery::new("dns", env!("CARGO_PKG_VERSION")).hook(Hook::Finalize)
    }

    async fn sync(&self, request: &PluginRequest) -> Result<Answer, PluginError> {
        let settings: Settings = settings(request)?;
        let name = format!("{}.{}", request.owner.name(), settings.domain);
        // A dry run must not change anything outside of the cluster.
        if !request.dry_run {
            self.zone.register(uid(request)?, &name).await;
        }
        let map = json!({"apiVersion": "v1", "kind": "ConfigMap", "data": {"name": name}});
        Ok(Child::new("dns", map).into())
    }

    async fn finalize(&self, request: &PluginRequest) -> Result<(), PluginError> {
        if request.dry_run {
            return Ok(());
        }
        self.zone.unregister(uid(request)?).await;
        Ok(())
    }
}

fn uid(request: &PluginRequest) -> Result<&str, PluginError> {
    let uid = request.owner.object["metadata"]["uid"].as_str();
    uid.ok_or_else(|| PluginError::failure("NoUid", "the owner has no metadata.uid"))
}

#[tokio::main]
async fn main() -> ExitCode {
    run(Dns { zone: Arc::default() }).await
}
