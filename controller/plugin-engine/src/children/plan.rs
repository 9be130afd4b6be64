//! Plans what to do with approved children, given the objects that exist under their names.

use kube::{ResourceExt as _, api::DynamicObject, core::ApiResource};

use super::{
    child_ref::{ChildRef, Ownership},
    screen::Approved,
};
use crate::model::labels::{ADOPT_ANNOTATION, PLUGIN_LABEL};

/// An approved child, and the object that exists under its name. That object need not be a child.
#[derive(Clone, Debug)]
pub(crate) struct WantedChild {
    pub(crate) child: Approved,
    pub(crate) live: Option<DynamicObject>,
}

/// The actions for the children of a subject.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Plan {
    pub(crate) apply: Vec<Approved>,
    /// Children to delete, after every apply has succeeded.
    pub(crate) prune: Vec<ChildRef>,
    pub(crate) conflicts: Vec<Conflict>,
}

/// A child whose name is in use by another object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Conflict {
    pub(crate) key: String,
    pub(crate) message: String,
}

/// Plans the actions for the children of a subject. `wanted` are the approved children, each with the object that a GET
/// found under its name. `known` are the children of this plugin and subject that the watch knows.
pub(crate) fn plan(wanted: Vec<WantedChild>, known: Vec<ChildRef>, claim: Ownership<'_>) -> Plan {
    let mut plan = Plan::default();
    // One object can be read in several versions of its kind.
    let same_kind = |a: &ApiResource, b: &ApiResource| a.group == b.group && a.plural == b.plural;
    let is_wanted = |known: &ChildRef| {
        wanted
            .iter()
            .any(|WantedChild { child, .. }| same_kind(child.resource(), &known.resource) && child.name() == known.name)
    };
    let unwanted = known.into_iter().filter(|known| !is_wanted(known)).collect();
    plan.prune = unwanted;
    for WantedChild { child, live } in wanted {
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
