//! Who is asked before something goes, and when a plugin's finalizer leaves a Dask resource; pure.
//!
//! Two sides decide apart from each other. A worker decides for one subject in which [`Stage`] it is, and marks
//! how far it got. The keeper, which needs no worker, decides for one Dask resource whether the finalizer stays:
//! a plugin that is down, suspended or refused must not hold anything for longer than its deadline.

pub mod cleanup_command;
pub(crate) mod finalizers;
pub(crate) mod progress;

use std::time::{Duration, Instant};

use crate::model::key::PREFIX;

use dask_operator_api::FinalizePolicy;
use jiff::Timestamp;

use plugin_protocol::{EventReason, Hook};

/// The finalizer of the plugin with this identity.
pub(crate) fn name_of(identity: &str) -> String {
    format!("{PREFIX}{identity}")
}

/// Whether subjects are finalized: the resource and the plugin both have to say so.
pub(crate) fn is_on(policy: FinalizePolicy, hooks: &[Hook]) -> bool {
    policy.enabled && hooks.contains(&Hook::Finalize)
}

/// How far the finalization of a subject got.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum FinalizeState {
    /// The plugin is not asked about it, for reasons that the subject's labels may not show, and holds nothing.
    Unasked,
    /// The plugin was asked, or is about to be, and may hold something.
    Engaged,
    /// It matches no longer since then.
    Leaving(Instant),
    /// The plugin said that it holds nothing any more, or its time is over.
    Finalized,
}

/// The Dask resource above a subject.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Owner {
    Absent,
    Living {
        /// Whether it carries the plugin's finalizer.
        held: bool,
    },
    Going {
        held: bool,
    },
}

/// What decides over a subject's stage.
#[derive(Clone, Copy, Debug)]
#[expect(clippy::struct_excessive_bools, reason = "facts that do not depend on each other")]
pub(crate) struct FinalizeInput {
    pub(crate) owner: Owner,
    /// Whether the plugin is to be asked about it.
    pub(crate) matches: bool,
    /// [`is_on`].
    pub(crate) finalizes: bool,
    pub(crate) mark: Option<FinalizeState>,
    pub(crate) has_children: bool,
    /// It is looked at for the first time, and a rule names its kind and component: before a restart the plugin
    /// may have been asked about it.
    pub(crate) may_be_left: bool,
    pub(crate) deadline: Duration,
}

/// What is to be done about a subject.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stage {
    /// Its children are to follow it.
    Sync,
    /// The plugin is to give up what it holds, for this reason.
    Finalize(EventReason),
    /// Nothing: its children go with the Dask resource.
    Rest,
    /// Its children are to go.
    Prune,
    /// They are to go although the plugin has not said that it holds nothing.
    PruneLate,
}

/// The stage of a subject.
pub(crate) fn stage(situation: &FinalizeInput, now: Instant) -> Stage {
    let FinalizeInput { owner, matches, mark, has_children, .. } = *situation;
    let asks = situation.finalizes && mark != Some(FinalizeState::Finalized);
    let engaged = mark.is_some() || has_children;
    match owner {
        Owner::Living { .. } if matches => Stage::Sync,
        Owner::Living { held } if asks && (engaged || held && situation.may_be_left) => match mark {
            Some(FinalizeState::Leaving(since)) if now >= since + situation.deadline => Stage::PruneLate,
            _ => Stage::Finalize(EventReason::Unmatched),
        },
        Owner::Going { held: true } if asks && (matches || engaged) => Stage::Finalize(EventReason::Deleting),
        _ if matches => Stage::Rest,
        _ => Stage::Prune,
    }
}

/// How long to wait, if `until` is not to be missed.
pub(crate) fn sooner(wait: Option<Duration>, until: Option<Instant>, now: Instant) -> Option<Duration> {
    let left = until.map(|until| until.saturating_duration_since(now));
    wait.into_iter().chain(left).min()
}

/// Whether the finalizer has to stay for a subject, be its Dask resource `going` or not. `matches` is what the
/// subject's labels say; the worker knows more.
pub(crate) fn is_waited_for(going: bool, matches: bool, mark: Option<FinalizeState>) -> bool {
    match mark {
        Some(FinalizeState::Engaged | FinalizeState::Leaving(_)) => true,
        Some(FinalizeState::Unasked) => false,
        Some(FinalizeState::Finalized) => matches && !going,
        None => matches,
    }
}

/// The plugin that a finalizer belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Plugin {
    /// There is none, or it is not to be asked before something goes.
    Off,
    /// It cannot be called now: it is suspended, refused, or has not answered since the controller started.
    Away,
    /// It is called, and the finalizer has to stay for so many subjects.
    Called {
        /// Whether each subject was looked at once; before that, nobody knows.
        looked: bool,
        waiting: usize,
    },
}

/// What is to be done about a finalizer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Action {
    Keep,
    Remove,
    /// Removed since its time is over.
    RemoveLate,
}

/// Whether a finalizer leaves a Dask resource that is being deleted since `going_since`, if it is.
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
