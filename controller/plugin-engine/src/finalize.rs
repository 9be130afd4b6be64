//! Decides which subjects get a Finalize call, and when a plugin's finalizer is removed from a Dask resource. All
//! decisions are pure functions.
//!
//! Two components decide independently. A worker decides the [`Stage`] of one subject and records its progress. The
//! finalizer controller needs no worker. It decides for one Dask resource whether the finalizer stays: a plugin that
//! is down, suspended or refused must not block deletion beyond its deadline.

pub mod cleanup_command;
pub(crate) mod finalizers;
pub(crate) mod progress;

use std::time::{Duration, Instant};

use crate::model::key::PREFIX;

use dask_operator_api::FinalizePolicy;
use jiff::Timestamp;

use plugin_protocol::{EventReason, Hook};

/// Returns the finalizer of the plugin with this identity.
pub(crate) fn name_of(identity: &str) -> String {
    format!("{PREFIX}{identity}")
}

/// Returns whether subjects are finalized. Both the plugin resource and the plugin have to enable it.
pub(crate) fn is_on(policy: FinalizePolicy, hooks: &[Hook]) -> bool {
    policy.enabled && hooks.contains(&Hook::Finalize)
}

/// The progress of a subject's finalization.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum FinalizeState {
    /// The plugin is not called about the subject and holds nothing. The subject's labels may not show the reason.
    NotCalled,
    /// The plugin was called, or is about to be, and may hold external resources.
    Engaged,
    /// The subject has not matched since then.
    Leaving(Instant),
    /// The plugin reported that it holds nothing any more, or the deadline has passed.
    Finalized,
}

/// The Dask resource above a subject.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Owner {
    Absent,
    Active {
        /// Whether the Dask resource has the plugin's finalizer.
        has_finalizer: bool,
    },
    Terminating {
        has_finalizer: bool,
    },
}

/// The facts that decide a subject's stage.
#[derive(Clone, Copy, Debug)]
#[expect(clippy::struct_excessive_bools, reason = "facts that do not depend on each other")]
pub(crate) struct FinalizeInput {
    pub(crate) owner: Owner,
    /// Whether the plugin's rules match the subject.
    pub(crate) matches: bool,
    /// The result of [`is_on`].
    pub(crate) finalizes: bool,
    pub(crate) mark: Option<FinalizeState>,
    pub(crate) has_children: bool,
    /// Set on the first pass over the subject if a rule names its kind and component. The plugin may have been called
    /// about it before the controller restarted.
    pub(crate) may_be_left: bool,
    pub(crate) deadline: Duration,
}

/// The next step for a subject.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stage {
    /// Synchronise its children.
    Sync,
    /// Call the plugin's Finalize hook, for this reason.
    Finalize(EventReason),
    /// Do nothing. The children are deleted together with the Dask resource.
    Rest,
    /// Delete its children.
    Prune,
    /// Delete its children because the deadline has passed, although the plugin has not reported that it holds nothing.
    PruneLate,
}

/// Returns the stage of a subject.
pub(crate) fn stage(input: &FinalizeInput, now: Instant) -> Stage {
    let FinalizeInput { owner, matches, mark, has_children, .. } = *input;
    let can_finalize = input.finalizes && mark != Some(FinalizeState::Finalized);
    let engaged = mark.is_some() || has_children;
    match owner {
        Owner::Active { .. } if matches => Stage::Sync,
        Owner::Active { has_finalizer } if can_finalize && (engaged || has_finalizer && input.may_be_left) => {
            match mark {
                Some(FinalizeState::Leaving(since)) if now >= since + input.deadline => Stage::PruneLate,
                _ => Stage::Finalize(EventReason::Unmatched),
            }
        }
        Owner::Terminating { has_finalizer: true } if can_finalize && (matches || engaged) => {
            Stage::Finalize(EventReason::Deleting)
        }
        _ if matches => Stage::Rest,
        _ => Stage::Prune,
    }
}

/// Returns how long to wait: `wait`, or less if `until` would be missed otherwise.
pub(crate) fn sooner(wait: Option<Duration>, until: Option<Instant>, now: Instant) -> Option<Duration> {
    let left = until.map(|until| until.saturating_duration_since(now));
    wait.into_iter().chain(left).min()
}

/// Returns whether the subject keeps the finalizer in place. `going` says whether its Dask resource is being deleted.
/// `matches` is the result for the subject's labels only; the worker also evaluates conditions.
pub(crate) fn is_waited_for(going: bool, matches: bool, mark: Option<FinalizeState>) -> bool {
    match mark {
        Some(FinalizeState::Engaged | FinalizeState::Leaving(_)) => true,
        Some(FinalizeState::NotCalled) => false,
        Some(FinalizeState::Finalized) => matches && !going,
        None => matches,
    }
}

/// The state of the plugin that a finalizer belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Plugin {
    /// The plugin does not exist, or does not finalize subjects.
    Off,
    /// The plugin cannot be called now: it is suspended, refused, or has not answered since the controller started.
    Away,
    /// The plugin can be called.
    Called {
        /// Whether each subject had at least one pass. Before that, `waiting` is not reliable.
        looked: bool,
        waiting: usize,
    },
}

/// The action to take on a finalizer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Action {
    Keep,
    Remove,
    /// Remove it because the deadline has passed.
    RemoveLate,
}

/// Returns the action to take on a finalizer. `going_since` is the deletion timestamp of the Dask resource, if it has
/// one.
pub(crate) fn decide(plugin: Plugin, going_since: Option<Timestamp>, deadline: Duration, now: Timestamp) -> Action {
    let age = going_since.map(|since| now.duration_since(since).as_secs());
    let limit = i64::try_from(deadline.as_secs()).unwrap_or(i64::MAX);
    match plugin {
        Plugin::Off | Plugin::Called { looked: true, waiting: 0 } => Action::Remove,
        _ if age.is_some_and(|age| age >= limit) => Action::RemoveLate,
        Plugin::Away | Plugin::Called { .. } => Action::Keep,
    }
}

#[cfg(test)]
mod tests;
