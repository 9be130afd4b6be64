//! Syncs one subject with one plugin: observe → call the plugin → screen → plan → apply → prune.

pub(crate) mod call;
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
use operator_runtime::k8s;

use self::{
    finalize_step::PreSync,
    request::{Question, TooLarge},
    state::{Requeue, Step, SubjectState},
};
use super::{
    children::{
        apply::Work,
        child_ref::{ChildRef, Ownership},
        context::SyncContext,
        inventory::{Children, Found},
        live::{self, Live, by_key},
        plan,
        screen::{self, Origin},
    },
    client::{
        answer::{Answer, Parsed},
        memory_shares::{Reservation, UsedUp},
        response::CallError,
    },
    finalize,
    index::{registration::Registered, watches::NotSynced},
    model::{subject::SubjectKey, summary::SyncState},
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

/// The reason why a pass ended early.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    #[error("{0}")]
    Call(#[from] CallError),
    #[error("{}", .0.message())]
    Api(#[from] k8s::Error),
    #[error("{0}")]
    Digest(#[from] plugin_protocol::DigestError),
    #[error(transparent)]
    NotSynced(#[from] NotSynced),
    #[error("{0}")]
    TooLarge(#[from] TooLarge),
    #[error("{0}")]
    UsedUp(#[from] UsedUp),
}

impl Error {
    fn verdict(&self, failures: u32) -> Step {
        let (reason, requeue) = match self {
            Self::Call(call) => (call.reason(), call.retry(failures as usize).map_or(Requeue::Resync, Requeue::After)),
            Self::Api(api) => (api.category(), Requeue::Rewrite),
            Self::Digest(_) => ("InternalError", Requeue::Resync),
            Self::NotSynced(_) => ("Forbidden", Requeue::Rewrite),
            Self::TooLarge(_) => ("SubjectTooLarge", Requeue::Resync),
            Self::UsedUp(_) => ("MemoryUsedUp", Requeue::After(soon())),
        };
        (SyncState::failing(reason, &self.to_string()), requeue)
    }
}

/// Returns how long to wait before a pass is repeated that could not reserve memory.
fn soon() -> Duration {
    Duration::from_millis(fastrand::u64(1000..3000))
}

/// A subject and everything that is known about it before the plugin is called.
pub(crate) struct Observed {
    pub(crate) object: Arc<DynamicObject>,
    pub(crate) owner_key: SubjectKey,
    pub(crate) owner: Arc<DynamicObject>,
    /// The children of this plugin and subject.
    pub(crate) known: Vec<ChildRef>,
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
    let (verdict, requeue) = match syncing.run(reason).await {
        Ok(None) => return Pass { memory: None, requeue_after: None, reached: syncing.reached },
        Ok(Some(step)) => step,
        // The pass did nothing, so it does not count as a failure.
        Err(Error::UsedUp(_)) => {
            syncing.memory.settled = None;
            (syncing.memory.verdict.clone().unwrap_or(SyncState::Waiting), Requeue::After(soon()))
        }
        Err(error) => {
            syncing.memory.failures = syncing.memory.failures.saturating_add(1);
            error.verdict(syncing.memory.failures)
        }
    };
    let Syncing { mut memory, reached, until, .. } = syncing;
    let resync = plugin.spec.resync();
    let requeue_after =
        finalize::sooner(memory.conclude((verdict, requeue), resync, Instant::now()), until, Instant::now());
    Pass { memory: Some(memory), requeue_after, reached }
}

impl<'a> Syncing<'a> {
    /// Runs the steps of the pass. Returns `None` if the subject is gone.
    async fn run(&mut self, reason: EventReason) -> Result<Option<Step>, Error> {
        let key = self.key;
        let children = self.children();
        let found = self.env.watches.subject(key).await?;
        if self.has_lost_labels(found.as_deref()).await? {
            let verdict = self.memory.verdict.clone().unwrap_or(SyncState::Waiting);
            return Ok(Some((verdict, Requeue::After(soon()))));
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
            return Ok(Some((verdict.clone(), Requeue::Unchanged)));
        }
        self.memory.settled = None;
        if self.memory.retired.as_ref() == Some(&self.identity()) {
            return Err(CallError::Gone.into());
        }
        let live = self.live(&observed).await?;
        let mut request = question.request(by_key(&live), 1)?;
        request.request.attempt = self.memory.attempt_at(&request.request.uid);
        self.memory.settled = Some(base);
        let answer = self.call_plugin(&request, reason).await;
        drop(request);
        if matches!(answer, Err(Error::Call(CallError::Gone))) {
            self.memory.retired = Some(self.identity());
        }
        self.act(&observed, live, answer?).await.map(Some)
    }

    /// Returns the generation and version of the plugin. A retired plugin is called again only when one of them
    /// changes.
    pub(crate) fn identity(&self) -> (i64, String) {
        (self.plugin.generation, self.plugin.version.clone())
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
            owner_key: &observed.owner_key,
            owner: &observed.owner,
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
        if !memory.keep(&request.request.uid, &answer, (&self.env.kept, &self.key.namespace)) {
            tracing::warn!("the responses that are kept for the namespace are too large; this one is requested again");
        }
        Ok(answer)
    }

    async fn act(&mut self, observed: &Observed, live: Live, answer: Arc<Answer>) -> Result<Step, Error> {
        let requeue = match answer.resync_after_seconds {
            0 => Requeue::Resync,
            seconds => Requeue::After(Duration::from_secs(u64::from(seconds))),
        };
        match answer.status {
            ResponseStatus::Success => {}
            ResponseStatus::Pending => {
                self.memory.request_uid = None;
                self.memory.failures = self.memory.failures.saturating_add(1);
                let backoff = CallError::Busy { code: 200, retry_after: None }.retry(self.memory.failures as usize);
                let requeue = match requeue {
                    Requeue::After(_) => requeue,
                    _ => backoff.map_or(Requeue::Resync, Requeue::After),
                };
                return Ok((SyncState::pending(&answer.message), requeue));
            }
            _ => {
                let message = format!("{}: {}", answer.reason, answer.message);
                return Ok((SyncState::failing("PluginFailure", &message), requeue));
            }
        }
        self.work.grow(answer.tree_bytes())?;
        let keys = answer.children.iter().flatten().map(|child| child.key.clone()).collect();
        let Parsed { children: answered, rejected: unparsed } = answer.parsed();
        let (owner, subject) = ((&observed.owner_key, &*observed.owner), (self.key, &*self.memory.subject_uid));
        let origin = Origin::new(self.plugin, subject, owner, &observed.known);
        let (approved, rejected) = screen::screen(answered, &origin);
        let rejected: Vec<_> = unparsed.into_iter().chain(rejected).collect();
        for child in &rejected {
            self.env.metrics.rejected(&self.plugin.identity, child.reason);
        }
        let (children, omitted) = (self.children(), live.omitted());
        let owner_uid = observed.owner.uid().unwrap_or_default();
        let claim =
            Ownership { plugin: &self.plugin.identity, subject_uid: &self.memory.subject_uid, owner_uid: &owner_uid };
        let known = observed.known.iter().filter(|known| live.confirms(known, claim)).cloned().collect();
        let Found { wanted, name_locks } = children.find_named(self.key, approved, live, claim).await?;
        let existing = live::existing(&wanted);
        self.work.grow(request::bytes_of_children(existing.values()))?;
        let plan = plan::plan(wanted, known, claim);
        let work = Work { plan, rejected, existing, keys, claim };
        let problem = children.apply_plan(work, &mut self.memory.written).await.or(omitted);
        drop(name_locks);
        Ok(problem.map_or((SyncState::Synced, requeue), |problem| {
            let requeue = problem.requeue_after.map_or(Requeue::Rewrite, Requeue::RewriteAfter);
            (SyncState::failing(problem.reason, &problem.message), requeue)
        }))
    }
}
