//! Syncs one subject with one plugin: observe → call the plugin → screen → plan → apply → prune.

pub(crate) mod apply_step;
pub(crate) mod call;
pub(crate) mod error;
pub(crate) mod finalize_step;
pub(crate) mod lost_labels;
pub(crate) mod match_step;
pub(crate) mod removed_kinds;
pub(crate) mod report;
pub(crate) mod request;
pub(crate) mod state;
pub(crate) mod turns;
pub(crate) mod worker;

use std::{
    collections::BTreeMap,
    sync::Arc,
    time::{Duration, Instant},
};

use jiff::Timestamp;
use kube::{ResourceExt as _, api::DynamicObject};

use self::{
    error::{Error, soon},
    finalize_step::PreSync,
    request::Question,
    state::{PluginVersion, Requeue, Step, SubjectState},
};
use super::{
    children::{
        child_ref::ChildRef,
        context::SyncContext,
        inventory::Children,
        live::{Live, by_key},
    },
    client::{answer::Answer, memory_shares::Reservation, response::CallError},
    finalize,
    index::registration::Registered,
    model::{
        subject::{KeyedObject, SubjectKey},
        summary::SyncState,
    },
};
use plugin_protocol::{EventReason, ResponseStatus, ReviewRequest};

/// The result of one pass.
#[derive(Debug)]
pub(crate) struct Pass {
    /// The state to keep for the next pass. `None` if the subject is gone.
    pub(crate) memory: Option<SubjectState>,
    /// How long to wait before the next pass if nothing changes.
    pub(crate) requeue_after: Option<Duration>,
    /// Whether the plugin could be reached. `None` if it was not called.
    pub(crate) reached: Option<bool>,
}

/// A subject and everything that is known about it before the plugin is called.
pub(crate) struct Observed {
    pub(crate) object: Arc<DynamicObject>,
    pub(crate) owner: OwnerObject,
    /// The children of this plugin and subject.
    pub(crate) known: Vec<ChildRef>,
}

/// The Dask resource that owns a subject.
pub(crate) struct OwnerObject {
    pub(crate) key: SubjectKey,
    pub(crate) object: Arc<DynamicObject>,
}

impl OwnerObject {
    pub(crate) fn keyed(&self) -> KeyedObject<'_> {
        KeyedObject { key: &self.key, object: &self.object }
    }
}

/// One pass over one subject.
pub(crate) struct Syncing<'a> {
    pub(crate) env: &'a SyncContext,
    pub(crate) plugin: &'a Registered,
    pub(crate) key: &'a SubjectKey,
    pub(crate) memory: SubjectState,
    reached: Option<bool>,
    /// The latest time of the next pass.
    pub(crate) until: Option<Instant>,
    /// The memory that the pass has reserved.
    work: Reservation,
}

/// Runs one pass. Existing children stay if anything fails.
pub(crate) async fn sync(
    env: &SyncContext,
    plugin: &Registered,
    key: &SubjectKey,
    memory: SubjectState,
    reason: EventReason,
) -> Pass {
    let work = env.work.of(&key.namespace);
    let mut syncing = Syncing { env, plugin, key, memory, reached: None, until: None, work };
    let step = match syncing.run(reason).await {
        Ok(None) => return Pass { memory: None, requeue_after: None, reached: syncing.reached },
        Ok(Some(step)) => step,
        // The pass did nothing, so it does not count as a failure.
        Err(Error::UsedUp(_)) => {
            syncing.memory.settled = None;
            syncing.wait_for_another_pass()
        }
        Err(error) => {
            syncing.memory.failures = syncing.memory.failures.saturating_add(1);
            error.step(syncing.memory.failures)
        }
    };
    let Syncing { mut memory, reached, until, .. } = syncing;
    let resync = plugin.spec.resync();
    let requeue_after = finalize::sooner(memory.conclude(step, resync, Instant::now()), until, Instant::now());
    Pass { memory: Some(memory), requeue_after, reached }
}

