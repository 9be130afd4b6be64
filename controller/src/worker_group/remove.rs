//! Removes workers that are too many or outdated, without losing their data.
//!
//! A worker that is registered with the scheduler is first retired: the scheduler moves its data to other workers and
//! unregisters it. Its Deployment is deleted immediately after that, before the kubelet restarts the process. The
//! scheduler may refuse if a worker holds data that no other worker can take. That worker is kept, and the scheduler
//! is asked to retire another one.

use std::{
    collections::{BTreeSet, HashMap, HashSet},
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use dask_operator_api::{DaskCluster, DaskWorkerGroup, meta};
use futures::{StreamExt as _, stream};
use jiff::Timestamp;
use kube::{
    Api, ResourceExt as _,
    runtime::events::{Event, EventType},
};
use operator_runtime::{k8s, rejection::Rejection, report};
use serde_json::json;

use super::{
    deletion_order::{self, Candidate, RemovalCost, ScaleDownRequest, Scheduler},
    observe::{self, Live, Observed},
    retiring::RetirementRecord,
    scale::SLICE,
    validate::ValidatedGroup,
    worker_matching::registered,
};
use crate::scheduler;
use crate::{context::Context, metrics::Retirement, template_version::TemplateVersion, view::DeploymentView};

/// Workers that are retired in one call to the scheduler.
const AT_ONCE: usize = 100;
/// Number of Deployments that are deleted concurrently.
const PARALLEL: usize = 8;
/// How long a group's removal waits after the scheduler refused or did not answer.
const PAUSE: Duration = Duration::from_secs(10);
/// How many times one pass tries other workers after the scheduler refused some.
const ATTEMPTS: usize = 32;
/// No other workers are tried after this time, because the scheduler may take any time to refuse.
const ATTEMPTS_TIME: Duration = Duration::from_secs(30);

/// The result of a removal.
#[derive(Clone, Debug, Default)]
pub(super) struct Removal {
    /// The reason why workers that should be removed still exist.
    pub(super) waiting: Option<Rejection>,
    /// Whether the removal should continue at once.
    pub(super) unfinished: bool,
}

/// Returns whether there is anything to remove, according to the caches.
pub(super) fn is_needed(group: &DaskWorkerGroup, valid: &ValidatedGroup, observed: &Observed) -> bool {
    let outdated = || observed.deployments.iter().any(|worker| valid.template.is_outdated(&worker.metadata));
    observed.workers.names.len() > valid.replicas
        || (valid.rolling && outdated())
        || group.annotations().contains_key(meta::RETIRING)
}

/// Removals that wait, by the group's uid: events must not make the controller ask the scheduler more often.
#[derive(Debug, Default)]
pub(crate) struct RemovalBackoff(Mutex<HashMap<String, (Instant, Occasion, Rejection)>>);

/// The state that a removal was attempted in. If it changes, the removal is retried at once.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Occasion {
    replicas: usize,
    template: TemplateVersion,
    workers: usize,
}

impl RemovalBackoff {
    fn waiting(&self, uid: &str, occasion: &Occasion) -> Option<Rejection> {
        let removal_backoff = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (since, of, why) = removal_backoff.get(uid)?;
        (of == occasion && since.elapsed() < PAUSE).then(|| why.clone())
    }

    fn pause(&self, uid: &str, occasion: Occasion, why: &Rejection) {
        let mut removal_backoff = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if !removal_backoff.contains_key(uid) {
            removal_backoff.retain(|_, (since, ..)| since.elapsed() < PAUSE);
        }
        removal_backoff.insert(uid.to_owned(), (Instant::now(), occasion, why.clone()));
    }
}

/// Removes the workers that should go, as far as that is possible now.
pub(super) async fn remove(
    context: &Context,
    group: &DaskWorkerGroup,
    (valid, observed): (&ValidatedGroup, &Observed),
) -> Result<Removal, k8s::Error> {
    let workers = observed.workers.names.len();
    let occasion = Occasion { replicas: valid.replicas, template: valid.template.clone(), workers };
    if let Some(why) = context.removal_backoff.waiting(&valid.owner.uid, &occasion) {
        return Ok(Removal { waiting: Some(why), unfinished: false });
    }
    // Schedulers that hang must not use up the slots that other groups need.
    let Some(_slot) = context.scheduler_limiter.try_acquire(&valid.namespace) else {
        return Ok(Removal { waiting: None, unfinished: true });
    };
    let removal = attempt(context, group, (valid, observed)).await?;
    if let Some(why) = &removal.waiting {
        context.removal_backoff.pause(&valid.owner.uid, occasion, why);
    }
    Ok(removal)
}

async fn attempt(
    context: &Context,
    group: &DaskWorkerGroup,
    (valid, observed): (&ValidatedGroup, &Observed),
) -> Result<Removal, k8s::Error> {
    let Some(cluster) = observed.cluster.as_deref() else { return Ok(Removal::default()) };
    let Some(live) = observe::observe_live(group, context).await? else {
        return Ok(Removal::default());
    };
    let mut candidates = live.candidates(&valid.template, valid.rolling);
    let replicas = usize::try_from(live.group.spec.worker.replicas).unwrap_or(0);
    let surplus = candidates.len().saturating_sub(replicas);
    let demand = ScaleDownRequest { surplus, replicas, max_unavailable: valid.max_unavailable.of(replicas) };
    let mut remover =
        Remover { retiring: RetirementRecord::of(&live.group), now: Timestamp::now(), context, valid, live };
    if surplus == 0 && !candidates.iter().any(|candidate| candidate.outdated) {
        remover.record(RetirementRecord::default()).await?;
        return Ok(Removal::default());
    }
    let scheduler = ask(context, cluster, observed, &candidates).await;
    for candidate in &mut candidates {
        candidate.standing = deletion_order::standing(&candidate.name, observed.pods_of(&candidate.name), &scheduler);
    }
    remover.execute(candidates, demand, (cluster, &scheduler)).await
}

