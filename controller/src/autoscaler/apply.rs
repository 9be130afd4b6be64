//! Scales a group for an autoscaler, and sets the autoscaler's owner.

use dask_operator_api::{DaskAutoscaler, DaskWorkerGroup};
use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use kube::{Api, Client, ResourceExt as _};
use operator_runtime::k8s;
use serde_json::json;

use super::{
    decide::{COOL_DOWN, seconds},
    validate::COOL_DOWN_UNTIL,
};
use crate::{
    outcome::Outcome,
    ownership,
    replicas::{self, Scaling},
};

/// The group that an autoscaler scales, and the number that was decided.
#[derive(Clone, Copy, Debug)]
pub(super) struct ScalingDecision<'a> {
    pub(super) autoscaler: &'a DaskAutoscaler,
    /// The group that the decision was made by.
    pub(super) group: &'a DaskWorkerGroup,
    pub(super) desired: i64,
    pub(super) now: Timestamp,
}

/// Sets the cluster as the autoscaler's owner.
pub(super) async fn adopt(
    client: &Client,
    autoscaler: &DaskAutoscaler,
    owner: &OwnerReference,
) -> Result<(), k8s::Error> {
    match ownership::adopt(client, autoscaler, owner).await {
        Err(error) if error.is_outdated() => Ok(()),
        result => result,
    }
}

/// Sets the group's number of workers to `desired`, unless anything has changed since the decision.
///
/// `KubeCluster.scale()` deletes the autoscaler and then sets the replicas. So the group is read first. Then the
/// cool-down is written, which fails if the autoscaler is gone. Then the group is changed, which fails if it has
/// changed since it was read. The client's number is kept, regardless of the order of the requests.
pub(super) async fn scale(client: &Client, decision: ScalingDecision<'_>) -> Result<Outcome, k8s::Error> {
    let ScalingDecision { autoscaler, group, desired, now } = decision;
    let namespace = autoscaler.namespace().unwrap_or_default();
    let groups: Api<DaskWorkerGroup> = Api::namespaced(client.clone(), &namespace);
    let name = group.name_any();
    let Some(live) = k8s::timed("get", &name, groups.get_opt(&name)).await? else {
        return Ok(Outcome::Outdated);
    };
    let same = live.uid() == group.uid()
        && live.metadata.deletion_timestamp.is_none()
        && live.spec.worker.replicas == group.spec.worker.replicas;
    if !same {
        return Ok(Outcome::Outdated);
    }
    let until = format!("{:.3}", seconds(now) + COOL_DOWN.as_secs_f64());
    let cool_down = json!({"metadata": {
        "resourceVersion": autoscaler.resource_version(),
        "annotations": {COOL_DOWN_UNTIL: until},
    }});
    let autoscalers: Api<DaskAutoscaler> = Api::namespaced(client.clone(), &namespace);
    match Outcome::of(k8s::merge(&autoscalers, autoscaler, cool_down).await)? {
        Outcome::Done => replicas::scale(client, Scaling::of_unchanged(&live, desired)).await,
        Outcome::Outdated => Ok(Outcome::Outdated),
    }
}
