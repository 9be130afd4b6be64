//! Computes what the status of a Dask resource says about its plugins; pure.

use std::collections::{BTreeMap, BTreeSet};

use dask_operator_api::PluginState;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use operator_runtime::conditions::ConditionUpdate;

use crate::client::warnings::MAX_SHOWN;
use crate::model::subject::SubjectKey;
use crate::model::summary::SyncState;
use plugin_protocol::{ConditionStatus, limits};

/// The condition type that says whether everything that plugins requested has been applied.
pub(crate) const PLUGINS_SYNCED: &str = "PluginsSynced";
/// The reason while no plugin has failed and not all of them have answered.
pub(crate) const WAITING: &str = "Waiting";
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

/// The state of one owner with one plugin.
#[derive(Debug, Default)]
struct Standing<'a> {
    matched: bool,
    children: usize,
    failing: Option<(&'a SubjectKey, &'static str, &'a str)>,
    waiting: Option<(&'a SubjectKey, &'a str)>,
    conditions: BTreeMap<&'a str, &'a ConditionUpdate>,
}

/// Computes the desired status of an owner. The plugins in `kept` have not reported everything yet, so their part of
/// the current status (`shown`) is kept. `holders` are the plugins that keep the owner from becoming `Running` and have
/// not answered.
pub(crate) fn status_of(
    accounts: &SubjectReports,
    kept: &BTreeSet<String>,
    shown: &CurrentStatus,
    holders: &[String],
) -> DesiredStatus {
    let known = accounts.iter().filter(|(plugin, _)| !kept.contains(*plugin));
    let standings: Vec<_> = known.map(|(plugin, subjects)| (plugin.as_str(), standing(subjects))).collect();
    let standings: Vec<_> = standings.into_iter().filter(|(_, standing)| standing.matched).collect();
    let kept_states: Vec<&PluginState> = shown.plugins.iter().filter(|state| kept.contains(&state.name)).collect();
    let mut plugins: Vec<PluginState> = standings.iter().map(|(plugin, standing)| state(plugin, standing)).collect();
    plugins.extend(kept_states.iter().map(|state| (*state).clone()));
    plugins.sort_by(|a, b| a.name.cmp(&b.name));
    let mut conditions: Vec<ConditionUpdate> = synced(&standings, &kept_states, shown, holders).into_iter().collect();
    let said = standings.iter().flat_map(|(_, standing)| standing.conditions.values().take(MAX_SHOWN));
    conditions.extend(said.map(|verdict| (*verdict).clone()));
    let of_kept = |condition: &&Condition| kept.iter().any(|plugin| condition.type_.starts_with(&prefix(plugin)));
    conditions.extend(shown.conditions.iter().filter(of_kept).map(verdict_of));
    DesiredStatus { plugins, conditions }
}

/// Returns whether the plugin engine wrote this condition.
pub(crate) fn is_ours(condition: &Condition) -> bool {
    condition.type_ == PLUGINS_SYNCED || condition.type_.contains(".plugin.kubernetes.dask.org/")
}

/// Converts the conditions in `said` that can be shown. Returns them with the number of those that cannot.
pub(crate) fn fit(plugin: &str, said: &[plugin_protocol::Condition]) -> (Vec<ConditionUpdate>, usize) {
    let fits = |condition: &&plugin_protocol::Condition| {
        is_type(&condition.type_)
            && prefix(plugin).len() + condition.type_.len() <= MAX_TYPE
            && is_reason(&condition.reason)
    };
    let verdict = |condition: &plugin_protocol::Condition| ConditionUpdate {
        type_: format!("{}{}", prefix(plugin), condition.type_).into(),
        status: match condition.status {
            ConditionStatus::True => Some(true),
            ConditionStatus::False => Some(false),
            _ => None,
        },
        reason: condition.reason.clone(),
        message: limits::cut_message(&condition.message).to_owned(),
    };
    let shown: Vec<ConditionUpdate> = said.iter().filter(fits).take(MAX_SHOWN).map(verdict).collect();
    let unfit = said.len() - shown.len();
    (shown, unfit)
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

fn standing(subjects: &BTreeMap<SubjectKey, SubjectReport>) -> Standing<'_> {
    let mut standing = Standing::default();
    for (subject, account) in subjects {
        match &account.state {
            SyncState::Unmatched => continue,
            SyncState::Synced => {}
            SyncState::Waiting => standing.waiting = standing.waiting.or(Some((subject, NOT_ANSWERED))),
            SyncState::Pending { message } => standing.waiting = standing.waiting.or(Some((subject, message))),
            SyncState::Failing { reason, message } => {
                standing.failing = standing.failing.or(Some((subject, reason, message)));
            }
        }
        standing.matched = true;
        standing.children += account.children;
        for condition in &account.conditions {
            let worst = standing.conditions.entry(&condition.type_).or_insert(condition);
            if rank(condition) < rank(worst) {
                *worst = condition;
            }
        }
    }
    standing
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

fn state(plugin: &str, standing: &Standing<'_>) -> PluginState {
    let failing = standing.failing.map(|(subject, _, message)| (subject, message));
    let message =
        failing.or(standing.waiting).map(|(subject, message)| format!("{subject}: {message}")).unwrap_or_default();
    PluginState {
        name: plugin.to_owned(),
        synced: standing.failing.is_none() && standing.waiting.is_none(),
        children: i64::try_from(standing.children).unwrap_or(i64::MAX),
        message: limits::shorten_message(&message).into_owned(),
    }
}

/// Returns the `PluginsSynced` condition. Returns `None` if no plugin matches the owner.
fn synced(
    standings: &[(&str, Standing<'_>)],
    kept: &[&PluginState],
    shown: &CurrentStatus,
    holders: &[String],
) -> Option<ConditionUpdate> {
    let failing = standings.iter().find_map(|(plugin, standing)| Some((plugin, standing.failing?)));
    if let Some((plugin, (subject, reason, message))) = failing {
        return Some(ConditionUpdate::no(PLUGINS_SYNCED, reason, format!("{plugin}: {subject}: {message}")));
    }
    if let Some(state) = kept.iter().find(|state| !state.synced) {
        let before = shown.conditions.iter().find(|condition| condition.type_ == PLUGINS_SYNCED);
        let before = before.filter(|condition| condition.status != "True").map(verdict_of);
        let message = format!("{}: {}", state.name, state.message);
        return before.or_else(|| Some(ConditionUpdate::no(PLUGINS_SYNCED, "NotSynced", message)));
    }
    let waiting = standings.iter().find_map(|(plugin, standing)| Some((plugin, standing.waiting?)));
    if let Some((plugin, (subject, message))) = waiting {
        let message = format!("{plugin}: {subject}: {message}");
        return Some(ConditionUpdate::unknown(PLUGINS_SYNCED, WAITING, message));
    }
    if !holders.is_empty() {
        let message = format!("not answered yet, and failurePolicy is Fail: {}", holders.join(", "));
        return Some(ConditionUpdate::unknown(PLUGINS_SYNCED, WAITING, message));
    }
    let any = !standings.is_empty() || !kept.is_empty();
    any.then(|| ConditionUpdate::yes(PLUGINS_SYNCED, "Synced", "everything that plugins asked for stands"))
}

fn verdict_of(condition: &Condition) -> ConditionUpdate {
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
