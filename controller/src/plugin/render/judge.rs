//! What the controller would make of an answer.

use kube::ResourceExt as _;
use plugin_protocol::ResponseStatus;
use serde_json::Value;

use super::world::{Subject, World};
use crate::plugin::{
    answer::{Answer, Parsed},
    outcome::CallError,
    plan::{self, Claim, Known},
    registry::Registration,
    screen::{self, KEY_LABEL, Origin},
};

/// What an answer leads to.
#[derive(Debug, Default)]
pub(super) struct Judged {
    /// Children by key, as they are applied.
    pub(super) apply: Vec<(String, Value)>,
    pub(super) prune: Vec<Known>,
    /// Key, reason and message.
    pub(super) refused: Vec<(String, &'static str, String)>,
    pub(super) warnings: Vec<String>,
    /// The plugin's own no or not yet.
    pub(super) said: Option<String>,
}

pub(super) fn judge(
    plugin: &Registration,
    world: &World,
    subject: &Subject<'_>,
    answer: Result<Answer, CallError>,
) -> Result<Judged, CallError> {
    let answer = answer?;
    let Parsed { children, rejected: unparsed } = answer.parsed();
    let warnings = answer.warnings;
    let said = match answer.status {
        ResponseStatus::Success => None,
        ResponseStatus::Pending => Some(format!("the plugin cannot say yet: {}", answer.message)),
        _ => Some(format!("the plugin refuses: {}: {}", answer.reason, answer.message)),
    };
    if said.is_some() {
        return Ok(Judged { warnings, said, ..Judged::default() });
    }
    let (subject_uid, owner_uid) = (subject.object.uid().unwrap_or_default(), subject.owner.uid().unwrap_or_default());
    let origin = Origin::new(plugin, (subject.key, &subject_uid), (&subject.owner_key, subject.owner));
    let (approved, rejected) = screen::screen(children, &origin);
    let wanted = approved.into_iter().map(|child| {
        let live = world.live(child.resource(), &subject.key.namespace, child.name()).cloned();
        (child, live)
    });
    let known = world.children(plugin, subject).into_iter().map(|child| Known {
        resource: child.kind.resource.clone(),
        name: child.object.name_any(),
        uid: child.object.uid().unwrap_or_default(),
        key: child.object.labels().get(KEY_LABEL).cloned().unwrap_or_default(),
    });
    let claim = Claim { plugin: &plugin.identity, subject_uid: &subject_uid, owner_uid: &owner_uid };
    let plan = plan::plan(wanted.collect(), known.collect(), claim);
    let refused = unparsed.into_iter().chain(rejected).map(|child| (child.key, child.reason, child.message));
    let conflicts = plan.conflicts.into_iter().map(|conflict| (conflict.key, "Conflict", conflict.message));
    let refused: Vec<_> = refused.chain(conflicts).collect();
    // The controller prunes only after everything else went through.
    let prune = if refused.is_empty() { plan.prune } else { Vec::new() };
    let apply = plan.apply.iter().map(|child| (child.key().to_string(), child.manifest().clone())).collect();
    Ok(Judged { apply, prune, refused, warnings, said: None })
}
