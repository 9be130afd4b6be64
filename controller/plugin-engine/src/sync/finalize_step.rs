//! The step before a sync, or in place of it: the subject is finalized, pruned, or left alone.

use std::{
    collections::BTreeMap,
    sync::Arc,
    time::{Duration, Instant},
};

use kube::{ResourceExt as _, api::DynamicObject};

use super::{
    Observed, OwnerObject, Syncing,
    error::Error,
    state::{Requeue, Step, SubjectState},
};
use crate::{
    children::live::by_key,
    client::{answer::Answer, response::CallError},
    finalize::{self, FinalizeInput, FinalizeState, Owner, Stage, finalizers},
    index::watches::NotSynced,
    model::{subject, summary::SyncState},
    selector::matcher::Undecided,
};
use plugin_protocol::{EventReason, ResponseStatus};

/// How a pass continues.
pub(crate) enum PreSync {
    /// With a Sync call to the plugin.
    Sync(Observed),
    /// Not at all, because the pass is complete.
    Done(Step),
}

/// What a pass found out about a subject before its stage is decided.
#[derive(Clone, Copy)]
struct SubjectFacts {
    matches: bool,
    has_children: bool,
}

/// The plugin wants nothing for the subject until the subject or its Dask resource changes.
const NOTHING: Step = Step::new(SyncState::Unmatched, Requeue::Never);

