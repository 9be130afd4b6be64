//! Computes what the status of a Dask resource says about its plugins; pure.

use std::collections::{BTreeMap, BTreeSet};

use dask_operator_api::{
    PluginState,
    conditions::{PLUGINS_SYNCED, PLUGINS_WAITING},
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use operator_runtime::conditions::ConditionUpdate;

use crate::client::warnings::MAX_SHOWN;
use crate::model::subject::SubjectKey;
use crate::model::summary::SyncState;
use plugin_protocol::{ConditionStatus, limits};

/// The message about a subject that the plugin has not answered about.
const NOT_ANSWERED: &str = "not answered yet";
/// The limits of Kubernetes for types and reasons of conditions.
const MAX_TYPE: usize = 316;
const MAX_REASON: usize = 1024;

/// The Dask resource that owns a subject.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Owner {
    pub(crate) key: SubjectKey,
    pub(crate) uid: String,
}

/// The state of one subject with one plugin.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct SubjectReport {
    pub(crate) owner: Owner,
    pub(crate) state: SyncState,
    pub(crate) children: usize,
    /// The conditions in the form in which the status shows them.
    pub(crate) conditions: Vec<ConditionUpdate>,
    /// The number of conditions that cannot be shown.
    pub(crate) unfit: usize,
    pub(crate) warnings: BTreeSet<String>,
}

/// The reports of one owner, by plugin and subject.
pub(crate) type SubjectReports = BTreeMap<String, BTreeMap<SubjectKey, SubjectReport>>;

/// The part of a Dask resource's status that is about plugins.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct CurrentStatus {
    pub(crate) plugins: Vec<PluginState>,
    pub(crate) conditions: Vec<Condition>,
}

/// The part of a Dask resource's status that is about plugins, as it should be.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct DesiredStatus {
    pub(crate) plugins: Vec<PluginState>,
    pub(crate) conditions: Vec<ConditionUpdate>,
}

/// What a plugin achieved for an owner, over all its subjects.
#[derive(Debug)]
struct PluginResult<'a> {
    plugin: &'a str,
    matched: bool,
    children: usize,
    failing: Option<Unsynced<'a>>,
    waiting: Option<Unsynced<'a>>,
    conditions: BTreeMap<&'a str, &'a ConditionUpdate>,
}

/// A subject that is not synced.
#[derive(Clone, Copy, Debug)]
struct Unsynced<'a> {
    subject: &'a SubjectKey,
    reason: &'static str,
    message: &'a str,
}

/// Computes the desired status of an owner. The plugins in `kept` have not reported everything yet, so their part of
/// the current status (`shown`) is kept. `holders` are the plugins that keep the owner from becoming `Running` and have
/// not answered.
pub(crate) fn status_of(
    reports: &SubjectReports,
    kept: &BTreeSet<String>,
    shown: &CurrentStatus,
    holders: &[String],
) -> DesiredStatus {
    let known = reports.iter().filter(|(plugin, _)| !kept.contains(*plugin));
    let results = known.map(|(plugin, subjects)| result_of(plugin, subjects));
    let results: Vec<PluginResult<'_>> = results.filter(|result| result.matched).collect();
    let kept_states: Vec<&PluginState> = shown.plugins.iter().filter(|state| kept.contains(&state.name)).collect();
    let mut plugins: Vec<PluginState> = results.iter().map(state).collect();
    plugins.extend(kept_states.iter().map(|state| (*state).clone()));
    plugins.sort_by(|a, b| a.name.cmp(&b.name));
    let mut conditions: Vec<ConditionUpdate> = synced(&results, &kept_states, shown, holders).into_iter().collect();
    let of_plugins = results.iter().flat_map(|result| result.conditions.values().take(MAX_SHOWN));
    conditions.extend(of_plugins.map(|condition| (*condition).clone()));
    let of_kept = |condition: &&Condition| kept.iter().any(|plugin| condition.type_.starts_with(&prefix(plugin)));
    conditions.extend(shown.conditions.iter().filter(of_kept).map(update_of));
    DesiredStatus { plugins, conditions }
}

/// Returns whether the plugin engine wrote this condition.
pub(crate) fn is_ours(condition: &Condition) -> bool {
    condition.type_ == PLUGINS_SYNCED || condition.type_.contains(".plugin.kubernetes.dask.org/")
}

/// The conditions of a response, as the status shows them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct FittedConditions {
    pub(crate) shown: Vec<ConditionUpdate>,
    /// The number of conditions that cannot be shown.
    pub(crate) unfit: usize,
}

/// Converts the conditions in `returned` that can be shown.
pub(crate) fn fit(plugin: &str, returned: &[plugin_protocol::Condition]) -> FittedConditions {
    let fits = |condition: &&plugin_protocol::Condition| {
        is_type(&condition.type_)
            && prefix(plugin).len() + condition.type_.len() <= MAX_TYPE
            && is_reason(&condition.reason)
    };
    let update = |condition: &plugin_protocol::Condition| ConditionUpdate {
        type_: format!("{}{}", prefix(plugin), condition.type_).into(),
        status: match condition.status {
            ConditionStatus::True => Some(true),
            ConditionStatus::False => Some(false),
            _ => None,
        },
        reason: condition.reason.clone(),
        message: limits::cut_message(&condition.message).to_owned(),
    };
    let shown: Vec<ConditionUpdate> = returned.iter().filter(fits).take(MAX_SHOWN).map(update).collect();
    let unfit = returned.len() - shown.len();
    FittedConditions { shown, unfit }
}

