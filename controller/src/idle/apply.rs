//! Deletes an idle cluster or scales it to 0.

use dask_operator_api::{DaskCluster, DaskWorkerGroup};
use kube::{
    Api, Resource as _, ResourceExt as _,
    api::{DeleteParams, Patch, PatchParams, Preconditions, PropagationPolicy},
    runtime::events::{Event, EventType},
};
use operator_runtime::k8s::{self, Class};
use serde_json::{Value, json};

use super::validate::{SCALED_TO_ZERO, Validated};
use crate::context::{Context, cluster_key};

/// The result of acting on an idle cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    Done,
    /// The cluster is gone, or has changed since the decision.
    Outdated,
}

/// Deletes the cluster, unless it has been changed since the decision.
pub(super) async fn delete(context: &Context, cluster: &DaskCluster, valid: &Validated) -> Result<Outcome, k8s::Error> {
    let api: Api<DaskCluster> = Api::namespaced(context.client.clone(), &valid.namespace);
    let Some(live) = live(&api, cluster, valid).await? else {
        return Ok(Outcome::Outdated);
    };
    let timeout = valid.rules.timeout.as_secs();
    publish_event(context, cluster, "IdleTimeout", format!("idle for more than {timeout} s; deleting the cluster"))
        .await;
    tracing::info!(namespace = valid.namespace, cluster = valid.name, timeout, "deleting an idle cluster");
    let params = DeleteParams {
        propagation_policy: Some(PropagationPolicy::Background),
        preconditions: Some(Preconditions { uid: live.uid(), resource_version: live.resource_version() }),
        ..DeleteParams::default()
    };
    done(k8s::timed("delete", &valid.name, api.delete(&valid.name, &params)).await)
}

/// Scales all groups to 0 and then records the idle period for which that was done.
pub(super) async fn scale_to_zero(
    context: &Context,
    cluster: &DaskCluster,
    valid: &Validated,
    period: &str,
) -> Result<Outcome, k8s::Error> {
    let clusters: Api<DaskCluster> = Api::namespaced(context.client.clone(), &valid.namespace);
    let Some(live) = live(&clusters, cluster, valid).await? else {
        return Ok(Outcome::Outdated);
    };
    if live.annotations().get(SCALED_TO_ZERO).is_some_and(|handled| handled == period) {
        return Ok(Outcome::Done); // The cache is stale.
    }
    let groups: Api<DaskWorkerGroup> = Api::namespaced(context.client.clone(), &valid.namespace);
    let mut scaled = false;
    for group in context.caches.groups.indexed(&cluster_key(&valid.namespace, &valid.name)) {
        if group.spec.worker.replicas > 0 && group.metadata.deletion_timestamp.is_none() {
            let patch = json!({
                "metadata": {"uid": group.uid(), "resourceVersion": group.resource_version()},
                "spec": {"worker": {"replicas": 0}},
            });
            if merge(&groups, &group.name_any(), patch).await? == Outcome::Outdated {
                return Ok(Outcome::Outdated);
            }
            scaled = true;
        }
    }
    let patch = json!({"metadata": {"uid": live.uid(), "annotations": {SCALED_TO_ZERO: period}}});
    let outcome = merge(&clusters, &valid.name, patch).await?;
    if scaled {
        let timeout = valid.rules.timeout.as_secs();
        publish_event(
            context,
            cluster,
            "IdleTimeout",
            format!("idle for more than {timeout} s; scaled all groups to 0"),
        )
        .await;
        tracing::info!(namespace = valid.namespace, cluster = valid.name, timeout, "scaled an idle cluster to 0");
    }
    Ok(outcome)
}

/// Returns the cluster as the API server has it, if its spec has not changed since the decision.
async fn live(
    api: &Api<DaskCluster>,
    cluster: &DaskCluster,
    valid: &Validated,
) -> Result<Option<DaskCluster>, k8s::Error> {
    let live = k8s::timed("get", &valid.name, api.get_opt(&valid.name)).await?;
    Ok(live.filter(|live| {
        live.uid().as_ref() == Some(&valid.uid)
            && live.metadata.deletion_timestamp.is_none()
            && live.metadata.generation == cluster.metadata.generation
    }))
}

async fn merge<K>(api: &Api<K>, name: &str, patch: Value) -> Result<Outcome, k8s::Error>
where
    K: Clone + serde::de::DeserializeOwned + std::fmt::Debug,
{
    let params = PatchParams { field_manager: Some(k8s::FIELD_MANAGER.to_owned()), ..PatchParams::default() };
    done(k8s::timed("patch", name, api.patch(name, &params, &Patch::Merge(patch))).await)
}

fn done<T>(result: Result<T, k8s::Error>) -> Result<Outcome, k8s::Error> {
    match result {
        Ok(_) => Ok(Outcome::Done),
        Err(error) if matches!(error.class(), Class::NotFound | Class::Conflict) => Ok(Outcome::Outdated),
        Err(error) => Err(error),
    }
}

async fn publish_event(context: &Context, cluster: &DaskCluster, reason: &str, note: String) {
    let event = Event {
        type_: EventType::Normal,
        reason: reason.to_owned(),
        note: Some(note),
        action: "IdleTimeout".to_owned(),
        secondary: None,
    };
    if let Err(error) = context.recorder.publish(&event, &cluster.object_ref(&())).await {
        tracing::warn!(%error, "failed to publish an Event");
    }
}