async fn ask(context: &Context, cluster: &DaskCluster, observed: &Observed, candidates: &[Candidate]) -> Scheduler {
    if !scheduler::is_running(cluster, &observed.scheduler_pods) {
        return Scheduler::Gone;
    }
    let answer = async {
        let client = scheduler::client_of(context, cluster).await?;
        let workers = client.workers().await?;
        let names = candidates.iter().map(|candidate| candidate.name.as_str());
        let pods = observed.pods.values().flatten().map(AsRef::as_ref);
        let registered = registered(names, pods, &workers);
        let known: BTreeSet<&str> = registered.values().flatten().map(|worker| worker.address.as_str()).collect();
        let strangers = workers.iter().filter(|worker| !known.contains(worker.address.as_str()));
        let strangers = strangers.filter_map(|worker| worker.host().map(str::to_owned)).collect();
        // An error here is ignored: it is only an order, and a scheduler that is reached by HTTP cannot give one.
        let asked = if registered.is_empty() { 0 } else { workers.len() };
        let order = deletion_order::places(client.closing_order(asked).await.unwrap_or_default());
        Ok(Scheduler::Answers { registered, order, strangers })
    };
    answer.await.unwrap_or_else(Scheduler::Silent)
}

/// A removal in progress.
struct Remover<'a> {
    context: &'a Context,
    valid: &'a ValidatedGroup,
    live: Live,
    retiring: RetirementRecord,
    now: Timestamp,
}

impl Remover<'_> {
    async fn execute(
        &mut self,
        mut candidates: Vec<Candidate>,
        mut demand: ScaleDownRequest,
        (cluster, scheduler): (&DaskCluster, &Scheduler),
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
            let kept = self.retire(held, (cluster, scheduler)).await?;
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
    async fn retire(
        &mut self,
        held: &[&Candidate],
        (cluster, scheduler): (&DaskCluster, &Scheduler),
    ) -> Result<Retained, k8s::Error> {
        if held.is_empty() {
            return Ok(Retained::default());
        }
        let asking = self.retiring.asking(held.iter().map(|victim| victim.name.clone()));
        let names: HashSet<&str> = self.live.workers.iter().filter_map(|worker| worker.name.as_deref()).collect();
        let asking = asking.only(|name| names.contains(name));
        self.record(asking).await?;
        let retired = match scheduler {
            Scheduler::Silent(error) => Err(error.clone()),
            _ => retire_processes(self.context, cluster, held).await,
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
            self.tell_forced(&overdue).await;
            self.delete(&overdue).await?;
            self.count(Retirement::Forced, &overdue);
        }
        let names: BTreeSet<String> = kept.iter().map(|victim| victim.name.clone()).collect();
        if !names.is_empty() {
            self.record(self.retiring.refused(&names, self.now)).await?;
        }
        Ok(Retained::of(names, retired.as_ref().err()))
    }

    async fn delete(&self, victims: &[&Candidate]) -> Result<(), k8s::Error> {
        let api: Api<DeploymentView> = Api::namespaced(self.context.client.clone(), &self.valid.namespace);
        let delete = |victim: &Candidate| {
            let (api, name, uid) = (api.clone(), victim.name.clone(), victim.uid.clone());
            async move { k8s::delete(&api, &name, &uid).await }
        };
        let deletions: Vec<_> = victims.iter().map(|victim| delete(victim)).collect();
        // In order, so that the same problem always gives the same message.
        let results: Vec<_> = stream::iter(deletions).buffered(PARALLEL).collect().await;
        for (victim, _) in victims.iter().zip(&results).filter(|(_, result)| result.is_ok()) {
            self.context.losses.gone(&self.valid.owner.uid, &victim.name);
        }
        if !victims.is_empty() {
            let names: Vec<&str> = victims.iter().map(|victim| victim.name.as_str()).collect();
            tracing::info!(group = self.valid.name, namespace = self.valid.namespace, ?names, "workers removed");
        }
        results.into_iter().collect()
    }

    fn count(&self, retirement: Retirement, workers: &[&Candidate]) {
        self.context.metrics.retired(retirement, workers.len());
    }

    /// Writes the record of workers that are being retired to the group, unless it has not changed.
    async fn record(&mut self, retiring: RetirementRecord) -> Result<(), k8s::Error> {
        if self.retiring == retiring {
            return Ok(());
        }
        let api: Api<DaskWorkerGroup> = Api::namespaced(self.context.client.clone(), &self.valid.namespace);
        let patch = json!({"metadata": {"annotations": {meta::RETIRING: retiring.annotation()}}});
        k8s::merge(&api, &self.live.group, patch).await?;
        self.retiring = retiring;
        Ok(())
    }

    async fn tell_forced(&self, kept: &[&Candidate]) {
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
        report::publish(&self.context.recorder, &self.live.group, event).await;
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
    fn of(names: BTreeSet<String>, error: Option<&dask_scheduler_client::Error>) -> Self {
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

async fn retire_processes(
    context: &Context,
    cluster: &DaskCluster,
    held: &[&Candidate],
) -> Result<dask_scheduler_client::Retired, dask_scheduler_client::Error> {
    let processes = |victim: &&Candidate| match &victim.standing {
        RemovalCost::Registered { addresses, .. } => addresses.clone(),
        _ => Vec::new(),
    };
    let addresses: Vec<String> = held.iter().flat_map(processes).collect();
    scheduler::client_of(context, cluster).await?.retire(&addresses).await
}
