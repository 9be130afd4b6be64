//! Writes one child to the API server. No other module writes children for plugins.

use std::time::{Duration, Instant};

use kube::{ResourceExt as _, api::DynamicObject};
use operator_runtime::{
    fingerprint::fingerprint,
    k8s::{self, AppliedNew, Force},
};
use serde_json::{Value, json};

use super::{
    drift::{self, ApplyAction, DriftLoop, Record},
    hand_over, immutable,
    inventory::Children,
    problem::Problem,
    screen::Approved,
};
use crate::model::{child_meta::manager_of, child_version::ChildVersion};

/// The result of the write of one child. If there is no new record, the old one is kept.
pub(super) struct WriteResult {
    pub(super) record: Option<Record>,
    pub(super) problem: Option<Problem>,
}

/// The result of an apply: whether the child was written or was already as wanted.
enum Applied {
    Unchanged(ChildVersion),
    Written(ChildVersion),
}

impl Children<'_> {
    /// Writes a child if it has changed. `live` is the object that exists under its name, and `before` the record of the
    /// last write.
    pub(super) async fn write(
        &self,
        child: &Approved,
        live: Option<&DynamicObject>,
        before: Option<Record>,
    ) -> WriteResult {
        let (now, print) = (Instant::now(), fingerprint(child.manifest()));
        let what = format!("{} {}", child.resource().kind, child.name());
        let delivered = before.as_ref().and_then(|record| record.delivered.clone());
        let is_repair = before.as_ref().is_some_and(|record| record.print == print);
        let mut conflict_tracker = before.as_ref().map(|record| record.conflict_tracker.clone()).unwrap_or_default();
        let action = drift::decide(&print, live, before.as_ref());
        if let (true, ApplyAction::Create | ApplyAction::Compare, Some(wait)) =
            (is_repair, action, conflict_tracker.wait(now))
        {
            let paused = |found: DriftLoop| DriftLoop { requeue_after: wait, ..found };
            let problem = conflict_tracker.drift_loop(&what, now).map(|found| paused(found).into());
            return WriteResult { record: None, problem };
        }
        let metrics = &self.env.metrics;
        let version = match self.apply_one(child, live, action).await {
            Ok(Applied::Unchanged(version)) => {
                conflict_tracker.found_unchanged(now);
                version
            }
            Ok(Applied::Written(version)) => {
                metrics.applied(&self.plugin.identity, "Applied");
                if is_repair {
                    let other = live.and_then(|live| drift::other_manager(live, child.manifest(), &self.manager()));
                    conflict_tracker.repaired(other, now);
                }
                version
            }
            Err(problem) => {
                metrics.applied(&self.plugin.identity, problem.reason);
                return WriteResult { record: None, problem: Some(problem) };
            }
        };
        let problem = conflict_tracker.drift_loop(&what, now).map(Problem::from);
        WriteResult {
            record: Some(Record { key: child.key().to_string(), version, delivered, print, conflict_tracker }),
            problem,
        }
    }

    /// Does `action`, unless no object exists: then the child is created.
    async fn apply_one(
        &self,
        child: &Approved,
        live: Option<&DynamicObject>,
        action: ApplyAction,
    ) -> Result<Applied, Problem> {
        match (action, live) {
            (_, None) => self.create(child).await.map(Applied::Written),
            (ApplyAction::Await, Some(_)) => Err(is_going(child)),
            (ApplyAction::Keep, Some(live)) => Ok(Applied::Unchanged(ChildVersion::of(live))),
            (ApplyAction::Compare, Some(live)) if self.is_unchanged(child, live).await => {
                Ok(Applied::Unchanged(ChildVersion::of(live)))
            }
            (_, Some(live)) => self.change(child, live).await.map(Applied::Written),
        }
    }

    /// Returns whether an apply would change nothing. Returns `false` if the dry run fails, because the apply itself
    /// will then report the error.
    async fn is_unchanged(&self, child: &Approved, live: &DynamicObject) -> bool {
        let applied = k8s::dry_apply(&self.api(child.resource()), &self.manager(), &with_uid(child, live)).await;
        applied.is_ok_and(|applied| !drift::differs(live, &applied))
    }

    /// Writes a child that must still be the object `live`.
    async fn change(&self, child: &Approved, live: &DynamicObject) -> Result<ChildVersion, Problem> {
        let api = self.api(child.resource());
        if let Some(owners) = hand_over::released_owners(live, child.manifest()) {
            k8s::set_owners(&api, live, owners).await?;
        }
        let error = match k8s::apply(&api, &self.manager(), Force::Yes, &with_uid(child, live)).await {
            Ok(applied) => return Ok(ChildVersion::of(&applied)),
            Err(error) => error,
        };
        let Some(field) = immutable::field(&error) else { return Err(error.into()) };
        if !self.plugin.kinds.iter().any(|kind| kind.resource == *child.resource() && kind.recreate) {
            let message = format!(
                "{}: {field} cannot be changed; with recreateOnImmutable in spec.children the object is deleted and \
                 recreated: {}",
                child.key(),
                error.message()
            );
            return Err(Problem::new("Immutable", message));
        }
        k8s::delete(&api, child.name(), &live.uid().unwrap_or_default()).await?;
        let claim = self.env.name_locks.take(child.resource(), self.namespace, child.name());
        match (claim, self.is_taken(child.resource(), child.name()).await?) {
            (Some(_claim), false) => self.create(child).await,
            _ => Err(is_going(child)),
        }
    }

    /// Creates a child where no object exists. If another client creates the object first, that client keeps it.
    /// Without force, another plugin's label causes a conflict. Fields that were added to another client's object are
    /// removed again.
    async fn create(&self, child: &Approved) -> Result<ChildVersion, Problem> {
        let api = self.api(child.resource());
        let AppliedNew { object: created, is_created } =
            k8s::apply_new(&self.plugin.writer.client, &api, &self.manager(), child.manifest()).await?;
        if is_created {
            return Ok(ChildVersion::of(&created));
        }
        let manager = self.manager();
        if created.managed_fields().iter().any(|entry| entry.manager.as_ref() != Some(&manager)) {
            k8s::apply(&api, &manager, Force::Yes, &nothing_of(&created)).await?;
        }
        let message =
            format!("{}: {} {} was created by another client", child.key(), child.resource().kind, child.name());
        Err(Problem::new("Conflict", message))
    }

    fn manager(&self) -> String {
        manager_of(&self.plugin.identity)
    }
}

/// Returns the manifest of a child, with the uid of `live`, so that it is applied to that object only.
fn with_uid(child: &Approved, live: &DynamicObject) -> Value {
    let mut manifest = child.manifest().clone();
    manifest["metadata"]["uid"] = json!(live.uid());
    manifest
}

/// Returns a manifest without fields. Applying it removes the fields that were applied before.
fn nothing_of(object: &DynamicObject) -> Value {
    let metadata = json!({"name": object.name_any(), "namespace": object.namespace(), "uid": object.uid()});
    let types = object.types.clone().unwrap_or_default();
    json!({"apiVersion": types.api_version, "kind": types.kind, "metadata": metadata})
}

fn is_going(child: &Approved) -> Problem {
    let message = format!("{}: {} {} is being deleted", child.key(), child.resource().kind, child.name());
    Problem { requeue_after: Some(Duration::from_secs(2)), ..Problem::new("BeingDeleted", message) }
}
