use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::{Api, ResourceExt as _};

use super::{apply, observe::Observed, scale::Plan};
use crate::{
    conditions::{self, Verdict},
    context::Context,
    crd::{DaskWorkerGroup, DaskWorkerGroupStatus},
    invalid::Invalid,
    k8s, meta, report,
};

/// Whether the spec can be acted on.
const ACCEPTED: &str = "Accepted";
/// Whether as many workers exist as are wanted.
const SCALED: &str = "Scaled";

pub(super) fn of_invalid(
    group: &DaskWorkerGroup,
    observed: &Observed,
    invalid: &Invalid,
    now: Timestamp,
) -> DaskWorkerGroupStatus {
    let verdicts = vec![Verdict::no(ACCEPTED, invalid.reason, invalid.message.as_str())];
    with(group, observed, verdicts, now)
}

pub(super) fn of_observed(
    group: &DaskWorkerGroup,
    observed: &Observed,
    plan: &Plan,
    error: Option<&apply::Error>,
    now: Timestamp,
) -> DaskWorkerGroupStatus {
    let verdicts = vec![Verdict::yes(ACCEPTED, "Valid", "the spec is valid"), scaled(plan, error)];
    with(group, observed, verdicts, now)
}

fn scaled(plan: &Plan, error: Option<&apply::Error>) -> Verdict {
    if let Some(error) = error {
        return Verdict::no(SCALED, error.category(), error.to_string());
    }
    if plan.surplus > 0 {
        let message = format!("{} workers more than wanted; this version does not remove workers", plan.surplus);
        return Verdict::no(SCALED, "ScaleDownNotSupported", message);
    }
    if plan.create.is_empty() {
        return Verdict::yes(SCALED, "Scaled", "as many workers exist as are wanted");
    }
    Verdict::no(SCALED, "Scaling", "workers are being created")
}

fn with(group: &DaskWorkerGroup, observed: &Observed, verdicts: Vec<Verdict>, now: Timestamp) -> DaskWorkerGroupStatus {
    let old = group.status.as_ref().map(|status| status.conditions.as_slice()).unwrap_or_default();
    let generation = group.metadata.generation;
    let selector = meta::worker_selector(&group.name_any());
    DaskWorkerGroupStatus {
        observed_generation: generation,
        replicas: i64::try_from(observed.workers.names.len()).ok(),
        ready_replicas: Some(observed.ready),
        connected_replicas: None,
        updated_replicas: None,
        workers_created: Some(i64::from(observed.workers.created)),
        selector: Some(selector),
        conditions: conditions::updated(old, verdicts, generation, now),
        plugins: Vec::new(),
    }
}

/// Writes `desired` if it differs from what the group's status says already.
pub(super) async fn write(
    context: &Context,
    group: &DaskWorkerGroup,
    desired: DaskWorkerGroupStatus,
) -> Result<(), k8s::Error> {
    let old = group.status.clone().unwrap_or_default();
    let ours = |condition: &Condition| [ACCEPTED, SCALED].contains(&condition.type_.as_str());
    let comparable = DaskWorkerGroupStatus {
        conditions: old.conditions.iter().filter(|condition| ours(condition)).cloned().collect(),
        plugins: Vec::new(),
        ..old.clone()
    };
    if comparable == desired {
        return Ok(());
    }
    let api: Api<DaskWorkerGroup> = Api::namespaced(context.client.clone(), &group.namespace().unwrap_or_default());
    k8s::apply_status(&api, k8s::FIELD_MANAGER, group, &desired).await?;
    report::condition_changes(&context.recorder, group, &old.conditions, &desired.conditions).await;
    Ok(())
}