impl Syncing<'_> {
    /// Does everything except syncing. If this returns [`PreSync::Sync`], the finalizer is in place if the plugin needs
    /// one.
    pub(crate) async fn before_sync(
        &mut self,
        object: Arc<DynamicObject>,
        reason: EventReason,
    ) -> Result<PreSync, Error> {
        let above = self.above(&object).await?;
        let owner_uid = above.as_ref().and_then(|owner| owner.object.uid());
        let known = self.children().known(self.memory.remembered(), owner_uid.as_deref()).await;
        let engaged = self.marked().is_some() || !known.is_empty();
        let matches = self.matches(&object, above.as_ref().map(OwnerObject::keyed)).await;
        let matches = match (matches, &above) {
            (Ok(matches), _) => matches,
            (Err(undecided), Some(owner)) if owner.object.metadata.deletion_timestamp.is_none() => {
                return Ok(PreSync::Done(self.undecided(&undecided)));
            }
            // Only plugins that may hold external resources get a Finalize request.
            (Err(_), _) => engaged,
        };
        let facts = SubjectFacts { matches, has_children: !known.is_empty() };
        let input = self.input(&object, above.as_ref().map(|owner| &*owner.object), facts);
        let stage = finalize::stage(&input, Instant::now());
        self.memory.finalizing = false;
        match (stage, above) {
            (Stage::Sync, Some(owner)) => {
                let observed = Observed { object, owner, known };
                if input.finalizes && !self.ensure_finalizer(&observed.owner).await? {
                    return Ok(PreSync::Done(NOTHING)); // The watch will soon report the deletion of the owner.
                }
                Ok(PreSync::Sync(observed))
            }
            (Stage::Finalize(farewell), Some(owner)) => {
                self.memory.finalizing = true;
                let observed = Observed { object, owner, known };
                self.finalize(&observed, reason, farewell).await.map(PreSync::Done)
            }
            (Stage::Prune | Stage::PruneLate, _) => {
                if stage == Stage::PruneLate {
                    let plugin = &self.plugin.identity;
                    tracing::warn!(plugin, subject = %self.key, "the deadline for finalizing a subject has passed");
                }
                if input.mark.is_some() && input.has_children {
                    self.mark(FinalizeState::Finalized);
                } else if input.mark.is_some() || input.finalizes {
                    self.mark(FinalizeState::NotCalled);
                }
                self.prune().await.map(PreSync::Done)
            }
            (Stage::Sync | Stage::Finalize(_) | Stage::Rest, _) => {
                self.memory = SubjectState::of(&self.memory.subject_uid);
                Ok(PreSync::Done(NOTHING))
            }
        }
    }

    /// Leaves everything as it is until the match conditions can be evaluated.
    fn undecided(&mut self, undecided: &Undecided) -> Step {
        // Otherwise the next pass would skip the subject because its request is unchanged.
        self.memory.settled = None;
        Step::new(SyncState::failing("MatchConditionError", &undecided.to_string()), Requeue::Resync)
    }

    /// Removes the finalization state of a subject that is gone.
    pub(crate) fn forget(&self) {
        self.env.finalize_progress.forget(&self.plugin.identity, &self.memory.subject_uid);
    }

    fn mark(&self, mark: FinalizeState) {
        self.env.finalize_progress.set(&self.plugin.identity, &self.memory.subject_uid, mark);
    }

    /// Returns how far the finalization got. The deadline restarts on the first pass of a worker, because the plugin
    /// may have been suspended since.
    fn marked(&self) -> Option<FinalizeState> {
        match self.env.finalize_progress.get(&self.plugin.identity, &self.memory.subject_uid) {
            Some(FinalizeState::NotCalled) => None,
            Some(FinalizeState::Leaving(_)) if self.memory.verdict.is_none() => Some(FinalizeState::Engaged),
            mark => mark,
        }
    }

    fn deadline(&self) -> Duration {
        self.plugin.spec.finalize.deadline()
    }

    /// Returns the Dask resource that owns the subject, if it exists and the ownership is verified.
    async fn above(&self, object: &DynamicObject) -> Result<Option<OwnerObject>, NotSynced> {
        let Some(key) = subject::owner_of(self.key.kind, object) else { return Ok(None) };
        let Some(owner) = self.env.watches.subject(&key).await? else { return Ok(None) };
        let owner = Arc::new(owner.object());
        let is_above = key == *self.key || subject::is_below(self.key.kind, object, owner.as_ref());
        Ok(is_above.then_some(OwnerObject { key, object: owner }))
    }

    fn input(
        &self,
        object: &DynamicObject,
        owner: Option<&DynamicObject>,
        SubjectFacts { matches, has_children }: SubjectFacts,
    ) -> FinalizeInput {
        let plugin = self.plugin;
        let has_finalizer = owner.is_some_and(|owner| finalizers::has(owner, &finalize::name_of(&plugin.identity)));
        let component = subject::component(self.key.kind, object);
        let named = plugin.rules_for(self.key.kind, component).next().is_some();
        FinalizeInput {
            owner: match owner {
                None => Owner::Absent,
                Some(owner) if owner.metadata.deletion_timestamp.is_some() => Owner::Terminating { has_finalizer },
                Some(_) => Owner::Active { has_finalizer },
            },
            matches,
            finalizes: finalize::is_on(plugin.spec.finalize, &plugin.hooks),
            mark: self.marked(),
            has_children,
            may_be_left: named && self.memory.verdict.is_none(),
            deadline: self.deadline(),
        }
    }

    /// Adds the finalizer before the first child is created, because the controller may be killed in between. Returns
    /// whether the owner has it. An owner that is being deleted gets none.
    async fn ensure_finalizer(&self, owner: &OwnerObject) -> Result<bool, Error> {
        self.mark(FinalizeState::Engaged);
        let (name, uid) = (finalize::name_of(&self.plugin.identity), owner.object.uid().unwrap_or_default());
        Ok(finalizers::has(&*owner.object, &name)
            || finalizers::hold(&self.env.client, &owner.key, &uid, &name).await?)
    }

    async fn prune(&mut self) -> Result<Step, Error> {
        self.children().prune_all(self.memory.remembered()).await?;
        self.memory = SubjectState::of(&self.memory.subject_uid);
        Ok(NOTHING)
    }

    /// Sends a Finalize request, so that the plugin releases what it holds. `reason` is the reason of the pass, and
    /// `farewell` is the reason that the request contains.
    async fn finalize(
        &mut self,
        observed: &Observed,
        reason: EventReason,
        farewell: EventReason,
    ) -> Result<Step, Error> {
        self.begin(farewell);
        let question = self.question(observed, farewell)?;
        let base = question.request(BTreeMap::new(), 1)?.request.uid;
        // Many objects change while a Dask resource is being deleted. Such a change must not shorten the backoff of a
        // failing plugin.
        let may_skip = !matches!(reason, EventReason::Resync | EventReason::PluginChanged);
        if let (true, Some(verdict)) = (may_skip && self.memory.settled.as_ref() == Some(&base), &self.memory.verdict) {
            return Ok(Step::new(verdict.clone(), Requeue::Unchanged));
        }
        self.memory.settled = None;
        if self.memory.retired.as_ref() == Some(&self.plugin_version()) {
            return Err(CallError::Gone.into());
        }
        let live = self.live(observed).await?;
        let mut request = question.request(by_key(&live), 1)?;
        request.request.attempt = self.memory.attempt_at(&request.request.uid);
        self.memory.settled = Some(base);
        let failures = self.memory.failures;
        let answer = self.call_plugin(&request, EventReason::Resync).await;
        self.memory.request_uid = None;
        if matches!(answer, Err(Error::Call(CallError::Gone))) {
            self.memory.retired = Some(self.plugin_version());
        }
        let answer = answer?;
        self.apply_finalize_response(farewell, &answer, failures).await
    }

    /// Registers the subject with the finalizer controller and schedules a pass at its deadline.
    fn begin(&mut self, farewell: EventReason) {
        let mark = self.marked();
        if farewell == EventReason::Deleting {
            self.mark(FinalizeState::Engaged);
            return;
        }
        let since = if let Some(FinalizeState::Leaving(since)) = mark { since } else { Instant::now() };
        self.mark(FinalizeState::Leaving(since));
        self.until = Some(since + self.deadline());
    }

    /// Applies the response to a Finalize request. `failures` is the number of failures before this response.
    async fn apply_finalize_response(
        &mut self,
        farewell: EventReason,
        answer: &Answer,
        failures: u32,
    ) -> Result<Step, Error> {
        let wish = Some(answer.resync_after_seconds).filter(|seconds| *seconds > 0);
        let wish = wish.map(|seconds| Duration::from_secs(u64::from(seconds)));
        match answer.status {
            ResponseStatus::Success if answer.finalized => {
                self.mark(FinalizeState::Finalized);
                self.until = None;
                match farewell {
                    EventReason::Deleting => Ok(NOTHING),
                    _ => self.prune().await,
                }
            }
            ResponseStatus::Success | ResponseStatus::Pending => {
                self.memory.failures = failures.saturating_add(1);
                let backoff = CallError::Busy { code: 200, retry_after: None }.retry(self.memory.failures as usize);
                let requeue = wish.or(backoff).map_or(Requeue::Resync, Requeue::After);
                Ok(Step::new(SyncState::pending(&answer.message), requeue))
            }
            _ => {
                let message = format!("{}: {}", answer.reason, answer.message);
                let verdict = SyncState::failing("PluginFailure", &message);
                Ok(Step::new(verdict, wish.map_or(Requeue::Resync, Requeue::After)))
            }
        }
    }
}
