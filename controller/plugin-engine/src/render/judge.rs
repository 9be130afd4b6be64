//! Determines what the controller would do with an answer.

use std::collections::{HashMap, HashSet};

use kube::{ResourceExt as _, api::DynamicObject};
use serde_json::Value;

use super::dry_run_state::{DryRunState, Subject};
use crate::{
    children::{
        child_ref::{ChildRef, Ownership},
        origin::Origin,
        plan::{self, Conflict, WantedChild},
        screen::{self, Approved, Screened},
        second_names::with_second_names,
    },
    client::{
        answer::{Answer, Parsed},
        response::CallError,
    },
    index::registration::Registration,
    model::{
        child_version::ChildName,
        labels::KEY_LABEL,
        rejected_child::Rejected,
        subject::{KeyedObject, SubjectKey},
    },
};
use plugin_protocol::ResponseStatus;

/// The children that subjects got in this run, by name and namespace. For later subjects they count as existing
/// objects.
pub(crate) type Given = HashMap<(ChildName, String), DynamicObject>;

/// The result of an answer.
#[derive(Debug, Default)]
pub(crate) struct Judged {
    /// The children to apply, by key.
    pub(crate) apply: Vec<(String, Value)>,
    pub(crate) prune: Vec<ChildRef>,
    pub(crate) refused: Vec<Rejected>,
    pub(crate) warnings: Vec<String>,
    /// The message of a plugin that refuses, or that has no result yet.
    pub(crate) outcome: Option<String>,
}

/// Determines what the controller would do with an answer about a subject. Adds the children to `given`.
pub(crate) fn judge(
    plugin: &Registration,
    dry_run_state: &DryRunState,
    given: &mut Given,
    subject: &Subject<'_>,
    answer: Result<Answer, CallError>,
) -> Result<Judged, CallError> {
    let answer = answer?;
    let Parsed { children, rejected: unparsed } = answer.parsed();
    let warnings = answer.warnings;
    let outcome = match answer.status {
        ResponseStatus::Success => None,
        ResponseStatus::Pending => Some(format!("the plugin is not ready to decide: {}", answer.message)),
        _ => Some(format!("the plugin refuses: {}: {}", answer.reason, answer.message)),
    };
    if outcome.is_some() {
        return Ok(Judged { warnings, outcome, ..Judged::default() });
    }
    let (subject_uid, owner_uid) = (subject.object.uid().unwrap_or_default(), subject.owner.uid().unwrap_or_default());
    let known = dry_run_state.children(plugin, subject).into_iter().map(|child| ChildRef {
        resource: child.kind.resource.clone(),
        name: child.object.name_any(),
        uid: child.object.uid().unwrap_or_default(),
        key: child.object.labels().get(KEY_LABEL).cloned().unwrap_or_default(),
    });
    let known: Vec<ChildRef> = known.collect();
    let owner = KeyedObject { key: &subject.owner_key, object: subject.owner };
    let origin = Origin::new(plugin, KeyedObject { key: subject.key, object: subject.object }, owner, &known);
    let Screened { approved, rejected } = screen::screen(children, &origin);
    let namespace = &subject.key.namespace;
    let place = |child: &Approved| (ChildName::of(child.resource(), child.name()), namespace.clone());
    let found = |child: Approved| {
        let live = given.get(&place(&child)).or_else(|| dry_run_state.live(child.resource(), namespace, child.name()));
        WantedChild { live: live.cloned(), child }
    };
    let claim = Ownership { plugin: &plugin.identity, subject_uid: &subject_uid, owner_uid: &owner_uid };
    let wanted: Vec<_> = approved.into_iter().map(found).collect();
    let wanted = match with_second_names(&wanted, claim, &namesakes(plugin, dry_run_state, subject.key)) {
        Some(renamed) => renamed.into_iter().map(found).collect(),
        None => wanted,
    };
    let plan = plan::plan(wanted, known.clone(), claim);
    for child in &plan.apply {
        given.extend(serde_json::from_value(child.manifest().clone()).ok().map(|object| (place(child), object)));
    }
    let conflict = |Conflict { key, message }| Rejected { key, reason: "Conflict", message };
    let conflicts = plan.conflicts.into_iter().map(conflict);
    let refused: Vec<_> = unparsed.into_iter().chain(rejected).chain(conflicts).collect();
    // The controller prunes only after all other changes have succeeded.
    let prune = if refused.is_empty() { plan.prune } else { Vec::new() };
    let apply = plan.apply.iter().map(|child| (child.key().to_string(), child.manifest().clone())).collect();
    Ok(Judged { apply, prune, refused, warnings, outcome: None })
}

/// Returns the uids of the subjects of other kinds that have the same name as `subject`.
fn namesakes(plugin: &Registration, dry_run_state: &DryRunState, subject: &SubjectKey) -> HashSet<String> {
    let others = plugin.spec.subjects.iter().filter(|rule| rule.kind != subject.kind);
    others.filter_map(|rule| dry_run_state.find(&SubjectKey { kind: rule.kind, ..subject.clone() })?.uid()).collect()
}
