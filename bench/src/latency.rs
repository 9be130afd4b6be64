//! How soon a new cluster's child stands, one cluster at a time.

use std::time::{Duration, Instant};

use serde_json::json;

use crate::{
    Error,
    lab::{Kind, Lab},
    plugin::{CHILDREN, Installed, Temper, child_of},
    sightings::Sightings,
};

/// Since the cluster's creation was asked for, for each cluster.
#[derive(Default)]
pub(crate) struct Latency {
    /// The subject, without a plugin.
    pub(crate) subject_alone: Vec<Duration>,
    /// The subject, with a plugin.
    pub(crate) subject: Vec<Duration>,
    pub(crate) child: Vec<Duration>,
    /// From subject to child.
    pub(crate) added: Vec<Duration>,
}

/// Measures so many clusters without a plugin, and as many with one.
pub(crate) async fn measure(lab: &Lab, clusters: usize) -> Result<Latency, Error> {
    let subjects = json!([{"kind": "Service", "component": "scheduler"}]);
    let plugin = Installed::new(lab, Temper::Quick, subjects).await?;
    let services = Sightings::of(lab.metadata(Kind::Service), "dask.org/component");
    let children = Sightings::of(lab.metadata(Kind::ConfigMap), CHILDREN);
    let mut latency = Latency::default();
    for number in 0..clusters {
        let name = format!("a{number}");
        let begin = Instant::now();
        lab.create_cluster(&name, 0).await?;
        let subject = services.of_name(&format!("{name}-scheduler")).await?;
        latency.subject_alone.push(subject - begin);
    }
    plugin.resume().await?;
    plugin.ready().await?;
    children.until(clusters).await?;
    for number in 0..clusters {
        let name = format!("b{number}");
        let begin = Instant::now();
        lab.create_cluster(&name, 0).await?;
        let subject = services.of_name(&format!("{name}-scheduler")).await?;
        let child = children.of_name(&child_of(&name)).await?;
        latency.subject.push(subject - begin);
        latency.child.push(child - begin);
        latency.added.push(child.saturating_duration_since(subject));
    }
    Ok(latency)
}
