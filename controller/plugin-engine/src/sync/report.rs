//! Reports the result of a pass: to the status store, the metrics and, on a transition, the log.

use std::collections::BTreeSet;

use kube::ResourceExt as _;

use super::state::SubjectState;
use crate::client::warnings::fit_warnings;
use crate::{
    children::{context::SyncContext, inventory::Children},
    index::registration::Registered,
    model::{
        subject::{self, SubjectKey},
        summary::SyncState,
    },
    status::aggregate::{self, FittedConditions, Owner, SubjectReport},
};

/// Reports the result of a pass over `subject`. `memory` is its state now, and `before` is the sync state after the
/// previous pass.
pub(crate) async fn publish(
    env: &SyncContext,
    plugin: &Registered,
    subject: &SubjectKey,
    before: Option<&SyncState>,
    memory: Option<&SubjectState>,
) {
    log(plugin, subject, before, memory.and_then(|memory| memory.verdict.as_ref()));
    // The worker of a deleted plugin may still be running a pass.
    if !env.status_store.exists(&plugin.key, &plugin.uid) {
        return;
    }
    let report = match memory {
        Some(memory) => report_of(env, plugin, subject, memory).await,
        None => None,
    };
    let unfit = report.as_ref().map_or(0, |report| report.unfit);
    let known = env.status_store.report(&plugin.identity, subject, report);
    if unfit > known.map_or(0, |known| known.unfit) {
        let plugin = &plugin.identity;
        tracing::warn!(plugin, %subject, unfit, "some conditions of a plugin do not fit into the status");
    }
    env.metrics.children(&plugin.identity, env.status_store.children(&plugin.identity));
}

/// Returns the report for the status store. Returns `None` if no Dask resource exists that could show it.
async fn report_of(
    env: &SyncContext,
    plugin: &Registered,
    subject: &SubjectKey,
    memory: &SubjectState,
) -> Option<SubjectReport> {
    let owner = owner_of(env, subject).await?;
    let state = memory.verdict.clone()?;
    let children = match state {
        SyncState::Unmatched => 0,
        // No other children exist in this state, even if the watches lag behind.
        SyncState::Synced => memory.written.len(),
        _ => {
            let children = Children { env, plugin, namespace: &subject.namespace };
            children.known(memory.remembered(), Some(&owner.uid)).await.len()
        }
    };
    let answer = memory.answer.as_ref();
    let FittedConditions { shown: conditions, unfit } =
        aggregate::fit(&plugin.identity, answer.map_or(&[], |answer| &answer.conditions));
    let warnings = answer.map_or_else(BTreeSet::new, |answer| fit_warnings(&answer.warnings));
    Some(SubjectReport { owner, state, children, conditions, unfit, warnings })
}

async fn owner_of(env: &SyncContext, subject: &SubjectKey) -> Option<Owner> {
    let object = env.watches.subject(subject).await.ok()??;
    let key = subject::owner_of(subject.kind, object.as_ref())?;
    let owner = env.watches.subject(&key).await.ok()??;
    let is_above = key == *subject || subject::is_below(subject.kind, object.as_ref(), owner.as_ref());
    is_above.then(|| Owner { key, uid: owner.uid().unwrap_or_default() })
}

/// Logs one line per transition, and none per attempt.
fn log(plugin: &Registered, subject: &SubjectKey, before: Option<&SyncState>, now: Option<&SyncState>) {
    let plugin = plugin.identity.as_str();
    match (reason(before), now) {
        (was, Some(SyncState::Failing { reason, message })) if was != Some(reason) => {
            tracing::warn!(plugin, %subject, reason, "a plugin fails for a subject");
            // The message may quote the subject.
            tracing::debug!(plugin, %subject, reason, message, "a plugin fails for a subject");
        }
        (Some(was), Some(now)) if !matches!(now, SyncState::Failing { .. }) => {
            let now = word(now);
            tracing::info!(plugin, %subject, was, now, "a plugin no longer fails for a subject");
        }
        _ => {}
    }
}

fn reason(verdict: Option<&SyncState>) -> Option<&'static str> {
    match verdict {
        Some(SyncState::Failing { reason, .. }) => Some(reason),
        _ => None,
    }
}

fn word(verdict: &SyncState) -> &'static str {
    match verdict {
        SyncState::Unmatched => "Unmatched",
        SyncState::Synced => "Synced",
        SyncState::Waiting => "Waiting",
        SyncState::Pending { .. } => "Pending",
        SyncState::Failing { .. } => "Failing",
    }
}
