//! Deletes an idle cluster or scales it to 0.

use std::sync::Arc;

use dask_operator_api::{DaskCluster, DaskWorkerGroup, meta::SCALED_TO_ZERO};
use kube::{
    Api, Client, ResourceExt as _,
    api::{DeleteParams, Preconditions, PropagationPolicy},
    runtime::events::{Event, EventType},
};
use operator_runtime::{k8s, report::StatusReporter};
use serde_json::json;

use super::validate::Validated;
use crate::{
    outcome::Outcome,
    replicas::{self, Scaling},
};

/// What an idle cluster is deleted or scaled with.
pub(super) struct Actor<'a> {
    pub(super) client: &'a Client,
    pub(super) reporter: &'a StatusReporter,
    pub(super) cluster: &'a DaskCluster,
    pub(super) valid: &'a Validated,
}

/// Deletes the cluster, unless it has been changed since the decision.
pub(super) async fn delete(actor: &Actor<'_>) -> Result<Outcome, k8s::Error> {
    let Actor { client, cluster, valid, .. } = actor;
    let api: Api<DaskCluster> = Api::namespaced((*client).clone(), &valid.namespace);
    let Some(live) = live(&api, cluster, valid).await? else {
        return Ok(Outcome::Outdated);
    };
    let timeout = valid.rules.timeout.as_secs();
    actor.publish(format!("idle for more than {timeout} s; deleting the cluster")).await;
    tracing::info!(namespace = valid.namespace, cluster = valid.name, timeout, "deleting an idle cluster");
    let params = DeleteParams {
        propagation_policy: Some(PropagationPolicy::Background),
        preconditions: Some(Preconditions { uid: live.uid(), resource_version: live.resource_version() }),
        ..DeleteParams::default()
    };
    Outcome::of(k8s::timed("delete", &valid.name, api.delete(&valid.name, &params)).await)
}

/// Scales all groups to 0 and then records the idle period for which that was done.
pub(super) async fn scale_to_zero(
    actor: &Actor<'_>,
    groups: &[Arc<DaskWorkerGroup>],
    period: &str,
) -> Result<Outcome, k8s::Error> {
    let Actor { client, cluster, valid, .. } = actor;
    let clusters: Api<DaskCluster> = Api::namespaced((*client).clone(), &valid.namespace);
    let Some(live) = live(&clusters, cluster, valid).await? else {
        return Ok(Outcome::Outdated);
    };
    if live.annotations().get(SCALED_TO_ZERO).is_some_and(|handled| handled == period) {
        return Ok(Outcome::Done); // The cache is stale.
    }
    let mut scaled = false;
    for group in groups {
        if group.spec.worker.replicas > 0 && group.metadata.deletion_timestamp.is_none() {
            if replicas::scale(client, Scaling::of_unchanged(group, 0)).await? == Outcome::Outdated {
                return Ok(Outcome::Outdated);
            }
            scaled = true;
        }
    }
    let patch = json!({"metadata": {"annotations": {SCALED_TO_ZERO: period}}});
    let outcome = Outcome::of(k8s::merge(&clusters, &live, patch).await)?;
    if scaled {
        let timeout = valid.rules.timeout.as_secs();
        actor.publish(format!("idle for more than {timeout} s; scaled all groups to 0")).await;
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

impl Actor<'_> {
    async fn publish(&self, note: String) {
        let event = Event {
            type_: EventType::Normal,
            reason: "IdleTimeout".to_owned(),
            note: Some(note),
            action: "IdleTimeout".to_owned(),
            secondary: None,
        };
        self.reporter.publish(self.cluster, event).await;
    }
}
