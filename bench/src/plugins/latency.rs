//! How soon a new cluster's child stands, one cluster at a time.

use std::time::{Duration, Instant};

use serde_json::json;

use crate::{
    Error,
    lab::{Kind, Lab},
    plugins::plugin::{CHILDREN, Installed, Temper, child_of, names},
    sightings::Sightings,
};

/// Since the cluster's creation was asked for, for each cluster.
#[derive(Default)]
pub(crate) struct Latency {
    pub(crate) plugins: usize,
    /// The subject, without a plugin.
    pub(crate) subject_alone: Vec<Duration>,
    /// The subject, with a plugin.
    pub(crate) subject: Vec<Duration>,
    pub(crate) child: Vec<Duration>,
    /// From subject to child.
    pub(crate) added: Vec<Duration>,
}

/// Measures so many clusters without plugins, and as many with so many plugins.
pub(crate) async fn measure(lab: &Lab<'_>, clusters: usize, plugins: usize) -> Result<Latency, Error> {
    let _operator = lab.start().await?;
    let subjects = json!([{"kind": "Service", "component": "scheduler"}]);
    let mut installed = Vec::new();
    for name in names(plugins) {
        installed.push(Installed::new(lab, &name, Temper::Quick, &subjects).await?);
    }
    let services = Sightings::of(lab.metadata(Kind::Service), "dask.org/component");
    let children = Sightings::of(lab.metadata(Kind::ConfigMap), CHILDREN);
    let mut latency = Latency { plugins, ..Latency::default() };
    for number in 0..clusters {
        let name = format!("a{number}");
        let begin = Instant::now();
        lab.create_cluster(&name, 0).await?;
        let subject = services.of_name(&format!("{name}-scheduler")).await?;
        latency.subject_alone.push(subject - begin);
    }
    for plugin in &installed {
        plugin.resume().await?;
        plugin.ready().await?;
    }
    children.until(clusters * plugins).await?;
    for number in 0..clusters {
        let name = format!("b{number}");
        let begin = Instant::now();
        lab.create_cluster(&name, 0).await?;
        let subject = services.of_name(&format!("{name}-scheduler")).await?;
        latency.subject.push(subject - begin);
        for plugin in names(plugins) {
            let child = children.of_name(&child_of(&name, &plugin)).await?;
            latency.child.push(child - begin);
            latency.added.push(child.saturating_duration_since(subject));
        }
    }
    Ok(latency)
}
