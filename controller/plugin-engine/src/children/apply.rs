//! Applies the plan for the children of one subject: writes, then prunes.

use std::collections::HashSet;

use futures::{StreamExt as _, stream};
use jiff::Timestamp;
use kube::{Resource as _, ResourceExt as _};

use super::{
    child_ref::{ChildRef, Ownership},
    drift::Written,
    inventory::{Children, PARALLEL},
    live::Existing,
    plan::{Conflict, Plan},
    problem::Problem,
    prune_guard,
    write::WriteResult,
};
use crate::model::{child_meta::Ours, child_version::ChildName, rejected_child::Rejected, summary::PRUNE_HELD};

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
        let done: Vec<WriteResult> = stream::iter(writes).buffered(PARALLEL).collect().await;
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
}
