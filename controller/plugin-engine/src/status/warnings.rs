//! Warnings of plugins about Dask resources that wait to be published as Events.

use std::collections::{BTreeSet, HashMap};

use super::aggregate::SubjectReport;
use crate::model::subject::SubjectKey;

/// The maximum number of unpublished warnings of one owner.
pub(super) const MAX_WAITING: usize = 64;

/// A warning of a plugin.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct PluginWarning {
    pub(crate) plugin: String,
    pub(crate) text: String,
}

/// The warnings about all owners.
#[derive(Default)]
pub(super) struct Warnings {
    /// Unpublished warnings by owner.
    waiting: HashMap<SubjectKey, Vec<PluginWarning>>,
    /// The number of subjects that a warning was returned for, by owner, plugin and text of the warning.
    counts: HashMap<SubjectKey, HashMap<String, HashMap<String, usize>>>,
}

impl Warnings {
    /// Removes and returns the unpublished warnings of `owner`.
    pub(super) fn take(&mut self, owner: &SubjectKey) -> Vec<PluginWarning> {
        self.waiting.remove(owner).unwrap_or_default()
    }

    /// Queues the new warnings of a report. Each text is published once, no matter how many subjects it is about.
    pub(super) fn queue_new(&mut self, plugin: &str, report: &SubjectReport, before: Option<&SubjectReport>) {
        let owner = &report.owner.key;
        let others = self.counts.get(owner).and_then(|plugins| plugins.get(plugin));
        let is_known = |warning: &String| {
            others.is_some_and(|counts| counts.contains_key(warning))
                || before.is_some_and(|before| before.warnings.contains(warning))
        };
        let new_warnings: Vec<&String> = report.warnings.iter().filter(|warning| !is_known(warning)).collect();
        if !new_warnings.is_empty() {
            let waiting = self.waiting.entry(owner.clone()).or_default();
            let warning = |text: &String| PluginWarning { plugin: plugin.to_owned(), text: text.clone() };
            waiting.extend(new_warnings.into_iter().map(warning));
            waiting.truncate(MAX_WAITING);
        }
    }

    /// Adds the warnings of one subject to the counts.
    pub(super) fn add(&mut self, plugin: &str, owner: &SubjectKey, warnings: &BTreeSet<String>) {
        if warnings.is_empty() {
            return;
        }
        let counts = self.counts.entry(owner.clone()).or_default().entry(plugin.to_owned()).or_default();
        for warning in warnings {
            *counts.entry(warning.clone()).or_default() += 1;
        }
    }

    /// Removes the warnings of one subject from the counts.
    pub(super) fn remove(&mut self, plugin: &str, owner: &SubjectKey, warnings: &BTreeSet<String>) {
        let Some(plugins) = self.counts.get_mut(owner).filter(|_| !warnings.is_empty()) else { return };
        if let Some(counts) = plugins.get_mut(plugin) {
            for warning in warnings {
                if let Some(count) = counts.get_mut(warning) {
                    *count -= 1;
                }
            }
            counts.retain(|_, count| *count > 0);
            if counts.is_empty() {
                plugins.remove(plugin);
            }
        }
        if plugins.is_empty() {
            self.counts.remove(owner);
        }
    }

    /// Returns whether no existing subject has a warning.
    #[cfg(test)]
    pub(super) fn has_no_counts(&self) -> bool {
        self.counts.is_empty()
    }
}
