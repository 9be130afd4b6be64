//! Retires workers and deletes their Deployments, one batch after the other.

use std::{
    collections::{BTreeSet, HashSet},
    time::{Duration, Instant},
};

use dask_operator_api::{DaskCluster, DaskWorkerGroup, meta};
use dask_scheduler_client::{Error, Retired};
use futures::{StreamExt as _, stream};
use jiff::Timestamp;
use kube::{
    Api, Client,
    runtime::events::{Event, EventType},
};
use operator_runtime::{fair_share::FairShare, k8s, rejection::Rejection, report::StatusReporter};
use serde_json::json;

use super::{
    deletion_order::{self, Candidate, RemovalCost, ScaleDownRequest, Scheduler},
    live::Live,
    losses::Losses,
    removal::{Removal, RemovalBackoff},
    retiring::RetirementRecord,
    scale::SLICE,
    validate::ValidatedGroup,
};
use crate::{
    retirements::{Retirement, Retirements},
    scheduler::SchedulerClients,
    view::DeploymentView,
};

/// Workers that are retired in one call to the scheduler.
const AT_ONCE: usize = 100;
/// Number of Deployments that are deleted concurrently.
const PARALLEL: usize = 8;
/// How many times one pass tries other workers after the scheduler refused some.
const ATTEMPTS: usize = 32;
/// No other workers are tried after this time, because the scheduler may take any time to refuse.
const ATTEMPTS_TIME: Duration = Duration::from_secs(30);

/// What removals work with.
#[derive(Clone, Copy)]
pub(super) struct RemovalTools<'a> {
    pub(super) client: &'a Client,
    pub(super) reporter: &'a StatusReporter,
    pub(super) schedulers: &'a SchedulerClients,
    pub(super) retirements: &'a Retirements,
    pub(super) backoff: &'a RemovalBackoff,
    pub(super) losses: &'a Losses,
    /// Limits how many schedulers are asked at the same time.
    pub(super) scheduler_limiter: &'a FairShare,
}

/// A removal in progress.
pub(super) struct Remover<'a> {
    pub(super) tools: RemovalTools<'a>,
    pub(super) valid: &'a ValidatedGroup,
    pub(super) cluster: &'a DaskCluster,
    /// The group and its workers.
    pub(super) live: Live,
    pub(super) retiring: RetirementRecord,
    pub(super) now: Timestamp,
}

