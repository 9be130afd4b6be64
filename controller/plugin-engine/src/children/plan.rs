//! Plans what to do with approved children, given the objects that exist under their names.

use kube::{ResourceExt as _, api::DynamicObject, core::ApiResource};

use super::screen::Approved;
use crate::model::labels::{ADOPT_ANNOTATION, PLUGIN_LABEL, SUBJECT_LABEL};

/// An existing child, as the watch knows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Known {
    pub(crate) resource: ApiResource,
    pub(crate) name: String,
    pub(crate) uid: String,
    pub(crate) key: String,
}

/// The actions for the children of a subject.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Plan {
    pub(crate) apply: Vec<Approved>,
    /// Children to delete, after every apply has succeeded.
    pub(crate) prune: Vec<Known>,
    pub(crate) conflicts: Vec<Conflict>,
}

/// A child whose name is in use by another object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Conflict {
    pub(crate) key: String,
    pub(crate) message: String,
}

/// The plugin, subject and owner whose children are planned.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ownership<'a> {
    pub(crate) plugin: &'a str,
    pub(crate) subject_uid: &'a str,
    pub(crate) owner_uid: &'a str,
}

impl Ownership<'_> {
    /// Returns whether `live` has this owner and these labels. No other objects are ever changed or deleted.
    pub(crate) fn holds(&self, live: &impl kube::Resource) -> bool {
        let labels = live.labels();
        operator_runtime::k8s::is_controlled_by(live, self.owner_uid)
            && labels.get(PLUGIN_LABEL).is_some_and(|plugin| plugin == self.plugin)
            && labels.get(SUBJECT_LABEL).is_some_and(|uid| uid == self.subject_uid)
    }
}

/// Plans the actions for the children of a subject. `wanted` are the approved children, each with the object that a GET
/// found under its name. `known` are the children of this plugin and subject that the watch knows.
pub(crate) fn plan(wanted: Vec<(Approved, Option<DynamicObject>)>, known: Vec<Known>, claim: Ownership<'_>) -> Plan {
    let mut plan = Plan::default();
    // One object can be read in several versions of its kind.
    let same_kind = |a: &ApiResource, b: &ApiResource| a.group == b.group && a.plural == b.plural;
    let is_wanted = |known: &Known| {
        wanted.iter().any(|(child, _)| same_kind(child.resource(), &known.resource) && child.name() == known.name)
    };
    let unwanted = known.into_iter().filter(|known| !is_wanted(known)).collect();
    plan.prune = unwanted;
    for (child, live) in wanted {
        match live.as_ref().and_then(|live| conflict(live, claim)) {
            Some(message) => plan.conflicts.push(Conflict { key: child.key().to_string(), message }),
            None => plan.apply.push(child),
        }
    }
    plan
}

fn conflict(live: &DynamicObject, claim: Ownership<'_>) -> Option<String> {
    // The annotation stays after an adoption. It must not hand the object over to another subject.
    let adopted = live.labels().get(PLUGIN_LABEL).is_none()
        && live.annotations().get(ADOPT_ANNOTATION).is_some_and(|plugin| plugin == claim.plugin);
    if claim.holds(live) || adopted {
        return None;
    }
    let kind = live.types.as_ref().map_or("object", |types| types.kind.as_str());
    let name = live.name_any();
    if live.metadata.deletion_timestamp.is_some() {
        return Some(format!("{kind} {name} exists and is being deleted"));
    }
    Some(match live.labels().get(PLUGIN_LABEL) {
        Some(other) if other != claim.plugin => format!("{kind} {name} belongs to the plugin {other}"),
        Some(_) => format!("{kind} {name} belongs to another subject"),
        None => format!(
            "{kind} {name} exists and does not belong to the plugin; to let the plugin adopt it, annotate it \
             {ADOPT_ANNOTATION}={}",
            claim.plugin
        ),
    })
}

#[cfg(test)]
mod tests;