impl<'a> Syncing<'a> {
    /// Runs the steps of the pass. Returns `None` if the subject is gone.
    async fn run(&mut self, reason: EventReason) -> Result<Option<Step>, Error> {
        let key = self.key;
        let children = self.children();
        let found = self.env.watches.subject(key).await?;
        if self.has_lost_labels(found.as_deref()).await? {
            return Ok(Some(self.wait_for_another_pass()));
        }
        let Some(object) = found else {
            children.prune_all(self.memory.remembered()).await?;
            self.forget();
            return Ok(None);
        };
        let object = Arc::new(object.object());
        let uid = object.uid().unwrap_or_default();
        if self.memory.subject_uid != uid {
            children.prune_all(self.memory.remembered()).await?;
            self.forget();
            self.memory = SubjectState::of(&uid);
        }
        let observed = match self.before_sync(object, reason).await? {
            PreSync::Sync(observed) => observed,
            PreSync::Done(step) => return Ok(Some(step)),
        };
        let question = self.question(&observed, reason)?;
        let base = question.request(BTreeMap::new(), 1)?.request.uid;
        let may_skip = matches!(reason, EventReason::Updated | EventReason::Created);
        if let (true, Some(verdict)) = (may_skip && self.memory.settled.as_ref() == Some(&base), &self.memory.verdict) {
            return Ok(Some(Step::new(verdict.clone(), Requeue::Unchanged)));
        }
        self.memory.settled = None;
        if self.memory.retired.as_ref() == Some(&self.plugin_version()) {
            return Err(CallError::Gone.into());
        }
        let live = self.live(&observed).await?;
        let mut request = question.request(by_key(&live), 1)?;
        request.request.attempt = self.memory.attempt_at(&request.request.uid);
        self.memory.settled = Some(base);
        let answer = self.call_plugin(&request, reason).await;
        drop(request);
        if matches!(answer, Err(Error::Call(CallError::Gone))) {
            self.memory.retired = Some(self.plugin_version());
        }
        self.apply_response(&observed, live, answer?).await.map(Some)
    }

    /// Returns the result of a pass that has to be repeated soon.
    fn wait_for_another_pass(&self) -> Step {
        Step::new(self.memory.verdict.clone().unwrap_or(SyncState::Waiting), Requeue::After(soon()))
    }

    /// Returns the version of the plugin.
    pub(crate) fn plugin_version(&self) -> PluginVersion {
        PluginVersion { generation: self.plugin.generation, version: self.plugin.version.clone() }
    }

    pub(crate) fn children(&self) -> Children<'a> {
        Children { env: self.env, plugin: self.plugin, namespace: &self.key.namespace }
    }

    /// Returns everything that the request is built from, except the children. Reserves the memory for the request.
    pub(crate) fn question<'q>(&mut self, observed: &'q Observed, reason: EventReason) -> Result<Question<'q>, Error>
    where
        'a: 'q,
    {
        let question = Question {
            plugin: self.plugin,
            key: self.key,
            object: &observed.object,
            owner_key: &observed.owner.key,
            owner: &observed.owner.object,
            reason,
            now: Timestamp::now(),
            dry_run: false,
        };
        self.work.grow(question.bytes()?)?;
        Ok(question)
    }

    /// Reads the known children. Reserves the memory for their part of the request.
    pub(crate) async fn live(&mut self, observed: &Observed) -> Result<Live, Error> {
        let live = self.children().live(&observed.known).await?;
        self.work.grow(request::bytes_of_children(live.objects.values()))?;
        Ok(live)
    }

    /// Returns the response to `request`. Reuses the last response if the request is the same, unless `reason` requires
    /// a new call.
    pub(crate) async fn call_plugin(
        &mut self,
        request: &ReviewRequest,
        reason: EventReason,
    ) -> Result<Arc<Answer>, Error> {
        let memory = &mut self.memory;
        let fresh = matches!(reason, EventReason::Resync | EventReason::PluginChanged);
        if let (Some(request_uid), Some(answer), false) = (&memory.request_uid, &memory.answer, fresh)
            && *request_uid == request.request.uid
        {
            return Ok(Arc::clone(answer));
        }
        // An outdated response must not be used again if this call fails.
        memory.request_uid = None;
        let result = call::call(self.env, self.plugin, request, &mut self.work).await;
        self.reached = Some(!result.as_ref().is_err_and(CallError::is_transport));
        let answer = Arc::new(result?);
        if answer.status != ResponseStatus::Pending {
            memory.failures = 0;
        }
        if !memory.keep(&request.request.uid, &answer, self.env.kept.of(&self.key.namespace)) {
            tracing::warn!("the responses that are kept for the namespace are too large; this one is requested again");
        }
        Ok(answer)
    }
}