impl Remover<'_> {
    /// Removes as many of `candidates` as `demand` says, as far as `scheduler` lets them go.
    pub(super) async fn execute(
        &mut self,
        mut candidates: Vec<Candidate>,
        mut demand: ScaleDownRequest,
        scheduler: &Scheduler,
    ) -> Result<Removal, k8s::Error> {
        let (rolling, begin) = (demand.surplus == 0, Instant::now());
        let (mut unfinished, mut why) = (false, None);
        for _ in 0..ATTEMPTS {
            let chosen = deletion_order::choose(&candidates, &self.retiring, demand);
            let (held, free): (Vec<&Candidate>, Vec<&Candidate>) = chosen
                .into_iter()
                .partition(|victim| matches!(victim.standing, RemovalCost::Registered { .. } | RemovalCost::Unknown));
            if held.is_empty() && free.is_empty() {
                break;
            }
            unfinished |= held.len() > AT_ONCE || free.len() > SLICE;
            let free = &free[..free.len().min(SLICE)];
            self.delete(free).await?;
            self.count(Retirement::Unregistered, free);
            let held = &held[..held.len().min(AT_ONCE)];
            let kept = self.retire(held, scheduler).await?;
            let tried: BTreeSet<String> = free.iter().chain(held).map(|victim| victim.name.clone()).collect();
            demand.surplus = demand.surplus.saturating_sub(tried.difference(&kept.names).count());
            // A worker that the scheduler refused to let go is not a candidate for the rest of this pass.
            candidates.retain(|candidate| !tried.contains(&candidate.name));
            let refused = kept.refused;
            why = kept.why.or(why);
            if !refused || begin.elapsed() > ATTEMPTS_TIME {
                break;
            }
        }
        let waiting = why.filter(|_| rolling || demand.surplus > 0);
        if waiting.is_none() && !unfinished {
            self.record(RetirementRecord::default()).await?;
        }
        Ok(Removal { waiting, unfinished })
    }

    /// Retires `held` and deletes the workers that the scheduler released.
    async fn retire(&mut self, held: &[&Candidate], scheduler: &Scheduler) -> Result<Retained, k8s::Error> {
        if held.is_empty() {
            return Ok(Retained::default());
        }
        let asking = self.retiring.asking(held.iter().map(|victim| victim.name.clone()));
        let names: HashSet<&str> = self.live.workers.iter().filter_map(|worker| worker.name.as_deref()).collect();
        let asking = asking.only(|name| names.contains(name));
        self.record(asking).await?;
        let retired = match scheduler {
            Scheduler::Silent(error) => Err(error.clone()),
            _ => self.ask_to_retire(held).await,
        };
        let confirmed = |address| retired.as_ref().is_ok_and(|retired| retired.addresses.contains(address));
        let (done, kept): (Vec<&Candidate>, Vec<&Candidate>) = held.iter().partition(|victim| {
            let RemovalCost::Registered { addresses, .. } = &victim.standing else { return false };
            addresses.iter().all(confirmed)
        });
        self.delete(&done).await?;
        match &retired {
            Ok(retired) => {
                self.count(Retirement::Retired(retired.by), &done);
                self.count(Retirement::Refused(retired.by), &kept);
            }
            Err(_) => self.count(Retirement::Unanswered, &kept),
        }
        let deadline = self.valid.worker.retire_deadline_seconds;
        let (overdue, kept): (Vec<&Candidate>, Vec<&Candidate>) =
            kept.into_iter().partition(|victim| self.retiring.is_overdue(&victim.name, deadline, self.now));
        if !overdue.is_empty() {
            self.publish_forced(&overdue).await;
            self.delete(&overdue).await?;
            self.count(Retirement::Forced, &overdue);
        }
        let names: BTreeSet<String> = kept.iter().map(|victim| victim.name.clone()).collect();
        if !names.is_empty() {
            self.record(self.retiring.refused(&names, self.now)).await?;
        }
        Ok(Retained::of(names, retired.as_ref().err()))
    }

    /// Asks the scheduler to retire all processes of `held`.
    async fn ask_to_retire(&self, held: &[&Candidate]) -> Result<Retired, Error> {
        let processes = |victim: &&Candidate| match &victim.standing {
            RemovalCost::Registered { addresses, .. } => addresses.clone(),
            _ => Vec::new(),
        };
        let addresses: Vec<String> = held.iter().flat_map(processes).collect();
        self.tools.schedulers.of(self.cluster).await?.retire(&addresses).await
    }

    async fn delete(&self, victims: &[&Candidate]) -> Result<(), k8s::Error> {
        let api: Api<DeploymentView> = Api::namespaced(self.tools.client.clone(), &self.valid.namespace);
        let delete = |victim: &Candidate| {
            let (api, name, uid) = (api.clone(), victim.name.clone(), victim.uid.clone());
            async move { k8s::delete(&api, &name, &uid).await }
        };
        let deletions: Vec<_> = victims.iter().map(|victim| delete(victim)).collect();
        // In order, so that the same problem always gives the same message.
        let results: Vec<_> = stream::iter(deletions).buffered(PARALLEL).collect().await;
        for (victim, _) in victims.iter().zip(&results).filter(|(_, result)| result.is_ok()) {
            self.tools.losses.gone(&self.valid.owner.uid, &victim.name);
        }
        if !victims.is_empty() {
            let names: Vec<&str> = victims.iter().map(|victim| victim.name.as_str()).collect();
            tracing::info!(group = self.valid.name, namespace = self.valid.namespace, ?names, "workers removed");
        }
        results.into_iter().collect()
    }

    fn count(&self, retirement: Retirement, workers: &[&Candidate]) {
        self.tools.retirements.add(retirement, workers.len());
    }

    /// Writes the record of workers that are being retired to the group, unless it has not changed.
    pub(super) async fn record(&mut self, retiring: RetirementRecord) -> Result<(), k8s::Error> {
        if self.retiring == retiring {
            return Ok(());
        }
        let api: Api<DaskWorkerGroup> = Api::namespaced(self.tools.client.clone(), &self.valid.namespace);
        let patch = json!({"metadata": {"annotations": {meta::RETIRING: retiring.annotation()}}});
        k8s::merge(&api, &self.live.group, patch).await?;
        self.retiring = retiring;
        Ok(())
    }

    async fn publish_forced(&self, kept: &[&Candidate]) {
        let names: Vec<&str> = kept.iter().map(|victim| victim.name.as_str()).collect();
        let (count, names) = (names.len(), names.join(", "));
        let note = format!("{count} workers removed without the scheduler's consent after the deadline: {names}");
        let event = Event {
            type_: EventType::Warning,
            reason: "RetirementForced".to_owned(),
            note: Some(note),
            action: "Retire".to_owned(),
            secondary: None,
        };
        self.tools.reporter.publish(&self.live.group, event).await;
    }
}

/// Workers that could not be retired.
#[derive(Debug, Default)]
struct Retained {
    names: BTreeSet<String>,
    /// Whether the scheduler answered, so that other workers may be released.
    refused: bool,
    why: Option<Rejection>,
}

impl Retained {
    fn of(names: BTreeSet<String>, error: Option<&Error>) -> Self {
        // The message has no names: they change from one attempt to the next, and each change would be a write.
        let why = match error {
            _ if names.is_empty() => None,
            Some(error) => Some(Rejection::new("SchedulerUnreachable", error.to_string())),
            None => {
                let message = "the scheduler does not let workers go whose data nobody else can take; they are in \
                               the group's annotation operator.dask.org/retiring";
                Some(Rejection::new("RetirementRefused", message))
            }
        };
        Self { refused: error.is_none() && !names.is_empty(), names, why }
    }
}
