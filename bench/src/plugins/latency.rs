//! Measures how soon the child of a new cluster exists, for one cluster at a time.

use std::time::{Duration, Instant};

use serde_json::json;

use crate::{
    Error,
    cluster::{BenchNamespace, Kind},
    plugins::plugin::{Behaviour, CHILD_SELECTOR, InstalledPlugin, child_name, names},
    watch_latency::WatchLatency,
};

/// The times of each cluster since its creation was requested.
#[derive(Default)]
pub(crate) struct Latency {
    pub(crate) plugins: usize,
    /// Until the subject exists, without plugins.
    pub(crate) subject_alone: Vec<Duration>,
    /// Until the subject exists, with plugins.
    pub(crate) subject: Vec<Duration>,
    /// Until the child exists.
    pub(crate) child: Vec<Duration>,
    /// From the subject to the child.
    pub(crate) added: Vec<Duration>,
}

/// Measures `clusters` clusters without plugins, and as many with `plugins` plugins.
pub(crate) async fn measure(namespace: &BenchNamespace<'_>, clusters: usize, plugins: usize) -> Result<Latency, Error> {
    let _operator = namespace.start().await?;
    let subjects = json!([{"kind": "Service", "component": "scheduler"}]);
    let mut installed = Vec::new();
    for name in names(plugins) {
        installed.push(InstalledPlugin::new(namespace, &name, Behaviour::Responsive, &subjects).await?);
    }
    let services = WatchLatency::start(namespace.metadata(Kind::Service), "dask.org/component");
    let children = WatchLatency::start(namespace.metadata(Kind::ConfigMap), CHILD_SELECTOR);
    let mut latency = Latency { plugins, ..Latency::default() };
    for number in 0..clusters {
        let name = format!("a{number}");
        let begin = Instant::now();
        namespace.create_cluster(&name, 0).await?;
        let subject = services.wait_for(&format!("{name}-scheduler")).await?;
        latency.subject_alone.push(subject - begin);
    }
    for plugin in &installed {
        plugin.resume().await?;
        plugin.wait_until_ready().await?;
    }
    children.wait_for_count(clusters * plugins).await?;
    for number in 0..clusters {
        let name = format!("b{number}");
        let begin = Instant::now();
        namespace.create_cluster(&name, 0).await?;
        let subject = services.wait_for(&format!("{name}-scheduler")).await?;
        latency.subject.push(subject - begin);
        for plugin in names(plugins) {
            let child = children.wait_for(&child_name(&name, &plugin)).await?;
            latency.child.push(child - begin);
            latency.added.push(child.saturating_duration_since(subject));
        }
    }
    Ok(latency)
}
