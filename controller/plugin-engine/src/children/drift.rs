//! Decides whether a child has to be written, and detects that another client keeps changing it; pure.

use std::{
    collections::{HashMap, VecDeque},
    time::{Duration, Instant},
};

use kube::{Resource as _, api::DynamicObject};
use serde_json::{Value, json};

use crate::model::child_version::{ChildName, ChildVersion};

/// More repairs than these …
const MOST_REPAIRS: usize = 10;
/// … in this time are a drift loop.
const WINDOW: Duration = Duration::from_mins(10);
/// In a drift loop, repairs are delayed by 1, 2, 4 … seconds.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LAST_PAUSE: Duration = Duration::from_mins(10);
/// A drift loop is over when the child has not been changed for this time, or for the last delay if that is longer. The
/// time equals the average interval of repairs that starts a drift loop.
const STABLE_AFTER: Duration = Duration::from_mins(1);

/// The record of a child that was written.
#[derive(Clone, Debug)]
pub(crate) struct Record {
    pub(crate) key: String,
    pub(crate) version: ChildVersion,
    /// The version that the watch delivered last.
    pub(crate) delivered: Option<ChildVersion>,
    /// The fingerprint of the manifest that was written.
    pub(crate) print: String,
    pub(crate) conflict_tracker: ConflictTracker,
}

impl Record {
    /// Records that the watch delivered the version `now`. Returns whether it may be the work of another client.
    ///
    /// A version that is older than the write may only be late: an event from before the write. But a watch that went
    /// back behind what it has delivered itself shows that the API server was restored from a backup.
    pub(crate) fn deliver(&mut self, now: &ChildVersion) -> bool {
        let was_restored = self.delivered.as_ref().is_some_and(|last| now.is_before(last));
        self.delivered = Some(now.clone());
        was_restored || (!now.is_before(&self.version) && self.version.drifted_to(now))
    }
}

/// Records of the children that were written. It contains only children of the last response, and those that still have
/// to be pruned.
pub(crate) type Written = HashMap<ChildName, Record>;
/// The action for a child.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ApplyAction {
    /// Create the child, because it does not exist.
    Create,
    /// Leave the child as it is, because it has not changed since it was written.
    Keep,
    /// Apply the child, because the response differs from the one that was written.
    Apply,
    /// Send a dry run to find out what an apply would change, because the child changed or has no record.
    Compare,
    /// Wait, because the child is being deleted.
    Await,
}

/// Returns the action for a child. `print` is the fingerprint of the wanted manifest.
pub(crate) fn decide(print: &str, live: Option<&DynamicObject>, record: Option<&Record>) -> ApplyAction {
    let Some(live) = live else { return ApplyAction::Create };
    if live.metadata.deletion_timestamp.is_some() {
        return ApplyAction::Await;
    }
    match record {
        Some(record) if record.print != print => ApplyAction::Apply,
        Some(record) if !record.version.drifted_to(&ChildVersion::of(live)) => ApplyAction::Keep,
        _ => ApplyAction::Compare,
    }
}

/// Returns whether an apply would change `live`. `applied` is the result of its dry run. The status is ignored because
/// the controller never sets it. The owners of fields are ignored as well.
pub(crate) fn differs(live: &DynamicObject, applied: &DynamicObject) -> bool {
    content(live) != content(applied)
}

fn content(object: &DynamicObject) -> Value {
    let mut content = json!(object);
    for (parent, field) in
        [("", "status"), ("/metadata", "managedFields"), ("/metadata", "resourceVersion"), ("/metadata", "generation")]
    {
        if let Some(parent) = content.pointer_mut(parent).and_then(Value::as_object_mut) {
            parent.remove(field);
        }
    }
    content
}

/// Returns the other field manager that most recently wrote a field of `live` that `manifest` sets.
pub(crate) fn other_manager(live: &DynamicObject, manifest: &Value, ours: &str) -> Option<String> {
    let entries = live.meta().managed_fields.iter().flatten();
    let others = entries.filter(|entry| {
        let fields = entry.fields_v1.as_ref();
        entry.manager.as_deref() != Some(ours) && fields.is_some_and(|fields| overlaps(&fields.0, manifest))
    });
    others.max_by_key(|entry| entry.time.as_ref().map(|time| time.0))?.manager.clone()
}

/// Returns whether `fields`, a part of `fieldsV1`, contains a field that `manifest` sets. For a list, any part counts.
fn overlaps(fields: &Value, manifest: &Value) -> bool {
    let Some(fields) = fields.as_object() else { return false };
    fields.iter().any(|(name, below)| {
        let Some(value) = name.strip_prefix("f:").and_then(|name| manifest.get(name)) else { return false };
        let is_leaf = below.as_object().is_none_or(serde_json::Map::is_empty);
        is_leaf || !value.is_object() || overlaps(below, value)
    })
}

/// A child that is repaired again and again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct DriftLoop {
    /// Names the child and the other client.
    pub(crate) message: String,
    /// The time until the drift loop may be over.
    pub(crate) requeue_after: Duration,
}

/// Recent repairs of a child.
#[derive(Clone, Debug, Default)]
pub(crate) struct ConflictTracker {
    repairs: VecDeque<Instant>,
    /// The number of repairs that have been delayed. `None` outside a drift loop.
    waited: Option<u32>,
    other: Option<String>,
}

impl ConflictTracker {
    /// Records that the child was repaired after `other` changed it.
    pub(crate) fn repaired(&mut self, other: Option<String>, now: Instant) {
        self.repairs.retain(|at| now.duration_since(*at) < WINDOW);
        self.repairs.push_back(now);
        if self.repairs.len() > MOST_REPAIRS + 1 {
            self.repairs.pop_front();
        }
        self.waited = match self.waited {
            Some(waited) => Some(waited.saturating_add(1)),
            None => (self.repairs.len() > MOST_REPAIRS).then_some(0),
        };
        self.other = other.or_else(|| self.other.take());
    }

    /// Records that the child was found unchanged.
    pub(crate) fn found_unchanged(&mut self, now: Instant) {
        if self.stable_at().is_some_and(|at| at <= now) {
            *self = Self::default();
        }
    }

    /// Returns how long the next repair has to wait.
    pub(crate) fn wait(&self, now: Instant) -> Option<Duration> {
        let next = *self.repairs.back()? + self.pause()?;
        Some(next.saturating_duration_since(now)).filter(|wait| !wait.is_zero())
    }

    /// Describes the drift loop of a child. Returns `None` outside a drift loop.
    pub(crate) fn drift_loop(&self, child: &str, now: Instant) -> Option<DriftLoop> {
        let requeue_after = self.stable_at()?.saturating_duration_since(now);
        let other = self.other.as_deref().map_or_else(
            || "another client keeps deleting it".to_owned(),
            |other| format!("the field manager {other:?} keeps changing it"),
        );
        let message = format!("{child} was repaired more than {MOST_REPAIRS} times in 10 minutes: {other}");
        Some(DriftLoop { message, requeue_after })
    }

    fn pause(&self) -> Option<Duration> {
        Some((FIRST_PAUSE * 2_u32.saturating_pow(self.waited?.min(10))).min(LAST_PAUSE))
    }

    fn stable_at(&self) -> Option<Instant> {
        Some(*self.repairs.back()? + self.pause()?.max(STABLE_AFTER))
    }
}

#[cfg(test)]
mod tests;
