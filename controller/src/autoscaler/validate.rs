//! Validates an autoscaler, and decides whether it may scale its group. Pure.

use std::sync::Arc;

use dask_operator_api::{DaskAutoscaler, DaskCluster, DaskWorkerGroup, ScalingRules, meta};
use jiff::SignedDuration;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use kube::ResourceExt as _;
use operator_runtime::rejection::Rejection;

use super::{
    decide::Rules,
    observe::Observed,
    survey::{Age, belongs_elsewhere, group_name, invalid_bounds},
};

/// Annotation with the end of the cool-down: epoch seconds as text. dask-kubernetes writes and honours it too.
pub(super) const COOL_DOWN_UNTIL: &str = "kubernetes.dask.org/cooldown-until";

/// An autoscaler that may scale its group.
#[derive(Clone, Debug)]
pub(super) struct Validated {
    pub(super) namespace: String,
    pub(super) uid: String,
    pub(super) cluster: Arc<DaskCluster>,
    pub(super) group: Arc<DaskWorkerGroup>,
    pub(super) rules: Rules,
}

/// Returns the owner reference to the cluster that an autoscaler lacks, if it has no controller.
pub(super) fn adoption(autoscaler: &DaskAutoscaler, cluster: Option<&DaskCluster>) -> Option<OwnerReference> {
    let controlled = autoscaler.owner_references().iter().any(|owner| owner.controller == Some(true));
    if controlled { None } else { meta::owner_ref(living(cluster)?) }
}

pub(super) fn validate(autoscaler: &DaskAutoscaler, observed: &Observed) -> Result<Validated, Rejection> {
    let spec = &autoscaler.spec;
    if let Some(invalid) = invalid_bounds(autoscaler) {
        return Err(invalid);
    }
    let Some(cluster) = observed.cluster.as_ref().filter(|cluster| living(Some(cluster)).is_some()) else {
        let message = format!("there is no DaskCluster {} in this namespace", spec.cluster);
        return Err(Rejection { reason: "ClusterNotFound", message });
    };
    if belongs_elsewhere(autoscaler, cluster) {
        let message = format!("the autoscaler belongs to an older DaskCluster {} and will go with it", spec.cluster);
        return Err(Rejection { reason: "WaitingForDeletion", message });
    }
    let name = group_name(autoscaler);
    let of_cluster = |group: &&Arc<DaskWorkerGroup>| {
        group.spec.cluster == spec.cluster && group.metadata.deletion_timestamp.is_none()
    };
    let Some(group) = observed.group.as_ref().filter(of_cluster) else {
        let message = format!("the DaskCluster {} has no DaskWorkerGroup {name}", spec.cluster);
        return Err(Rejection { reason: "GroupNotFound", message });
    };
    if let Some(elder) = observed.survey.get(&name).filter(|eldest| **eldest < Age::of(autoscaler)) {
        let message = format!("the older DaskAutoscaler {} scales {name} already", elder.name);
        return Err(Rejection { reason: "AlreadyAutoscaled", message });
    }
    let (Some(namespace), Some(uid)) = (autoscaler.namespace(), autoscaler.uid()) else {
        return Err(Rejection::new("NotStored", "the object has no namespace or uid"));
    };
    Ok(Validated { namespace, uid, cluster: Arc::clone(cluster), group: Arc::clone(group), rules: rules(autoscaler) })
}

fn living(cluster: Option<&DaskCluster>) -> Option<&DaskCluster> {
    cluster.filter(|cluster| cluster.metadata.deletion_timestamp.is_none())
}

fn rules(autoscaler: &DaskAutoscaler) -> Rules {
    let spec = &autoscaler.spec;
    let window = |rules: Option<ScalingRules>| {
        let seconds = rules.and_then(|rules| rules.stabilization_window_seconds).unwrap_or(0);
        SignedDuration::from_secs(seconds.max(0))
    };
    let behavior = spec.behavior.clone().unwrap_or_default();
    let until = autoscaler.annotations().get(COOL_DOWN_UNTIL);
    Rules {
        minimum: spec.minimum,
        maximum: spec.maximum,
        up: window(behavior.scale_up),
        down: window(behavior.scale_down),
        cool_down_until: until.and_then(|until| until.trim().parse().ok()),
    }
}

#[cfg(test)]
mod tests;
