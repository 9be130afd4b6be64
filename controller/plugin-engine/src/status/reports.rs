//! The reports of all plugins about subjects, by owner; pure.

use std::collections::HashMap;

use super::{
    aggregate::{SubjectReport, SubjectReports},
    warnings::Warnings,
};
use crate::model::subject::SubjectKey;

/// The reports of all plugins.
#[derive(Default)]
pub(super) struct Reports {
    owners: HashMap<SubjectKey, SubjectReports>,
    /// The owner that the report of each plugin and subject is stored under.
    places: HashMap<String, HashMap<SubjectKey, SubjectKey>>,
    /// The number of existing children by plugin.
    children: HashMap<String, usize>,
    pub(super) warnings: Warnings,
}

impl Reports {
    /// Returns the reports about an owner.
    pub(super) fn about(&self, owner: &SubjectKey) -> Option<&SubjectReports> {
        self.owners.get(owner)
    }

    /// Returns the number of existing children of a plugin.
    pub(super) fn children(&self, plugin: &str) -> usize {
        self.children.get(plugin).copied().unwrap_or_default()
    }

    /// Returns the subjects that a plugin has reported about.
    pub(super) fn subjects(&self, plugin: &str) -> Vec<SubjectKey> {
        self.places.get(plugin).into_iter().flat_map(HashMap::keys).cloned().collect()
    }

    /// Returns the owners that a plugin has reported about.
    pub(super) fn owners(&self, plugin: &str) -> Vec<SubjectKey> {
        self.places.get(plugin).into_iter().flat_map(HashMap::values).cloned().collect()
    }

    /// Removes and returns a report.
    pub(super) fn take(&mut self, plugin: &str, subject: &SubjectKey) -> Option<SubjectReport> {
        let owner = self.places.get_mut(plugin)?.remove(subject)?;
        let plugins = self.owners.get_mut(&owner)?;
        let subjects = plugins.get_mut(plugin)?;
        let report = subjects.remove(subject)?;
        if let Some(children) = self.children.get_mut(plugin) {
            *children = children.saturating_sub(report.children);
        }
        if subjects.is_empty() {
            plugins.remove(plugin);
        }
        if plugins.is_empty() {
            self.owners.remove(&owner);
        }
        self.warnings.remove(plugin, &owner, &report.warnings);
        Some(report)
    }

    /// Adds a report. There must be none of this plugin and subject.
    pub(super) fn put(&mut self, plugin: &str, subject: &SubjectKey, report: SubjectReport) {
        let owner = report.owner.key.clone();
        *self.children.entry(plugin.to_owned()).or_default() += report.children;
        self.places.entry(plugin.to_owned()).or_default().insert(subject.clone(), owner.clone());
        self.warnings.add(plugin, &owner, &report.warnings);
        let plugins = self.owners.entry(owner).or_default();
        plugins.entry(plugin.to_owned()).or_default().insert(subject.clone(), report);
    }

    /// Removes all reports of a plugin.
    pub(super) fn forget(&mut self, plugin: &str) {
        for subject in &self.subjects(plugin) {
            self.take(plugin, subject);
        }
        self.places.remove(plugin);
        self.children.remove(plugin);
    }
}
