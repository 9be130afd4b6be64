//! The step after a call: the response is screened, planned, applied and pruned.

use std::{sync::Arc, time::Duration};

use kube::ResourceExt as _;

use super::{
    Observed, Syncing,
    error::Error,
    request,
    state::{Requeue, Step},
};
use crate::{
    children::{
        apply::Work,
        child_ref::Ownership,
        inventory::Found,
        live::{self, Live},
        origin::Origin,
        plan,
        screen::{self, Screened},
    },
    client::{
        answer::{Answer, Parsed},
        response::CallError,
    },
    model::{subject::KeyedObject, summary::SyncState},
};
use plugin_protocol::ResponseStatus;

impl Syncing<'_> {
    /// Acts on a response: screens, plans, applies and prunes the children.
    pub(super) async fn apply_response(
        &mut self,
        observed: &Observed,
        live: Live,
        answer: Arc<Answer>,
    ) -> Result<Step, Error> {
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
                return Ok(Step::new(SyncState::pending(&answer.message), requeue));
            }
            _ => {
                let message = format!("{}: {}", answer.reason, answer.message);
                return Ok(Step::new(SyncState::failing("PluginFailure", &message), requeue));
            }
        }
        self.work.grow(answer.tree_bytes())?;
        let keys = answer.children.iter().flatten().map(|child| child.key.clone()).collect();
        let Parsed { children: answered, rejected: unparsed } = answer.parsed();
        let subject = KeyedObject { key: self.key, object: &observed.object };
        let origin = Origin::new(self.plugin, subject, observed.owner.keyed(), &observed.known);
        let Screened { approved, rejected } = screen::screen(answered, &origin);
        let rejected: Vec<_> = unparsed.into_iter().chain(rejected).collect();
        for child in &rejected {
            self.env.metrics.rejected(&self.plugin.identity, child.reason);
        }
        let (children, omitted) = (self.children(), live.omitted());
        let owner_uid = observed.owner.object.uid().unwrap_or_default();
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
        let Some(problem) = problem else { return Ok(Step::new(SyncState::Synced, requeue)) };
        let requeue = problem.requeue_after.map_or(Requeue::Rewrite, Requeue::RewriteAfter);
        Ok(Step::new(SyncState::failing(problem.reason, &problem.message), requeue))
    }
}
