//! Applies the plan for the children of one subject. No other module writes children for plugins.

use std::{
    collections::HashSet,
    time::{Duration, Instant},
};

use futures::{StreamExt as _, stream};
use jiff::Timestamp;
use kube::{Resource as _, ResourceExt as _, api::DynamicObject};
use operator_runtime::{
    fingerprint::fingerprint,
    k8s::{self, Force},
};
use serde_json::{Value, json};

use super::{
    child_ref::{ChildRef, Ownership},
    drift::{self, ApplyAction, Record, Written},
    hand_over, immutable,
    inventory::{Children, PARALLEL},
    live::Existing,
    plan::{Conflict, Plan},
    problem::Problem,
    prune_guard,
    screen::Approved,
};
use crate::model::rejected_child::Rejected;
use crate::model::{
    child_meta::{Ours, manager_of},
    child_version::{ChildName, ChildVersion},
    summary::PRUNE_HELD,
};

/// The work that results from one response.
pub(crate) struct Work<'a> {
    pub(crate) plan: Plan,
    pub(crate) rejected: Vec<Rejected>,
    /// The objects that exist under the names of the children.
    pub(crate) existing: Existing,
    /// All keys of the response. A child that only gets another name does not count as dropped.
    pub(crate) keys: HashSet<String>,
    pub(crate) claim: Ownership<'a>,
}

/// The result of one child. If there is no new record, the old one is kept.
struct Done {
    record: Option<Record>,
    problem: Option<Problem>,
}

/// The result of an apply: whether the child was written or was already as wanted.
enum Applied {
    Unchanged(ChildVersion),
    Written(ChildVersion),
}

impl Children<'_> {
    /// Applies the plan. Prunes only if nothing was rejected and every write succeeded.
    pub(crate) async fn apply_plan(&self, work: Work<'_>, written: &mut Written) -> Option<Problem> {
        let Work { plan: Plan { apply, prune, conflicts }, rejected, existing, keys, claim } = work;
        let names: Vec<_> = apply.iter().map(|child| ChildName::of(child.resource(), child.name())).collect();
        let going: HashSet<_> = prune.iter().map(|child| ChildName::of(&child.resource, &child.name)).collect();
        written.retain(|name, _| names.contains(name) || going.contains(name));
        let mut problems: Vec<Problem> =
            rejected.into_iter().map(|rejected| Problem::new(rejected.reason, rejected.message)).collect();
        problems.extend(
            conflicts
                .into_iter()
                .map(|Conflict { key, message }| Problem::new("Conflict", format!("{key}: {message}"))),
        );
        let writes: Vec<_> = apply
            .iter()
            .zip(&names)
            .map(|(child, name)| self.write(child, existing.get(name), written.get(name).cloned()))
            .collect();
        // Ordered, so that the first problem is the same each time.
        let done: Vec<Done> = stream::iter(writes).buffered(PARALLEL).collect().await;
        for (name, done) in names.into_iter().zip(done) {
            if let Some(record) = done.record {
                written.insert(name, record);
            }
            problems.extend(done.problem);
        }
        if problems.is_empty() {
            problems = self.prune(&prune, &keys, claim, written).await;
        }
        Problem::first(problems)
    }

    async fn write(&self, child: &Approved, live: Option<&DynamicObject>, before: Option<Record>) -> Done {
        let (now, print) = (Instant::now(), fingerprint(child.manifest()));
        let what = format!("{} {}", child.resource().kind, child.name());
        let delivered = before.as_ref().and_then(|record| record.delivered.clone());
        let is_repair = before.as_ref().is_some_and(|record| record.print == print);
        let mut conflict_tracker = before.as_ref().map(|record| record.conflict_tracker.clone()).unwrap_or_default();
        let action = drift::decide(&print, live, before.as_ref());
        if let (true, ApplyAction::Create | ApplyAction::Compare, Some(wait)) =
            (is_repair, action, conflict_tracker.wait(now))
        {
            let drift_loop = |(message, _)| Problem { reason: "DriftLoop", message, requeue_after: Some(wait) };
            return Done { record: None, problem: conflict_tracker.account(&what, now).map(drift_loop) };
        }
        let metrics = &self.env.metrics;
        let version = match self.apply_one(child, live, action).await {
            Ok(Applied::Unchanged(version)) => {
                conflict_tracker.found_right(now);
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
                return Done { record: None, problem: Some(problem) };
            }
        };
        let loop_problem = conflict_tracker.account(&what, now);
        let problem = loop_problem.map(|(message, requeue_after)| Problem {
            reason: "DriftLoop",
            message,
            requeue_after: Some(requeue_after),
        });
        Done {
            record: Some(Record { key: child.key().to_string(), version, delivered, print, conflict_tracker }),
            problem,
        }
    }

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
        let (created, is_new) =
            k8s::apply_new(&self.plugin.writer.client, &api, &self.manager(), child.manifest()).await?;
        if is_new {
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

    async fn prune(
        &self,
        prune: &[ChildRef],
        keys: &HashSet<String>,
        claim: Ownership<'_>,
        written: &mut Written,
    ) -> Vec<Problem> {
        let dropped: Vec<String> =
            prune.iter().filter(|child| !keys.contains(&child.key)).map(|child| child.uid.clone()).collect();
        if let Err(paused) = self.admit(claim.subject_uid, &dropped).await {
            return vec![Problem::new(PRUNE_HELD, paused.to_string())];
        }
        let (subject_uid, owner_uid) = (Some(claim.subject_uid), Some(claim.owner_uid));
        let ours = Ours { plugin: claim.plugin, subject_uid, owner_uid };
        let deletions: Vec<_> = prune.iter().map(|child| self.delete(child, ours)).collect();
        let done: Vec<_> = stream::iter(deletions).buffered(PARALLEL).collect().await;
        let mut problems = Vec::new();
        for (child, done) in prune.iter().zip(done) {
            match done {
                Ok(()) => drop(written.remove(&ChildName::of(&child.resource, &child.name))),
                Err(error) => problems.push(error.into()),
            }
        }
        problems
    }

    async fn admit(&self, subject_uid: &str, dropped: &[String]) -> Result<(), prune_guard::Paused> {
        let (prune_guards, plugin) = (&self.env.prune_guards, self.plugin);
        if prune_guard::is_allowed(plugin.allow_prune.as_deref(), Timestamp::now()) {
            prune_guards.release(self.guard());
            return Ok(());
        }
        let mut existing_uids = HashSet::new();
        // Counting them takes time, and most responses drop nothing.
        if !dropped.is_empty() {
            let ours = Ours { plugin: &plugin.identity, subject_uid: None, owner_uid: None };
            for kind in &plugin.kinds {
                self.env.watches.children(&plugin.writer, &kind.resource).await.for_each(|child| {
                    let is_here = child.meta().namespace.as_deref() == Some(self.namespace);
                    if is_here && ours.holds(child) {
                        existing_uids.extend(child.uid());
                    }
                });
            }
        }
        prune_guards.admit(self.guard(), subject_uid, dropped, &existing_uids)
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
