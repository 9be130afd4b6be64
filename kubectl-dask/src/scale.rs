//! `scale`: sets the number of workers of a group by its scale subresource.

use dask_operator_api::{DaskAutoscaler, DaskWorkerGroup, meta};
use kube::api::{Patch, PatchParams};
use serde_json::json;

use crate::{
    access::Connection,
    args::Format,
    error::Error,
    fetch::{self, Scope},
    json::{name, text},
    output,
};

pub(crate) struct Wanted<'a> {
    pub(crate) cluster: &'a str,
    pub(crate) workers: u32,
    pub(crate) group: Option<&'a str>,
}

pub(crate) async fn run(connection: &Connection, wanted: &Wanted<'_>, format: Format) -> Result<(), Error> {
    let default = meta::default_group_name(wanted.cluster);
    let group = wanted.group.unwrap_or(&default);
    let kind = fetch::resource::<DaskWorkerGroup>();
    let api = connection.untyped(&kind);
    let found = fetch::get(&api, &kind, group).await;
    // Scaling needs no right to read the group.
    let found = found.unwrap_or_else(|gap| {
        output::gaps(&[gap]);
        Some(json!({"spec": {"cluster": wanted.cluster}}))
    });
    if found.is_none_or(|found| text(&found, "/spec/cluster") != wanted.cluster) {
        let place = &connection.namespace;
        return Err(Error::NotFound(format!(
            "worker group {group} of DaskCluster {} in namespace {place}",
            wanted.cluster
        )));
    }
    let patch = json!({"spec": {"replicas": wanted.workers}});
    let scaled = api.patch_scale(group, &PatchParams::default(), &Patch::Merge(&patch)).await;
    scaled.map_err(|error| Error::api(&format!("patch daskworkergroups/scale {group}"), &error))?;
    warn_of_autoscaler(connection, group, wanted.cluster).await;
    match format {
        Format::Json => output::json(&json!({"group": group, "workers": wanted.workers})),
        Format::Table => output::line(&said(group, wanted.workers)),
    }
}

/// Returns what is printed about a group that was scaled.
pub(crate) fn said(group: &str, workers: u32) -> String {
    format!("worker group {group} is scaled to {workers} workers")
}

/// Warns if an autoscaler sets the number of workers as well.
async fn warn_of_autoscaler(connection: &Connection, group: &str, cluster: &str) {
    let autoscalers = fetch::list(connection, &fetch::resource::<DaskAutoscaler>(), Scope::default()).await;
    let default = meta::default_group_name(cluster);
    for autoscaler in autoscalers.unwrap_or_default() {
        let scales = text(&autoscaler, "/spec/workerGroup");
        let scales = if scales.is_empty() { &default } else { scales };
        if text(&autoscaler, "/spec/cluster") == cluster && scales == group {
            eprintln!(
                "warning: DaskAutoscaler {} scales this group as well, and may change the number again",
                name(&autoscaler)
            );
        }
    }
}
