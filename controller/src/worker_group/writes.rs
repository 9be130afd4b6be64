//! Plans the writes to a group's workers: which are created, and which get labels and annotations. Pure.

use std::{collections::BTreeMap, sync::Arc};

use dask_operator_api::meta;
use kube::api::ObjectMeta;
use serde_json::{Value, json};

use super::{
    build,
    observe::Observed,
    scale::{SLICE, WorkerId},
    validate::ValidatedGroup,
};
use crate::{
    pod_labels,
    view::{DeploymentView, PodView},
};

/// The writes to a group's workers, at most [`SLICE`] of each kind.
#[derive(Debug, Default)]
pub(super) struct Writes {
    /// Deployments to create. Their manifests are built one at a time.
    pub(super) create: Vec<WorkerId>,
    /// Deployments whose labels or annotations are out of date, with their changes.
    pub(super) update: Vec<Change<DeploymentView>>,
    /// Pods that lost labels by which they are selected, with these labels.
    pub(super) restore: Vec<Change<PodView>>,
    /// Whether more Deployments or pods are out of date than `update` and `restore` contain.
    pub(super) more: bool,
}

/// A change of the labels and annotations of one object.
#[derive(Debug)]
pub(super) struct Change<K> {
    /// Name and uid of the object.
    pub(super) live: K,
    pub(super) metadata: Value,
}

/// Returns the writes that bring the observed workers to the spec.
pub(super) fn plan(valid: &ValidatedGroup, observed: &Observed, create: Vec<WorkerId>) -> Writes {
    let watched = observed.deployments.iter().map(|worker| &worker.metadata);
    let changes = watched.chain(&observed.strays).filter_map(|live| {
        let metadata = Value::Object(build::propagated(valid, live).patch(live)?);
        Some(Change { live: DeploymentView { metadata: identity(live), ..DeploymentView::default() }, metadata })
    });
    let mut update: Vec<_> = changes.take(SLICE + 1).collect();
    let mut restore: Vec<_> = restorations(valid, observed).take(SLICE + 1).collect();
    let more = update.len() > SLICE || restore.len() > SLICE;
    update.truncate(SLICE);
    restore.truncate(SLICE);
    Writes { create, update, restore, more }
}

/// Returns the labels that pods of the group's workers have lost. A ReplicaSet releases such a pod and creates another
/// one; it adopts the pod when it has its labels back, and deletes one of both.
fn restorations<'a>(
    valid: &'a ValidatedGroup,
    observed: &'a Observed,
) -> impl Iterator<Item = Change<PodView>> + use<'a> {
    let by_name = |worker: &'a Arc<DeploymentView>| Some((worker.metadata.name.as_deref()?, worker));
    let workers: BTreeMap<&str, &Arc<DeploymentView>> = observed.deployments.iter().filter_map(by_name).collect();
    observed.all_pods.iter().filter_map(move |pod| {
        let worker = workers.get(meta::deployment_of_released(pod.as_ref())?)?;
        let labels = pod_labels::lost(pod, &build::selector(valid, &worker.metadata), &meta::Map::new())?;
        let live = PodView { metadata: identity(&pod.metadata), ..PodView::default() };
        Some(Change { live, metadata: json!({"labels": labels}) })
    })
}

fn identity(live: &ObjectMeta) -> ObjectMeta {
    ObjectMeta { name: live.name.clone(), uid: live.uid.clone(), ..ObjectMeta::default() }
}
