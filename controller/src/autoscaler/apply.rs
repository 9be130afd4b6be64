//! Scales a group for an autoscaler, and sets the autoscaler's owner.

use dask_operator_api::{DaskAutoscaler, DaskWorkerGroup};
use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use kube::{
    Api, Client, ResourceExt as _,
    api::{Patch, PatchParams},
};
use operator_runtime::k8s::{self, Class, Force};
use serde_json::{Value, json};

use super::{
    decide::{COOL_DOWN, seconds},
    validate::{COOL_DOWN_UNTIL, Validated},
};

/// Field manager of the owner reference. It is separate, so that applying the reference does not give up other fields.
const OWNER_MANAGER: &str = "dask-operator/owner";

/// The result of [`scale`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    Scaled,
    /// The autoscaler or the group is gone, or has changed since the decision.
    Outdated,
}

/// Sets the cluster as the autoscaler's owner.
pub(super) async fn adopt(
    client: &Client,
    autoscaler: &DaskAutoscaler,
    owner: &OwnerReference,
) -> Result<(), k8s::Error> {
    let api: Api<DaskAutoscaler> = Api::namespaced(client.clone(), &autoscaler.namespace().unwrap_or_default());
    let manifest = json!({
        "apiVersion": "kubernetes.dask.org/v1",
        "kind": "DaskAutoscaler",
        "metadata": {"name": autoscaler.name_any(), "uid": autoscaler.uid(), "ownerReferences": [owner]},
    });
    match k8s::apply(&api, OWNER_MANAGER, Force::Yes, &manifest).await {
        Err(error) if is_outdated(&error) => Ok(()),
        result => result.map(|_| ()),
    }
}

/// Sets the group's number of workers to `desired`, unless anything has changed since the decision.
///
/// `KubeCluster.scale()` deletes the autoscaler and then sets the replicas. So the group is read first. Then the
/// cool-down is written, which fails if the autoscaler is gone. Then the group is changed, which fails if it has
/// changed since it was read. The client's number is kept, regardless of the order of the requests.
pub(super) async fn scale(
    client: &Client,
    autoscaler: &DaskAutoscaler,
    valid: &Validated,
    desired: i64,
    now: Timestamp,
) -> Result<Outcome, k8s::Error> {
    let groups: Api<DaskWorkerGroup> = Api::namespaced(client.clone(), &valid.namespace);
    let name = valid.group.name_any();
    let Some(live) = k8s::timed("get", &name, groups.get_opt(&name)).await? else {
        return Ok(Outcome::Outdated);
    };
    let same = live.uid() == valid.group.uid()
        && live.metadata.deletion_timestamp.is_none()
        && live.spec.worker.replicas == valid.group.spec.worker.replicas;
    if !same {
        return Ok(Outcome::Outdated);
    }
    let until = format!("{:.3}", seconds(now) + COOL_DOWN.as_secs_f64());
    let cool_down = json!({"metadata": {
        "uid": autoscaler.uid(),
        "resourceVersion": autoscaler.resource_version(),
        "annotations": {COOL_DOWN_UNTIL: until},
    }});
    let autoscalers: Api<DaskAutoscaler> = Api::namespaced(client.clone(), &valid.namespace);
    if merge(&autoscalers, &autoscaler.name_any(), cool_down).await? == Outcome::Outdated {
        return Ok(Outcome::Outdated);
    }
    let replicas = json!({
        "metadata": {"uid": live.uid(), "resourceVersion": live.resource_version()},
        "spec": {"worker": {"replicas": desired}},
    });
    merge(&groups, &name, replicas).await
}

/// Applies `patch` and nothing else. Its `resourceVersion` makes the request fail if another client was faster.
async fn merge<K>(api: &Api<K>, name: &str, patch: Value) -> Result<Outcome, k8s::Error>
where
    K: Clone + serde::de::DeserializeOwned + std::fmt::Debug,
{
    let params = PatchParams { field_manager: Some(k8s::FIELD_MANAGER.to_owned()), ..PatchParams::default() };
    match k8s::timed("patch", name, api.patch(name, &params, &Patch::Merge(patch))).await {
        Ok(_) => Ok(Outcome::Scaled),
        Err(error) if is_outdated(&error) => Ok(Outcome::Outdated),
        Err(error) => Err(error),
    }
}

fn is_outdated(error: &k8s::Error) -> bool {
    matches!(error.class(), Class::NotFound | Class::Conflict)
}