fn prefix(plugin: &str) -> String {
    format!("{plugin}.plugin.kubernetes.dask.org/")
}

fn is_type(type_: &str) -> bool {
    let ends = |c: Option<char>| c.is_some_and(|c| c.is_ascii_alphanumeric());
    ends(type_.chars().next())
        && ends(type_.chars().last())
        && type_.chars().all(|c| c.is_ascii_alphanumeric() || "-_.".contains(c))
}

fn is_reason(reason: &str) -> bool {
    reason.len() <= MAX_REASON
        && reason.starts_with(|c: char| c.is_ascii_alphabetic())
        && reason.ends_with(|c: char| c.is_ascii_alphanumeric() || c == '_')
        && reason.chars().all(|c| c.is_ascii_alphanumeric() || "_,:".contains(c))
}

/// Combines the reports of a plugin about the subjects of one owner.
fn result_of<'a>(plugin: &'a str, subjects: &'a BTreeMap<SubjectKey, SubjectReport>) -> PluginResult<'a> {
    let conditions = BTreeMap::new();
    let mut result = PluginResult { plugin, matched: false, children: 0, failing: None, waiting: None, conditions };
    for (subject, report) in subjects {
        let waiting = |message| Some(Unsynced { subject, reason: PLUGINS_WAITING, message });
        match &report.state {
            SyncState::Unmatched => continue,
            SyncState::Synced => {}
            SyncState::Waiting => result.waiting = result.waiting.or_else(|| waiting(NOT_ANSWERED)),
            SyncState::Pending { message } => result.waiting = result.waiting.or_else(|| waiting(message)),
            SyncState::Failing { reason, message } => {
                result.failing = result.failing.or(Some(Unsynced { subject, reason, message }));
            }
        }
        result.matched = true;
        result.children += report.children;
        for condition in &report.conditions {
            let worst = result.conditions.entry(&condition.type_).or_insert(condition);
            if rank(condition) < rank(worst) {
                *worst = condition;
            }
        }
    }
    result
}

/// Returns the rank of a condition. Of the conditions of one type from several subjects, the one with the lowest rank
/// is shown, because it needs a user's attention most.
fn rank(condition: &ConditionUpdate) -> u8 {
    match condition.status {
        Some(false) => 0,
        None => 1,
        Some(true) => 2,
    }
}

/// Returns the entry of a plugin in the status.
fn state(result: &PluginResult<'_>) -> PluginState {
    let unsynced = result.failing.or(result.waiting);
    let message = unsynced.map(|Unsynced { subject, message, .. }| format!("{subject}: {message}")).unwrap_or_default();
    PluginState {
        name: result.plugin.to_owned(),
        synced: unsynced.is_none(),
        children: i64::try_from(result.children).unwrap_or(i64::MAX),
        message: limits::shorten_message(&message).into_owned(),
    }
}

/// Returns the `PluginsSynced` condition. Returns `None` if no plugin matches the owner.
fn synced(
    results: &[PluginResult<'_>],
    kept: &[&PluginState],
    shown: &CurrentStatus,
    holders: &[String],
) -> Option<ConditionUpdate> {
    let failing = results.iter().find_map(|result| Some((result.plugin, result.failing?)));
    if let Some((plugin, Unsynced { subject, reason, message })) = failing {
        return Some(ConditionUpdate::no(PLUGINS_SYNCED, reason, format!("{plugin}: {subject}: {message}")));
    }
    if let Some(state) = kept.iter().find(|state| !state.synced) {
        let before = shown.conditions.iter().find(|condition| condition.type_ == PLUGINS_SYNCED);
        let before = before.filter(|condition| condition.status != "True").map(update_of);
        let message = format!("{}: {}", state.name, state.message);
        return before.or_else(|| Some(ConditionUpdate::no(PLUGINS_SYNCED, "NotSynced", message)));
    }
    let waiting = results.iter().find_map(|result| Some((result.plugin, result.waiting?)));
    if let Some((plugin, Unsynced { subject, message, .. })) = waiting {
        let message = format!("{plugin}: {subject}: {message}");
        return Some(ConditionUpdate::unknown(PLUGINS_SYNCED, PLUGINS_WAITING, message));
    }
    if !holders.is_empty() {
        let message = format!("not answered yet, and failurePolicy is Fail: {}", holders.join(", "));
        return Some(ConditionUpdate::unknown(PLUGINS_SYNCED, PLUGINS_WAITING, message));
    }
    let any = !results.is_empty() || !kept.is_empty();
    any.then(|| ConditionUpdate::yes(PLUGINS_SYNCED, "Synced", "all objects that plugins requested are up to date"))
}

/// Returns an update that keeps `condition` as it is.
fn update_of(condition: &Condition) -> ConditionUpdate {
    ConditionUpdate {
        type_: condition.type_.clone().into(),
        status: match condition.status.as_str() {
            "True" => Some(true),
            "False" => Some(false),
            _ => None,
        },
        reason: condition.reason.clone(),
        message: condition.message.clone(),
    }
}

#[cfg(test)]
mod tests;
